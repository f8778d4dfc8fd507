//! Row A6 of the security reference: what GNU tar lists, we list, or we
//! refuse the archive.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use proptest::prelude::*;

use super::*;

/// Names and sizes by GNU tar; `None` when it complains.
fn gnu(bytes: &[u8]) -> Option<Vec<(String, u64)>> {
    let mut tar = Command::new("tar")
        .args(["--list", "--verbose", "--numeric-owner", "--absolute-names"])
        .args(["--quoting-style=escape", "--file=-"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It may stop reading at the end marker.
    let _ = tar.stdin.take().unwrap().write_all(bytes);
    let output = tar.wait_with_output().unwrap();
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().map(listed).collect())
}

/// `-rw-r--r-- 0/0 7 1970-01-01 00:00 name[ -> target| link to target]`
fn listed(line: &str) -> (String, u64) {
    let mut rest = line;
    let mut fields = Vec::new();
    for _ in 0..5 {
        let (field, after) = rest.trim_start().split_once(' ').unwrap();
        fields.push(field);
        rest = after;
    }
    let size = fields[2].parse().unwrap_or(0);
    let name = match line.as_bytes()[0] {
        b'l' => rest.split(" -> ").next().unwrap(),
        b'h' => rest.split(" link to ").next().unwrap(),
        _ => rest,
    };
    (clean(name), size)
}

fn clean(name: &str) -> String {
    let parts: Vec<_> = name
        .split('/')
        .filter(|p| !p.is_empty() && *p != ".")
        .collect();
    parts.join("/")
}

fn ours(bytes: &[u8]) -> Option<Vec<(String, u64)>> {
    let members = read(bytes).ok()?;
    let view = |(entry, _): (Entry, Vec<u8>)| {
        let name = escaped(entry.path.as_os_str().as_encoded_bytes());
        (name, entry.size_bytes)
    };
    Some(members.into_iter().map(view).collect())
}

/// As GNU tar shows a name: names are bytes, and a flipped bit may make any.
fn escaped(name: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'\\' => "\\\\".to_owned(),
        0x07 => "\\a".to_owned(),
        0x08 => "\\b".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\n' => "\\n".to_owned(),
        0x0b => "\\v".to_owned(),
        0x0c => "\\f".to_owned(),
        b'\r' => "\\r".to_owned(),
        b' '..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\{byte:03o}"),
    };
    name.iter().map(one).collect()
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        "\\./[a-z]{1,4}/[a-z]{1,4}",
        "[a-z]{90,100}",
        "/[a-z]{3}",
        "[a-z]{2}/\\.\\./[a-z]{2}"
    ]
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    let content = prop::collection::vec(any::<u8>(), 0..1500);
    let plain = (name(), content)
        .prop_map(|(name, content)| Raw::new(b'0', name.as_bytes(), &content).bytes());
    let typed = (
        name(),
        prop_oneof![
            Just(b'1'),
            Just(b'2'),
            Just(b'5'),
            Just(b'6'),
            Just(0),
            Just(b'7')
        ],
        0usize..700,
    )
        .prop_map(|(name, flag, size)| {
            let size = if matches!(flag, 0 | b'7') { size } else { 0 };
            Raw::new(flag, name.as_bytes(), &vec![b'x'; size])
                .with(LINK, b"target")
                .bytes()
        });
    // The header's size and the record's disagree.
    let pax = (
        name(),
        0usize..1200,
        prop_oneof![Just(None), (0usize..1200).prop_map(Some)],
    )
        .prop_map(|(path, size, record)| {
            let mut records = vec![("path", path.clone())];
            if let Some(record) = record {
                records.push(("size", record.to_string()));
            }
            let real = record.unwrap_or(size);
            let records: Vec<_> = records.iter().map(|(k, v)| (*k, v.as_str())).collect();
            let mut bytes = Raw::pax(&records).bytes();
            let field = format!("{size:011o}\0");
            bytes.extend(
                Raw::new(b'0', b"short", &vec![b'y'; real])
                    .with(SIZE, field.as_bytes())
                    .bytes(),
            );
            bytes
        });
    let gnu_long = "[a-z/]{101,180}".prop_map(|name| {
        let data = [name.as_bytes(), b"\0"].concat();
        let mut bytes = Raw::new(b'L', b"././@LongLink", &data)
            .with(MAGIC, b"ustar  \0")
            .bytes();
        bytes.extend(
            Raw::new(b'0', &name.as_bytes()[..100], b"z")
                .with(MAGIC, b"ustar  \0")
                .bytes(),
        );
        bytes
    });
    prop_oneof![plain, typed, pax, gnu_long]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a6_listings_equal_gnu_tar_or_are_refused(
        members in prop::collection::vec(member(), 1..6),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..2),
    ) {
        let mut bytes = members.concat();
        bytes.extend_from_slice(&[0; 2 * BLOCK_BYTES]);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Some(ours) = ours(&bytes) {
            match gnu(&bytes) {
                Some(gnu) => prop_assert_eq!(ours, gnu),
                None => prop_assert!(false, "GNU tar refuses what we list: {:?}", ours),
            }
        }
    }
}

#[test]
fn archives_of_our_writer_list_alike() {
    let mut tar = TarWriter::new(Vec::new());
    for name in ["a", &("d/".repeat(100) + "f"), &"x".repeat(255), "sp ace"] {
        let entry = Entry {
            size_bytes: 3,
            uid: u32::MAX - 1,
            ..Entry::new(name, EntryKind::Regular, 0o4755)
        };
        tar.append(&entry, &mut &b"abc"[..]).unwrap();
    }
    let bytes = tar.finish().unwrap();
    assert_eq!(ours(&bytes), gnu(&bytes));
}

#[test]
fn names_of_any_bytes_list_alike() {
    let name: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let mut bytes = Raw::new(b'L', b"././@LongLink", &[&name[..], b"\0"].concat())
        .with(MAGIC, b"ustar  \0")
        .bytes();
    bytes.extend(
        Raw::new(b'0', b"short", b"z")
            .with(MAGIC, b"ustar  \0")
            .bytes(),
    );
    bytes.extend_from_slice(&[0; 2 * BLOCK_BYTES]);
    let ours = ours(&bytes);
    assert!(ours.is_some());
    assert_eq!(ours, gnu(&bytes));
}

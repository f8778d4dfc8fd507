#[path = "tests/differential.rs"]
mod differential;

use std::io::Cursor;

use super::*;
use crate::layer::{
    TarWriter,
    header::{CHECKSUM, GID, LINK, MAGIC, MODE, MTIME, NAME, PREFIX, SIZE, TYPE, UID, checksum},
};

/// A header to be spoilt.
struct Raw {
    block: [u8; BLOCK_BYTES],
    content: Vec<u8>,
}

impl Raw {
    fn new(flag: u8, name: &[u8], content: &[u8]) -> Self {
        let mut raw = Self {
            block: [0; BLOCK_BYTES],
            content: content.to_vec(),
        };
        raw.set(NAME, name);
        raw.set(MODE, b"0000644\0");
        raw.set(UID, b"0000000\0");
        raw.set(GID, b"0000000\0");
        raw.set(SIZE, format!("{:011o}\0", content.len()).as_bytes());
        raw.set(MTIME, b"00000000000\0");
        raw.set(MAGIC, b"ustar\x0000");
        raw.block[TYPE] = flag;
        raw
    }

    fn pax(records: &[(&str, &str)]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            data.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
        }
        Self::new(b'x', b"pax", &data)
    }

    fn set(&mut self, (at, length): (usize, usize), value: &[u8]) {
        assert!(value.len() <= length);
        self.block[at..at + length].fill(0);
        self.block[at..at + value.len()].copy_from_slice(value);
    }

    fn with(mut self, field: (usize, usize), value: &[u8]) -> Self {
        self.set(field, value);
        self
    }

    fn bytes(mut self) -> Vec<u8> {
        let sum = format!("{:06o}\0 ", checksum(&self.block));
        self.set(CHECKSUM, sum.as_bytes());
        let mut bytes = self.block.to_vec();
        bytes.extend_from_slice(&self.content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        bytes
    }
}

fn archive(members: impl IntoIterator<Item = Raw>) -> Vec<u8> {
    let mut bytes: Vec<u8> = members.into_iter().flat_map(Raw::bytes).collect();
    bytes.extend_from_slice(&[0; 2 * BLOCK_BYTES]);
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, LayerError> {
    let mut tar = TarReader::new(bytes, Limits::default());
    let mut members = Vec::new();
    while let Some(entry) = tar.next_entry()? {
        let mut content = Vec::new();
        tar.read_to_end(&mut content).map_err(LayerError::from_io)?;
        members.push((entry, content));
    }
    Ok(members)
}

/// Names as the archive `members` is read, or the error.
fn check(members: Vec<Raw>, expected: Result<&[&str], &str>) {
    match (read(&archive(members)), expected) {
        (Ok(members), Ok(names)) => {
            let got: Vec<_> = members
                .iter()
                .map(|(e, _)| e.path.to_str().unwrap())
                .collect();
            assert_eq!(got, names);
        }
        (Err(error), Err(part)) => {
            assert!(
                error.to_string().contains(part),
                "{part:?} is not in: {error}"
            );
        }
        (got, expected) => panic!("{got:?} instead of {expected:?}"),
    }
}

fn file(name: &[u8]) -> Raw {
    Raw::new(b'0', name, b"content")
}

#[test]
fn names_are_cleaned_or_refused() {
    check(vec![file(b"./a//b/./c")], Ok(&["a/b/c"]));
    check(vec![Raw::new(b'5', b"./", b"")], Ok(&[""]));
    check(vec![Raw::new(0, b"old/", b"")], Ok(&["old"]));
    for (name, problem) in [
        (&b"/etc/passwd"[..], "absolute"),
        (b"../a", "`..`"),
        (b"a/../../b", "`..`"),
        (b"a/..", "`..`"),
        (b"", "the name is empty"),
        (b".", "only a directory can be the root"),
    ] {
        check(vec![file(name)], Err(problem));
    }
    let deep = "d/".repeat(256) + "f";
    check(
        vec![Raw::pax(&[("path", &deep)]), file(b"x")],
        Err("too many components"),
    );
    let long = "n".repeat(256);
    check(
        vec![Raw::pax(&[("path", &long)]), file(b"x")],
        Err("component of the path is too long"),
    );
    let long = "n/".repeat(3000) + "n";
    check(
        vec![Raw::pax(&[("path", &long)]), file(b"x")],
        Err("the path is too long"),
    );
}

#[test]
fn the_ustar_prefix_counts_only_where_it_is_one() {
    check(
        vec![file(b"name").with(PREFIX, b"some/dir")],
        Ok(&["some/dir/name"]),
    );
    // GNU keeps times there, v7 anything.
    let gnu = file(b"name")
        .with(MAGIC, b"ustar  \0")
        .with(PREFIX, b"some/dir");
    check(vec![gnu], Ok(&["name"]));
    let v7 = file(b"name").with(MAGIC, b"").with(PREFIX, b"some/dir");
    check(vec![v7], Ok(&["name"]));
}

#[test]
fn links_and_devices_are_read() {
    let link = Raw::new(b'1', b"l", b"").with(LINK, b"/abs/./target");
    let symlink = Raw::new(b'2', b"s", b"").with(LINK, b"../../up");
    let device = Raw::new(b'3', b"c", b"")
        .with(header::MAJOR, b"0000001\0")
        .with(header::MINOR, b"0000003\0");
    let members = read(&archive([link, symlink, device])).unwrap();
    let kinds: Vec<_> = members.into_iter().map(|(entry, _)| entry.kind).collect();
    assert_eq!(
        kinds,
        [
            EntryKind::HardLink("abs/target".into()),
            EntryKind::Symlink("../../up".into()),
            EntryKind::CharDevice { major: 1, minor: 3 },
        ]
    );
    for (flag, target, problem) in [
        (b'1', &b"../../canary"[..], "`..`"),
        (b'1', b"", "the target of the hard link is empty"),
        (
            b'1',
            b"/",
            "the target of the hard link is empty or the root",
        ),
        (b'2', b"", "the link target is empty"),
    ] {
        check(
            vec![Raw::new(flag, b"l", b"").with(LINK, target)],
            Err(problem),
        );
    }
}

#[test]
fn pax_size_wins_over_the_header() {
    // CVE-2025-62518: a reader that believes the header's 0 takes the
    // content, itself a header, for the next entry.
    let inner = archive([file(b"smuggled")]);
    let size = inner.len().to_string();
    let mut outer = Raw::new(b'0', b"outer", &inner);
    outer.set(SIZE, b"00000000000\0");
    let members = read(&archive([
        Raw::pax(&[("size", &size)]),
        outer,
        file(b"after"),
    ]))
    .unwrap();
    let names: Vec<_> = members
        .iter()
        .map(|(e, _)| e.path.to_str().unwrap())
        .collect();
    assert_eq!(names, ["outer", "after"]);
    assert_eq!(members[0].1, inner);
}

#[test]
fn malformed_records_refuse_the_archive() {
    for (data, problem) in [
        (&b"no length\n"[..], "number is malformed"),
        (b"noequals", "no length"),
        (b"11 path=abc", "does not end in a newline"),
        (b"99 path=abc\n", "length of a record does not fit"),
        (b"0 path=abc\n", "length of a record does not fit"),
        (b"-9 path=a\n", "length of a record does not fit"),
        (b"+9 path=a\n", "number is malformed"),
        (b"5 =a\n", "no key"),
        (b"8 nokey\n", "no key"),
        (b"11 size=-x\n", "number is malformed"),
        (b"13 path=a\0bc\n", "holds a NUL"),
        (b"16 mtime=1.2.34\n", "time is malformed"),
        (b"18 SCHILY.xattr.=\n", "extended attribute"),
    ] {
        check(vec![Raw::new(b'x', b"pax", data), file(b"f")], Err(problem));
    }
    check(
        vec![Raw::pax(&[("size", "-1")]), file(b"f")],
        Err("size -1 is out of range"),
    );
    check(
        vec![Raw::pax(&[("size", "9223372036854775808")]), file(b"f")],
        Err("out of range"),
    );
    check(
        vec![Raw::pax(&[("uid", "4294967295")]), file(b"f")],
        Err("uid 4294967295"),
    );
    check(vec![Raw::pax(&[("gid", "-2")]), file(b"f")], Err("gid -2"));
    check(
        vec![Raw::pax(&[("path", "p")])],
        Err("not followed by its entry"),
    );
    let twice = vec![
        Raw::pax(&[("path", "p")]),
        Raw::pax(&[("path", "q")]),
        file(b"f"),
    ];
    check(twice, Err("two extended headers"));
}

#[test]
fn empty_records_and_times() {
    let members = vec![
        Raw::pax(&[("path", ""), ("mtime", "-1.25"), ("comment", "x")]),
        file(b"f"),
    ];
    let (entry, _) = read(&archive(members)).unwrap().remove(0);
    assert_eq!(entry.path.to_str(), Some("f"));
    assert_eq!(
        entry.mtime,
        Mtime {
            sec: -2,
            nsec: 750_000_000
        }
    );
}

#[test]
fn global_headers_may_not_rename() {
    let global = |records: &[(&str, &str)]| {
        let mut raw = Raw::pax(records);
        raw.block[TYPE] = b'g';
        raw
    };
    check(
        vec![global(&[("path", "p")]), file(b"f")],
        Err("a global header sets"),
    );
    check(
        vec![global(&[("size", "3")]), file(b"f")],
        Err("a global header sets"),
    );
    let members = vec![
        global(&[("uid", "7"), ("comment", "of git archive")]),
        file(b"f"),
        Raw::pax(&[("uid", "8")]),
        file(b"g"),
    ];
    let uids: Vec<_> = read(&archive(members))
        .unwrap()
        .iter()
        .map(|(e, _)| e.uid)
        .collect();
    assert_eq!(uids, [7, 8]);
}

#[test]
fn gnu_long_names() {
    let name = "long/".repeat(40) + "name";
    let terminated = [name.as_bytes(), b"\0"].concat();
    let long = |flag, data: &[u8]| Raw::new(flag, b"././@LongLink", data);
    check(vec![long(b'L', &terminated), file(b"x")], Ok(&[&name]));
    let link = vec![
        long(b'K', &terminated),
        Raw::new(b'2', b"s", b"").with(LINK, b"short"),
    ];
    let (entry, _) = read(&archive(link)).unwrap().remove(0);
    assert_eq!(entry.kind, EntryKind::Symlink(name.clone().into()));
    check(vec![long(b'L', b"a\0b\0"), file(b"x")], Err("holds a NUL"));
    check(vec![long(b'L', b"\0"), file(b"x")], Err("is empty"));
    check(
        vec![long(b'L', b"a\0"), long(b'L', b"b\0"), file(b"x")],
        Err("two extended headers"),
    );
    check(
        vec![Raw::pax(&[("path", "p")]), long(b'L', b"a\0"), file(b"x")],
        Err("PAX and a GNU long name"),
    );
}

#[test]
fn numbers_in_every_notation() {
    let size = |value: &[u8]| file(b"f").with(SIZE, value);
    check(vec![size(b"          7 ")], Ok(&["f"]));
    check(vec![size(b"7")], Ok(&["f"]));
    check(vec![size(b"\x80\0\0\0\0\0\0\0\0\0\0\x07")], Ok(&["f"]));
    check(
        vec![size(b"0000000000g")],
        Err("neither octal nor base-256"),
    );
    check(vec![size(b"7 7")], Err("neither octal nor base-256"));
    check(vec![size(b"-1")], Err("neither octal nor base-256"));
    check(
        vec![size(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")],
        Err("size -1 is out of range"),
    );
    check(
        vec![size(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")],
        Err("out of range"),
    );
    let old = file(b"f").with(MTIME, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe");
    let (entry, _) = read(&archive([old])).unwrap().remove(0);
    assert_eq!(entry.mtime, Mtime { sec: -2, nsec: 0 });
}

#[test]
fn what_readers_disagree_about_is_refused() {
    for flag in [b'1', b'2', b'3', b'5', b'6'] {
        let entry = Raw::new(flag, b"e", b"content").with(LINK, b"t");
        check(vec![entry], Err("is no regular file and yet has content"));
    }
    check(
        vec![file(b"dir/")],
        Err("is no regular file and yet has content"),
    );
    for (flag, problem) in [
        (b'S', "sparse"),
        (b'M', "join the volumes"),
        (b'D', "--incremental"),
        (b'V', "not supported"),
        (b'A', "not supported"),
        (0xff, "not supported"),
    ] {
        check(vec![Raw::new(flag, b"e", b"")], Err(problem));
    }
    let sparse = vec![Raw::pax(&[("GNU.sparse.major", "1")]), file(b"f")];
    check(sparse, Err("sparse"));
}

#[test]
fn damage_is_named() {
    let good = archive([file(b"first"), file(b"second")]);
    let mut damaged = good.clone();
    damaged[1024 + 5] ^= 1;
    let error = read(&damaged).unwrap_err();
    assert!(
        matches!(error, LayerError::BadHeader { offset: 1024, .. }),
        "{error}"
    );
    let mut holed = good.clone();
    holed[1024..1536].fill(0);
    let error = read(&holed).unwrap_err().to_string();
    assert!(error.contains("lone block of zeros"), "{error}");
    assert!(matches!(read(b""), Err(LayerError::Truncated(_))));
    assert!(matches!(
        read(&[7; 4096]),
        Err(LayerError::BadHeader { offset: 0, .. })
    ));
}

#[test]
fn every_cut_is_noticed() {
    let good = archive([Raw::pax(&[("path", "p")]), file(b"first"), file(b"second")]);
    let marker = good.len() - 2 * BLOCK_BYTES;
    for length in 0..=marker {
        let error = read(&good[..length]).unwrap_err();
        assert!(
            matches!(error, LayerError::Truncated(_)),
            "{length}: {error}"
        );
    }
    let mut tar = TarReader::new(&good[..marker - 2 * BLOCK_BYTES - 509], Limits::default());
    let error = loop {
        let mut content = Vec::new();
        assert!(tar.next_entry().unwrap().is_some());
        if let Err(error) = tar.read_to_end(&mut content) {
            break LayerError::from_io(error);
        }
    };
    assert!(
        matches!(error, LayerError::Truncated(_)),
        "whoever reads content is told at once"
    );
    // One block of zeros and the end is what some writers leave.
    assert!(read(&good[..marker + BLOCK_BYTES]).is_ok());
}

#[test]
fn content_may_be_skipped_and_the_rest_is_read_for_the_hash() {
    let mut bytes = archive([file(b"first"), file(b"second")]);
    bytes.extend_from_slice(&[1; 5000]);
    let mut input = Cursor::new(&bytes);
    let mut tar = TarReader::new(&mut input, Limits::default());
    let mut entries = 0;
    while tar.next_entry().unwrap().is_some() {
        entries += 1;
    }
    assert_eq!(entries, 2);
    assert!(tar.next_entry().unwrap().is_none());
    drop(tar);
    assert_eq!(input.position(), bytes.len() as u64);
}

#[test]
fn limits_hold() {
    let limits = Limits {
        entries_max: 2,
        record_bytes_max: 100,
        ..Limits::default()
    };
    let read = |members: Vec<Raw>| {
        let bytes = archive(members);
        let mut tar = TarReader::new(bytes.as_slice(), limits);
        loop {
            match tar.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(error.to_string()),
            }
        }
    };
    assert_eq!(read(vec![file(b"a"), file(b"b")]), None);
    let error = read(vec![file(b"a"), file(b"b"), file(b"c")]).unwrap();
    assert!(error.contains("limit of 2 entries"), "{error}");
    let long = "v".repeat(100);
    let error = read(vec![Raw::pax(&[("k", &long)]), file(b"a")]).unwrap();
    assert!(error.contains("limit of 100 bytes"), "{error}");
    // A size field that lies costs nothing.
    let liar = Raw::new(b'x', b"pax", b"").with(SIZE, b"77777777777\0");
    assert!(read(vec![liar]).unwrap().contains("limit of 100 bytes"));
}

#[test]
fn attributes_are_read_and_the_last_one_counts() {
    let members = vec![
        Raw::pax(&[
            ("SCHILY.xattr.user.b", "1"),
            ("SCHILY.xattr.user.a", "x=y\nz"),
            ("SCHILY.xattr.user.b", "2"),
        ]),
        file(b"f"),
    ];
    let (entry, _) = read(&archive(members)).unwrap().remove(0);
    assert_eq!(
        entry.xattrs,
        [
            (b"user.a".to_vec(), b"x=y\nz".to_vec()),
            (b"user.b".to_vec(), b"2".to_vec())
        ]
    );
}

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::layer::{Limits, Mtime, TarReader};

type Member = (Entry, Vec<u8>);

pub(crate) fn write(members: &[Member]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (entry, content) in members {
        tar.append(entry, &mut content.as_slice()).unwrap();
    }
    tar.finish().unwrap()
}

fn read(archive: &[u8]) -> Vec<Member> {
    let mut tar = TarReader::new(archive, Limits::default());
    let mut members = Vec::new();
    while let Some(entry) = tar.next_entry().unwrap() {
        let mut content = Vec::new();
        tar.read_to_end(&mut content).unwrap();
        members.push((entry, content));
    }
    members
}

fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_. -]{1,40}".prop_filter("special", |name| name != "." && name != ".."),
        "[a-z]{150,255}",
        "\\PC{1,20}"
            .prop_map(|name| name.replace('/', "_"))
            .prop_filter("special", |name| name != "." && name != ".."),
    ]
}

fn path() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(component(), 1..8).prop_map(|names| names.iter().collect())
}

fn kind() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        Just(EntryKind::Regular),
        Just(EntryKind::Directory),
        Just(EntryKind::Fifo),
        "[^\\x00]{1,300}".prop_map(|target| EntryKind::Symlink(target.into())),
        path().prop_map(EntryKind::HardLink),
        (0u32..0x1000, 0u32..0x10_0000)
            .prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
        (0u32..0x1000, 0u32..0x10_0000)
            .prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
    ]
}

prop_compose! {
    fn member()(
        path in path(),
        kind in kind(),
        mode in 0u32..=0o7777,
        uid in prop_oneof![0u32..70_000, 0..u32::MAX],
        gid in prop_oneof![0u32..70_000, 0..u32::MAX],
        sec in prop_oneof![0i64..2_000_000_000, any::<i64>()],
        mut content in prop::collection::vec(any::<u8>(), 0..3000),
        xattrs in prop::collection::btree_map(
            "[a-z.=]{1,30}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..200),
            0..3,
        ),
    ) -> Member {
        if kind != EntryKind::Regular {
            content.clear();
        }
        // An equals sign cannot be in the name of a PAX record.
        let xattrs = xattrs
            .into_iter()
            .map(|(name, value)| (name.iter().map(|b| if *b == b'=' { b'_' } else { *b }).collect(), value))
            .collect::<std::collections::BTreeMap<Vec<u8>, Vec<u8>>>();
        let entry = Entry {
            uid,
            gid,
            mtime: Mtime { sec, nsec: 0 },
            size_bytes: content.len() as u64,
            xattrs: xattrs.into_iter().collect(),
            ..Entry::new(path, kind, mode)
        };
        (entry, content)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read(members in prop::collection::vec(member(), 0..12)) {
        let archive = write(&members);
        prop_assert_eq!(archive.len() % BLOCK_BYTES, 0);
        prop_assert_eq!(read(&archive), members);
    }
}

#[test]
fn the_bytes_are_pinned() {
    // Digests of exported layers must not move between versions unnoticed.
    let long = "d".repeat(120);
    let members = [
        (Entry::new("", EntryKind::Directory, 0o755), Vec::new()),
        (
            Entry {
                size_bytes: 5,
                uid: 3_000_000,
                mtime: Mtime {
                    sec: 1_700_000_000,
                    nsec: 7,
                },
                xattrs: vec![(b"user.k".to_vec(), b"v\0\n".to_vec())],
                ..Entry::new(format!("{long}/file"), EntryKind::Regular, 0o4755)
            },
            b"hello".to_vec(),
        ),
        (
            Entry::new("lnk", EntryKind::Symlink("x".repeat(101).into()), 0o777),
            Vec::new(),
        ),
    ];
    let digest = crate::Digest::sha256(&write(&members));
    assert_eq!(
        digest.hex(),
        "b6a09cfe076de28f2f980140a18f45870d4217a44262887c576b3173ab21e7eb"
    );
}

#[test]
fn a_file_that_shrank_is_an_error() {
    let entry = Entry {
        size_bytes: 10,
        ..Entry::new("f", EntryKind::Regular, 0o644)
    };
    let error = TarWriter::new(Vec::new())
        .append(&entry, &mut &b"short"[..])
        .unwrap_err();
    assert!(matches!(error, LayerError::Source(_)), "{error}");
}

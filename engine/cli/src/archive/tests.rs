use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use proptest::prelude::*;

use super::{reader::Reader, writer::Writer, *};

fn entry(path: &str, kind: Kind, size_bytes: u64) -> Entry {
    Entry {
        path: path.into(),
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 1_700_000_000,
        size_bytes,
    }
}

fn archive(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    for (entry, content) in entries {
        writer.append(entry, *content).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

fn unpack(bytes: &[u8], destination: &Path) -> io::Result<Unpack> {
    let mut unpack = Unpack::default();
    unpack.run(bytes, destination).map(|()| unpack)
}

#[test]
fn a_tree_survives_the_way() {
    let from = tempfile::tempdir().unwrap();
    let long = "n".repeat(150);
    let tree = from.path().join("tree");
    fs::create_dir_all(tree.join("sub").join(&long)).unwrap();
    fs::write(tree.join("sub").join(&long).join("file"), b"x".repeat(1000)).unwrap();
    fs::write(tree.join("empty"), b"").unwrap();
    fs::hard_link(tree.join("empty"), tree.join("other")).unwrap();
    symlink("/etc/passwd", tree.join("link")).unwrap();
    fs::set_permissions(tree.join("empty"), fs::Permissions::from_mode(0o4755)).unwrap();

    let mut bytes = Vec::new();
    pack(&tree, OsStr::new("tree"), &mut bytes).unwrap();
    let to = tempfile::tempdir().unwrap();
    let mut unpack = Unpack {
        rename: Some(Rename {
            from: "tree".into(),
            to: "copy".into(),
        }),
        ..Unpack::default()
    };
    unpack.run(bytes.as_slice(), to.path()).unwrap();
    let copy = to.path().join("copy");
    assert_eq!(
        fs::read(copy.join("sub").join(&long).join("file")).unwrap(),
        b"x".repeat(1000)
    );
    assert_eq!(
        fs::read_link(copy.join("link")).unwrap(),
        Path::new("/etc/passwd")
    );
    let (a, b) = (
        fs::metadata(copy.join("empty")).unwrap(),
        fs::metadata(copy.join("other")).unwrap(),
    );
    assert_eq!(a.ino(), b.ino());
    assert_eq!(a.mode() & 0o7777, 0o755, "set-user-id is dropped");
    let before = fs::metadata(tree.join("sub")).unwrap().mtime();
    assert_eq!(fs::metadata(copy.join("sub")).unwrap().mtime(), before);
    assert_eq!(unpack.written_bytes, 1000);
}

#[test]
fn nothing_leaves_the_destination() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("kept"), b"kept").unwrap();
    let out = outside.path().to_str().unwrap();
    for (name, entries) in [
        (
            "dot-dot",
            vec![(entry("../evil", Kind::File, 1), &b"x"[..])],
        ),
        (
            "inner dot-dot",
            vec![(entry("a/../../evil", Kind::File, 1), b"x")],
        ),
        (
            "through a link",
            vec![
                (entry("l", Kind::Symlink(out.into()), 0), b""),
                (entry("l/evil", Kind::File, 1), b"x"),
            ],
        ),
        (
            "directory over a link",
            vec![
                (entry("l", Kind::Symlink(out.into()), 0), b""),
                (entry("l", Kind::Directory, 0), b""),
                (entry("l/evil", Kind::File, 1), b"x"),
            ],
        ),
        (
            "hardlink through a link",
            vec![
                (entry("l", Kind::Symlink(out.into()), 0), b""),
                (entry("h", Kind::Hardlink("l/kept".into()), 0), b""),
            ],
        ),
        (
            "hardlink out",
            vec![(entry("h", Kind::Hardlink("../kept".into()), 0), b"")],
        ),
    ] {
        let to = tempfile::tempdir().unwrap();
        assert!(unpack(&archive(&entries), to.path()).is_err(), "{name}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "{name}");
        assert!(!to.path().parent().unwrap().join("evil").exists(), "{name}");
    }
}

#[test]
fn a_file_replaces_a_link_instead_of_writing_through_it() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("kept");
    fs::write(&target, b"kept").unwrap();
    let to = tempfile::tempdir().unwrap();
    let bytes = archive(&[
        (entry("l", Kind::Symlink(target.clone()), 0), b""),
        (entry("l", Kind::File, 3), b"new"),
    ]);
    unpack(&bytes, to.path()).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"kept");
    assert_eq!(fs::read(to.path().join("l")).unwrap(), b"new");
    let absolute = archive(&[(entry("/abs", Kind::File, 1), b"x")]);
    unpack(&absolute, to.path()).unwrap();
    assert!(to.path().join("abs").exists());
}

#[test]
fn damaged_archives_are_errors() {
    let good = archive(&[(entry("a", Kind::File, 600), &[7; 600])]);
    let with = |at: usize, bytes: &[u8], fix_sum: bool| {
        let mut damaged = good.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        if fix_sum {
            let sum: u64 = damaged[..512]
                .iter()
                .enumerate()
                .map(|(i, b)| u64::from(if (148..156).contains(&i) { b' ' } else { *b }))
                .sum();
            damaged[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        damaged
    };
    let to = tempfile::tempdir().unwrap();
    for (damaged, part) in [
        (good[..700].to_vec(), "ends in the content"),
        (good[..300].to_vec(), "ends in a header"),
        (with(0, b"b", false), "checksum"),
        (with(124, b"9", true), "not octal"),
        (with(124, &[0xff; 12], true), "out of range"),
        (with(156, b"Z", true), "unknown type"),
        (with(156, b"x", true), "pax record"),
        (with(124, b"77777777777", true), "ends in the content"),
    ] {
        let error = unpack(&damaged, to.path()).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(unpack(&[], to.path()).is_ok());
}

#[test]
fn devices_are_left_out_and_named() {
    let mut bytes = archive(&[(entry("a", Kind::File, 0), b"")]);
    bytes[156] = b'3';
    let sum: u64 = bytes[..512]
        .iter()
        .enumerate()
        .map(|(i, b)| u64::from(if (148..156).contains(&i) { b' ' } else { *b }))
        .sum();
    bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let to = tempfile::tempdir().unwrap();
    assert_eq!(
        unpack(&bytes, to.path()).unwrap().left_out,
        [Path::new("a")]
    );
}

proptest! {
    #[test]
    fn entries_round_trip(
        names in prop::collection::vec("[a-z]{1,120}(/[a-z]{1,80}){0,2}", 1..5),
        size in 0_usize..2000,
        uid in any::<u32>(),
    ) {
        let content = vec![3; size];
        let entries: Vec<_> = names
            .iter()
            .map(|name| {
                let mut entry = entry(name, Kind::File, size as u64);
                entry.uid = uid;
                (entry, content.as_slice())
            })
            .collect();
        let bytes = archive(&entries);
        prop_assert_eq!(bytes.len() % 512, 0);
        let mut reader = Reader::new(bytes.as_slice());
        for (entry, _) in &entries {
            let read = reader.next_entry().unwrap();
            prop_assert_eq!(read.as_ref(), Some(entry));
            let mut got = Vec::new();
            io::Read::read_to_end(&mut reader, &mut got).unwrap();
            prop_assert_eq!(got.len(), size);
        }
        prop_assert_eq!(reader.next_entry().unwrap(), None);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut reader = Reader::new(bytes.as_slice());
        while let Ok(Some(_)) = reader.next_entry() {}
    }
}

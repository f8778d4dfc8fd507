use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    process::Command,
};

use oci::layer::{Limits, TarReader};
use rustix::fs::FileType;

use super::*;

struct Tree {
    dir: tempfile::TempDir,
    root: Root,
}

fn tree() -> Tree {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    Tree { dir, root }
}

impl Tree {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self) -> Result<Vec<u8>, DiffError> {
        let mut tar = TarWriter::new(Vec::new());
        write_layer(&self.root, Path::new(""), &mut tar)?;
        Ok(tar.finish()?)
    }

    fn entries(&self) -> Vec<Entry> {
        let archive = self.write().unwrap();
        let mut tar = TarReader::new(archive.as_slice(), Limits::default());
        std::iter::from_fn(|| tar.next_entry().unwrap()).collect()
    }

    fn names(&self) -> Vec<String> {
        let entries = self.entries();
        let names = entries.iter().map(|e| e.path.to_str().unwrap().to_owned());
        names.collect()
    }
}

#[test]
fn names_are_sorted_and_deletions_written() {
    let t = tree();
    for name in ["b", "a", "a/z"] {
        fs::create_dir(t.path(name)).unwrap();
    }
    for name in ["a.file", "b/2", "b/10", "B"] {
        fs::write(t.path(name), name).unwrap();
    }
    let device = FileType::CharacterDevice;
    rustix::fs::mknodat(&t.root, "a/gone", device, Mode::empty(), 0).unwrap();
    rustix::fs::setxattr(
        t.path("b"),
        "trusted.overlay.opaque",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let expected = [
        "",
        "B",
        "a",
        "a/.wh.gone",
        "a/z",
        "a.file",
        "b",
        "b/.wh..wh..opq",
        "b/10",
        "b/2",
    ];
    assert_eq!(t.names(), expected);
    assert!(t.entries().iter().all(|entry| entry.xattrs.is_empty()));
    assert_eq!(t.write().unwrap(), t.write().unwrap());
}

#[test]
fn files_with_several_names_are_links_to_the_first() {
    let t = tree();
    fs::write(t.path("b"), "content").unwrap();
    symlink("nowhere", t.path("s")).unwrap();
    for (old, new) in [("b", "a"), ("b", "c"), ("s", "t")] {
        fs::hard_link(t.path(old), t.path(new)).unwrap();
    }
    let kinds: Vec<EntryKind> = t.entries().into_iter().skip(1).map(|e| e.kind).collect();
    let expected = [
        EntryKind::Regular,
        EntryKind::HardLink("a".into()),
        EntryKind::HardLink("a".into()),
        EntryKind::Symlink("nowhere".into()),
        EntryKind::HardLink("s".into()),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(size_bytes(&t.root).unwrap(), 7);
}

#[test]
fn sockets_are_left_out_and_reserved_names_refused() {
    let t = tree();
    let _bound = UnixListener::bind(t.path("socket")).unwrap();
    assert_eq!(t.names(), [""]);
    for name in [".wh.x", ".wh..wh..opq"] {
        fs::write(t.path(name), "").unwrap();
        let error = t.write().unwrap_err();
        assert!(matches!(error, DiffError::ReservedName(_)), "{error}");
        fs::remove_file(t.path(name)).unwrap();
    }
    fs::create_dir(t.path(".wh.dir")).unwrap();
    assert!(t.write().is_err());
}

#[test]
fn trees_too_deep_to_be_unpacked_are_refused() {
    let t = tree();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut dir = t.root.open_dir(Path::new("")).unwrap();
    for depth in 1..=256 {
        rustix::fs::mkdirat(&dir, "d", Mode::from(0o755)).unwrap();
        dir = rustix::fs::openat(&dir, "d", flags, Mode::empty()).unwrap();
        if depth == 255 {
            t.write().unwrap();
        }
    }
    let error = t.write().unwrap_err().to_string();
    assert!(error.contains("255 directories deep"), "{error}");
}

#[test]
fn gnu_tar_extracts_the_same_tree() {
    let t = tree();
    fs::create_dir_all(t.path(&"long-name/".repeat(30))).unwrap();
    fs::write(t.path(&("long-name/".repeat(30) + "file")), "deep").unwrap();
    fs::write(t.path("umlaut-\u{e4}"), "text").unwrap();
    fs::hard_link(t.path("umlaut-\u{e4}"), t.path("linked")).unwrap();
    symlink("x".repeat(200), t.path("link")).unwrap();
    rustix::fs::mkfifoat(&t.root, "fifo", Mode::from(0o600)).unwrap();
    rustix::fs::setxattr(
        t.path("linked"),
        "user.note",
        b"a\0b",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    std::os::unix::fs::chown(t.path("linked"), Some(3_000_000), Some(7)).unwrap();

    let other = tree();
    let archive = tempfile::NamedTempFile::new().unwrap();
    fs::write(&archive, t.write().unwrap()).unwrap();
    let status = Command::new("tar")
        .args([
            "--extract",
            "--xattrs",
            "--numeric-owner",
            "--preserve-permissions",
            "--file",
        ])
        .arg(archive.path())
        .arg("--directory")
        .arg(other.dir.path())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(t.entries(), other.entries());
}

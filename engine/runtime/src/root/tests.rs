use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
    root: Root,
}

/// `outside/secret` is the canary; `root/` is the root.
fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("root")).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(dir.path().join("outside/secret"), "secret").unwrap();
    let root = Root::open(&dir.path().join("root")).unwrap();
    Fixture { dir, root }
}

impl Fixture {
    fn host(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }
}

#[test]
fn links_and_dots_stay_inside() {
    let f = fixture();
    let outside = f.dir.path().join("outside");
    symlink(&outside, f.host("absolute")).unwrap();
    symlink("../../../../../..", f.host("up")).unwrap();
    for path in [
        "absolute/secret",
        "up/outside/secret",
        "../outside/secret",
        "/../outside/secret",
        outside.join("secret").to_str().unwrap(),
    ] {
        let error = f.root.read_regular(Path::new(path), 100).unwrap_err();
        assert!(matches!(error, PathError::NotFound(_)), "{path}: {error}");
    }
    // The same text names a file inside once it exists there.
    f.root.make_dirs(&outside, 0o755, None).unwrap();
    f.root
        .write(&outside.join("secret"), b"inside", 0o600)
        .unwrap();
    let data = f
        .root
        .read_regular(Path::new("absolute/secret"), 100)
        .unwrap();
    assert_eq!(data, b"inside");
    let canary = fs::read(f.dir.path().join("outside/secret")).unwrap();
    assert_eq!(canary, b"secret");
}

#[test]
fn magic_links_are_refused() {
    let root = Root::open(Path::new("/proc")).unwrap();
    let error = root.open_path(Path::new("self/root/etc")).unwrap_err();
    assert!(matches!(error, PathError::SymlinkLoop(_)), "{error}");
}

#[test]
fn make_dirs_follows_dangling_links_inside() {
    let f = fixture();
    fs::create_dir(f.host("var")).unwrap();
    symlink("/run", f.host("var/run")).unwrap();
    f.root
        .make_dirs(Path::new("/var/run/app/x"), 0o750, Some((7, 8)))
        .unwrap();
    let metadata = fs::metadata(f.host("run/app/x")).unwrap();
    assert_eq!(
        (metadata.mode() & 0o7777, metadata.uid(), metadata.gid()),
        (0o750, 7, 8)
    );
    // Existing directories keep what they have.
    f.root
        .make_dirs(Path::new("var"), 0o700, Some((1, 1)))
        .unwrap();
    assert_eq!(fs::metadata(f.host("var")).unwrap().uid(), 0);
}

#[test]
fn make_dirs_gives_up_on_circles_and_files() {
    let f = fixture();
    symlink("b", f.host("a")).unwrap();
    symlink("a", f.host("b")).unwrap();
    symlink("self/x", f.host("self")).unwrap();
    fs::write(f.host("file"), "").unwrap();
    for (path, want) in [
        ("a/x", "symbolic links"),
        ("self/y", "symbolic links"),
        ("file/x", "not a directory"),
    ] {
        let error = f.root.make_dirs(Path::new(path), 0o755, None).unwrap_err();
        assert!(error.to_string().contains(want), "{path}: {error}");
    }
}

#[test]
fn only_bounded_regular_files_are_read() {
    let f = fixture();
    rustix::fs::mkfifoat(&f.root, "fifo", Mode::from(0o600)).unwrap();
    symlink("fifo", f.host("lnk")).unwrap();
    File::create(f.host("big"))
        .unwrap()
        .set_len(1 << 32)
        .unwrap();
    for (path, want) in [
        ("fifo", "FIFO"),
        ("lnk", "FIFO"),
        ("/", "directory"),
        ("big", "larger than the limit of 10 bytes"),
    ] {
        let error = f.root.read_regular(Path::new(path), 10).unwrap_err();
        assert!(error.to_string().contains(want), "{path}: {error}");
    }
    fs::write(f.host("ten"), "0123456789").unwrap();
    assert_eq!(f.root.read_regular(Path::new("ten"), 10).unwrap().len(), 10);
}

#[test]
fn parent_of_needs_a_name() {
    let f = fixture();
    for path in ["", "/", ".", "..", "a/.."] {
        let error = f.root.parent_of(Path::new(path), false).unwrap_err();
        assert!(matches!(error, PathError::NoName(_)), "{path}: {error}");
    }
    let (_, name) = f.root.parent_of(Path::new("new/dir/file/"), true).unwrap();
    assert_eq!(name, "file");
    assert!(f.host("new/dir").is_dir());
}

#[test]
fn remove_all_takes_links_not_targets_and_any_depth() {
    let f = fixture();
    symlink(f.dir.path().join("outside"), f.host("lnk")).unwrap();
    f.root.remove_all(Path::new("lnk")).unwrap();
    f.root.remove_all(Path::new("absent/below")).unwrap();
    // Deeper than PATH_MAX and than the descriptors we allow ourselves.
    let mut dir = f.root.make_dirs(Path::new("deep"), 0o755, None).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&dir, "d", Mode::from(0o755)).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        rustix::fs::openat(
            &dir,
            "file",
            OFlags::CREATE | OFlags::WRONLY,
            Mode::from(0o600),
        )
        .unwrap();
        dir = rustix::fs::openat(&dir, "d", flags, Mode::empty()).unwrap();
    }
    drop(dir);
    f.root.remove_all(Path::new("deep")).unwrap();
    assert_eq!(fs::read_dir(f.host("")).unwrap().count(), 0);
    assert!(f.dir.path().join("outside/secret").exists());
}

#[test]
fn write_replaces_a_link_and_not_its_target() {
    let f = fixture();
    symlink(f.dir.path().join("outside/secret"), f.host("config")).unwrap();
    f.root.write(Path::new("config"), b"new", 0o644).unwrap();
    assert_eq!(fs::read(f.host("config")).unwrap(), b"new");
    assert_eq!(
        fs::read(f.dir.path().join("outside/secret")).unwrap(),
        b"secret"
    );
    let names = f.root.read_dir(Path::new("")).unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
}

mod copy {
    use super::*;

    fn tree(f: &Fixture) {
        fs::create_dir_all(f.host("src/sub")).unwrap();
        fs::write(f.host("src/sub/file"), "content").unwrap();
        fs::hard_link(f.host("src/sub/file"), f.host("src/linked")).unwrap();
        symlink("/etc/passwd", f.host("src/lnk")).unwrap();
        rustix::fs::mkfifoat(&f.root, "src/fifo", Mode::from(0o600)).unwrap();
        fs::set_permissions(f.host("src/sub/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        std::os::unix::fs::chown(f.host("src/sub"), Some(5), Some(6)).unwrap();
        rustix::fs::setxattr(
            f.host("src/sub"),
            "user.note",
            b"kept",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        rustix::fs::setxattr(
            f.host("src/sub"),
            "trusted.overlay.opaque",
            b"y",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        let old = rustix::fs::Timespec {
            tv_sec: 1_000_000,
            tv_nsec: 5,
        };
        for path in ["src/sub/file", "src/sub"] {
            let fd = f.root.open_path(Path::new(path)).unwrap();
            set_mtime(fd.as_fd(), old).unwrap();
        }
    }

    #[test]
    fn keeps_everything_but_reserved_attributes() {
        let f = fixture();
        tree(&f);
        let copied = f
            .root
            .copy_from(
                Path::new("dst"),
                &f.root,
                Path::new("src"),
                &CopyOptions::default(),
            )
            .unwrap();
        assert_eq!(
            copied,
            Copied {
                entries: 6,
                bytes: 7
            }
        );
        for path in ["sub", "sub/file", "lnk", "fifo", ""] {
            let a = f
                .root
                .symlink_metadata(&Path::new("src").join(path))
                .unwrap();
            let b = f
                .root
                .symlink_metadata(&Path::new("dst").join(path))
                .unwrap();
            let view = |m: Metadata| (m.kind, m.mode, m.uid, m.gid, m.mtime, m.mtime_nsec, m.links);
            assert_eq!(view(a), view(b), "{path}");
        }
        let file = fs::metadata(f.host("dst/sub/file")).unwrap();
        assert_eq!(
            file.ino(),
            fs::metadata(f.host("dst/linked")).unwrap().ino()
        );
        assert_ne!(
            file.ino(),
            fs::metadata(f.host("src/linked")).unwrap().ino()
        );
        let sub = f.root.open_path(Path::new("dst/sub")).unwrap();
        assert_eq!(
            list_xattrs(sub.as_fd()).unwrap(),
            [(b"user.note".to_vec(), b"kept".to_vec())]
        );
    }

    #[test]
    fn overrides_owner_mode_and_time_and_selects() {
        let f = fixture();
        tree(&f);
        let options = CopyOptions {
            owner: Some((33, 34)),
            mode: Some(0o600),
            mtime: Some(42),
            select: Some(&|path, _| path != Path::new("sub")),
            ..CopyOptions::default()
        };
        fs::create_dir(f.host("dst")).unwrap();
        f.root
            .copy_from(Path::new("dst"), &f.root, Path::new("src"), &options)
            .unwrap();
        assert!(!f.host("dst/sub").exists());
        let m = f.root.symlink_metadata(Path::new("dst/linked")).unwrap();
        assert_eq!((m.uid, m.gid, m.mode, m.mtime), (33, 34, 0o600, 42));
        assert_eq!(
            fs::metadata(f.host("dst")).unwrap().uid(),
            0,
            "an existing target keeps its owner"
        );
    }

    #[test]
    fn conflicts_are_refused_or_replaced() {
        let f = fixture();
        tree(&f);
        fs::create_dir(f.host("dst")).unwrap();
        symlink(f.dir.path().join("outside"), f.host("dst/sub")).unwrap();
        let refuse = CopyOptions::default();
        let error = f
            .root
            .copy_from(Path::new("dst"), &f.root, Path::new("src"), &refuse)
            .unwrap_err();
        assert!(matches!(error, PathError::TypeConflict { .. }), "{error}");
        let replace = CopyOptions {
            conflict: Conflict::Replace,
            ..refuse
        };
        f.root
            .copy_from(Path::new("dst"), &f.root, Path::new("src"), &replace)
            .unwrap();
        assert!(f.host("dst/sub/file").exists());
        assert_eq!(
            fs::read_dir(f.dir.path().join("outside")).unwrap().count(),
            1
        );
        // A file replaces a link, and is not written through it.
        fs::remove_file(f.host("dst/linked")).unwrap();
        symlink(f.dir.path().join("outside/secret"), f.host("dst/linked")).unwrap();
        f.root
            .copy_from(Path::new("dst"), &f.root, Path::new("src"), &refuse)
            .unwrap();
        assert_eq!(
            fs::read(f.dir.path().join("outside/secret")).unwrap(),
            b"secret"
        );
    }

    #[test]
    fn holes_stay_holes_and_data_stays_data() {
        use std::os::unix::fs::FileExt as _;
        let f = fixture();
        let sparse = File::create(f.host("sparse")).unwrap();
        sparse.set_len(64 << 20).unwrap();
        sparse.write_all_at(b"middle", 32 << 20).unwrap();
        f.root
            .copy_from(
                Path::new("copy"),
                &f.root,
                Path::new("sparse"),
                &CopyOptions::default(),
            )
            .unwrap();
        let copy = f.root.metadata(Path::new("copy")).unwrap();
        assert_eq!(copy.size_bytes, 64 << 20);
        assert!(copy.allocated_bytes < 1 << 20, "{copy:?}");
        assert!(fs::read(f.host("sparse")).unwrap() == fs::read(f.host("copy")).unwrap());
    }
}

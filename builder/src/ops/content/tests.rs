use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use oci::Digest;
use runtime::root::Root;
use tokio_util::sync::CancellationToken;

use super::digest;
use crate::solver::{OpError, key::Files, op};

fn copy(src: &str) -> op::Copy {
    op::Copy {
        from: op::FileInput::Input(0),
        src: src.to_owned(),
        dest: "/".to_owned(),
        owner: None,
        mode: None,
        follow_symlink: true,
        dir_copy_contents: true,
        unpack: false,
        create_dest_path: true,
        wildcard: true,
        allow_empty_wildcard: true,
        timestamp: None,
        include: Vec::new(),
        exclude: Vec::new(),
        always_replace: false,
        required_paths: Vec::new(),
    }
}

fn of(dir: &Path, copy: op::Copy) -> Result<Digest, OpError> {
    let root = Root::open(dir).unwrap();
    digest(
        &root,
        &Files::Copy(Box::new(copy)),
        &CancellationToken::new(),
    )
}

/// Whether `change` changes what a copy of `src` takes.
fn check(src: &str, change: impl FnOnce(&Path), expected: bool) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    fs::create_dir_all(path.join("src/deep")).unwrap();
    fs::write(path.join("src/a.c"), "a").unwrap();
    fs::write(path.join("src/deep/b.c"), "b").unwrap();
    fs::write(path.join("other"), "o").unwrap();
    symlink("src/a.c", path.join("link")).unwrap();
    let before = of(path, copy(src)).unwrap();
    change(path);
    let after = of(path, copy(src)).unwrap();
    assert_eq!(before != after, expected, "{src}");
}

#[test]
fn a_digest_changes_with_what_the_copy_takes_and_with_nothing_else() {
    check(
        "/src",
        |dir| fs::write(dir.join("src/deep/b.c"), "B").unwrap(),
        true,
    );
    check(
        "/src",
        |dir| fs::write(dir.join("src/new"), "").unwrap(),
        true,
    );
    check(
        "/src",
        |dir| fs::rename(dir.join("src/a.c"), dir.join("src/c.c")).unwrap(),
        true,
    );
    check(
        "/src",
        |dir| fs::write(dir.join("other"), "O").unwrap(),
        false,
    );
    check(
        "/src/*.c",
        |dir| fs::write(dir.join("src/z.c"), "").unwrap(),
        true,
    );
    check(
        "/src/*.c",
        |dir| fs::write(dir.join("src/z.h"), "").unwrap(),
        false,
    );
    check(
        "/link",
        |dir| fs::write(dir.join("src/a.c"), "A").unwrap(),
        true,
    );
    let chmod = |dir: &Path| {
        fs::set_permissions(dir.join("src/a.c"), fs::Permissions::from_mode(0o700)).unwrap();
    };
    check("/src", chmod, true);
    let touch = |dir: &Path| {
        let file = fs::File::open(dir.join("src/a.c")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
    };
    check("/src", touch, false);
}

#[test]
fn excluded_files_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "1").unwrap();
    fs::write(dir.path().join("b"), "1").unwrap();
    let copy = op::Copy {
        exclude: vec!["b".to_owned()],
        ..copy("/")
    };
    let before = of(dir.path(), copy.clone()).unwrap();
    fs::write(dir.path().join("b"), "2").unwrap();
    assert_eq!(of(dir.path(), copy.clone()).unwrap(), before);
    fs::write(dir.path().join("a"), "2").unwrap();
    assert_ne!(of(dir.path(), copy).unwrap(), before);
}

#[test]
fn a_source_outside_the_context_is_not_found() {
    let outer = tempfile::tempdir().unwrap();
    fs::write(outer.path().join("canary"), "c").unwrap();
    let dir = outer.path().join("context");
    fs::create_dir(&dir).unwrap();
    symlink(outer.path().join("canary"), dir.join("absolute")).unwrap();
    symlink("../canary", dir.join("relative")).unwrap();
    for src in ["/absolute", "/relative", "/../canary", "/missing"] {
        let error = of(&dir, copy(src)).unwrap_err().to_string();
        assert!(error.contains("not found"), "{src}: {error}");
    }
    // A pattern that matches nothing takes nothing.
    of(&dir, copy("/*.none")).unwrap();
    assert!(
        of(&dir, copy("/["))
            .unwrap_err()
            .to_string()
            .contains("not a pattern")
    );
}

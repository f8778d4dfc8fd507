use std::{fs, os::unix::fs::symlink};

use runtime::root::Root;

use super::{group, user};

#[test]
fn names_are_found_in_the_files_of_the_root() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    let passwd = "root:x:0:0::/:/bin/sh\nwww:x:33:34::/:\nodd:x:4294967296:1::/:\n";
    fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
    fs::write(dir.path().join("etc/group"), "staff:x:50:a,b\n").unwrap();
    let root = Root::open(dir.path()).unwrap();
    assert_eq!(user(&root, "www").unwrap(), (33, 34));
    assert_eq!(group(&root, "staff").unwrap(), 50);
    for name in ["nobody", "ww", "odd", ""] {
        let error = user(&root, name).unwrap_err().to_string();
        assert!(error.contains("no matching entries in passwd"), "{error}");
    }
    let error = group(&root, "www").unwrap_err().to_string();
    assert!(error.contains("no matching entries in group"), "{error}");
}

#[test]
fn files_that_are_no_plain_files_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    assert!(user(&root, "a").is_err());
    let etc = dir.path().join("etc");
    fs::create_dir(&etc).unwrap();
    let passwd = etc.join("passwd");
    // A link that leads outside leads to nothing inside.
    symlink("/etc/passwd", &passwd).unwrap();
    fs::remove_file(&passwd).unwrap();
    let big = fs::File::create(&passwd).unwrap();
    big.set_len(4 << 30).unwrap();
    assert!(
        user(&root, "a")
            .unwrap_err()
            .to_string()
            .contains("look up")
    );
    fs::remove_file(&passwd).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &passwd,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .unwrap();
    assert!(
        user(&root, "a")
            .unwrap_err()
            .to_string()
            .contains("look up")
    );
}

use super::*;

#[test]
fn a_written_layer_is_told_as_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (upper, lower) = (dir.path().join("upper"), dir.path().join("lower"));
    for (root, dirs) in [
        (&lower, &["etc", "var/old", "opt"][..]),
        (&upper, &["etc", "var/old", "new/deep", "proc", "mnt/x"]),
    ] {
        for dir in dirs {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
    }
    for file in ["etc/passwd", "var/old/one", "var/old/two", "gone"] {
        std::fs::write(lower.join(file), "").unwrap();
    }
    for file in ["etc/passwd", "etc/hosts", "var/old/two", "new/deep/file"] {
        std::fs::write(upper.join(file), "").unwrap();
    }
    let whiteout = |name: &str| {
        let status = std::process::Command::new("mknod")
            .arg(upper.join(name))
            .args(["c", "0", "0"])
            .status();
        assert!(status.unwrap().success());
    };
    whiteout("gone");
    // Deleted again after it was made: the image never had it.
    whiteout("never");
    rustix::fs::setxattr(
        upper.join("var/old"),
        "trusted.overlay.opaque",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let open = |path: &Path| Root::open(path).unwrap();
    let found = changes(&open(&upper), &open(&lower), [PathBuf::from("/mnt/x")]).unwrap();
    let found: Vec<String> = found
        .iter()
        .map(|item| format!("{}{}", ["C", "A", "D"][usize::from(item.kind)], item.path))
        .collect();
    assert_eq!(
        found,
        [
            "C/etc",
            "C/etc/passwd",
            "D/gone",
            "A/new",
            "A/new/deep",
            "A/new/deep/file",
            "C/var",
            "C/var/old",
            "D/var/old/one",
            "A/var/old/two",
        ]
    );
}

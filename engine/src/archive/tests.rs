use super::*;

fn check_name(asked: &str, expected: &str) {
    assert_eq!(base_name(asked), expected, "{asked:?}");
}

#[test]
fn names_are_of_the_cleaned_path() {
    check_name("/etc/passwd", "passwd");
    check_name("etc/", "etc");
    check_name("/etc/.", "etc");
    check_name("/", "/");
    check_name("/..", "/");
}

/// A root with a link out of it, and a file beside it that must not be seen.
fn world() -> (tempfile::TempDir, Place) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("canary"), "secret").unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("dir/sub")).unwrap();
    std::fs::write(root.join("dir/file"), "content").unwrap();
    std::fs::hard_link(root.join("dir/file"), root.join("dir/other")).unwrap();
    std::os::unix::fs::symlink("../../canary", root.join("dir/link")).unwrap();
    let place = Place {
        root: Root::open(&root).unwrap(),
        path: PathBuf::from("/dir"),
        read_only: false,
        _mounting: None,
    };
    (dir, place)
}

#[test]
fn a_tree_is_packed_and_unpacked_again() {
    let (dir, place) = world();
    let mut tar = Vec::new();
    place.pack("/dir", &mut tar).unwrap();
    let into = dir.path().join("into");
    std::fs::create_dir(&into).unwrap();
    let target = Place {
        root: Root::open(&into).unwrap(),
        path: PathBuf::from("/"),
        read_only: false,
        _mounting: None,
    };
    target.unpack("/", "c", &tar[..], true).unwrap();
    assert_eq!(
        std::fs::read_to_string(into.join("dir/file")).unwrap(),
        "content"
    );
    assert_eq!(
        std::fs::read_to_string(into.join("dir/other")).unwrap(),
        "content"
    );
    let link = std::fs::read_link(into.join("dir/link")).unwrap();
    assert_eq!(link, Path::new("../../canary"));
}

#[test]
fn a_link_out_of_the_root_leads_nowhere() {
    let (_dir, place) = world();
    let link = Place {
        path: PathBuf::from("/dir/link"),
        ..place
    };
    let stat = link.stat("/dir/link", "c").unwrap();
    assert_eq!(stat.link_target, "/canary");
    assert_eq!(stat.mode >> 27 & 1, 1);
    let error = link.stat("/dir/link/", "c").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Could not find the file /dir/link/ in container c"
    );
    let error = link
        .unpack("/dir/link", "c", std::io::empty(), false)
        .unwrap_err();
    assert_eq!(error.status(), http::StatusCode::NOT_FOUND);
}

#[test]
fn what_takes_no_writes_is_refused() {
    let (_dir, place) = world();
    let file = Place {
        path: PathBuf::from("/dir/file"),
        ..place
    };
    let error = file
        .unpack("/dir/file", "c", std::io::empty(), false)
        .unwrap_err();
    assert_eq!(error.to_string(), "extraction point is not a directory");
    let locked = Place {
        path: PathBuf::from("/dir"),
        read_only: true,
        ..file
    };
    let error = locked
        .unpack("/dir", "c", std::io::empty(), false)
        .unwrap_err();
    assert_eq!(error.status(), http::StatusCode::BAD_REQUEST);
    assert!(locked.unpack("/dir", "c", &b"garbage"[..], false).is_err());
}

#[test]
fn the_root_of_a_process_is_found_only_while_it_is_the_one_meant() {
    let mut child = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    let pid = child.id();
    let root = live_root(pid, || true).unwrap().unwrap();
    assert!(root.exists(Path::new("/proc/self")));
    assert!(live_root(pid, || false).unwrap().is_none());
    child.kill().unwrap();
    // Not reaped yet: the number is taken, but the process has ended.
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    let number = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::waitid(rustix::process::WaitId::Pid(number), options).unwrap();
    assert!(live_root(pid, || true).unwrap().is_none());
    child.wait().unwrap();
    assert!(live_root(0, || true).unwrap().is_none());
}

#[test]
fn a_directory_is_replaced_by_a_file_only_when_that_is_asked_for() {
    let (dir, place) = world();
    let tar_of = |name: &str, kind: EntryKind| {
        let mut tar = TarWriter::new(Vec::new());
        let entry = Entry::new(name, kind, 0o755);
        tar.append(&entry, &mut std::io::empty()).unwrap();
        tar.finish().unwrap()
    };
    let (file, directory) = (
        tar_of("sub", EntryKind::Regular),
        tar_of("link", EntryKind::Directory),
    );
    let error = place.unpack("/dir", "c", &file[..], true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot overwrite directory sub with non-directory"
    );
    let error = place.unpack("/dir", "c", &directory[..], true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot overwrite non-directory link with directory"
    );
    let is_dir = |name: &str| {
        let metadata = dir.path().join("root/dir").join(name).symlink_metadata();
        metadata.unwrap().is_dir()
    };
    assert!(is_dir("sub") && !is_dir("link"));
    place.unpack("/dir", "c", &file[..], false).unwrap();
    place.unpack("/dir", "c", &directory[..], false).unwrap();
    assert!(!is_dir("sub") && is_dir("link"));
}

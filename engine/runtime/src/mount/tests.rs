use std::fs;

use super::*;
use crate::root::Root;

struct Layers {
    dir: tempfile::TempDir,
    lower: Vec<PathBuf>,
}

/// Layers topmost first; each holds `shared` with its number and a file of its own.
fn layers(count: usize) -> Layers {
    let dir = tempfile::tempdir().unwrap();
    let lower: Vec<PathBuf> = (0..count)
        .map(|at| {
            // Characters that mean something in options of overlayfs.
            let path = dir.path().join(format!("la:y,er\\{at}"));
            fs::create_dir(&path).unwrap();
            fs::write(path.join("shared"), at.to_string()).unwrap();
            fs::write(path.join(format!("own{at}")), "").unwrap();
            path
        })
        .collect();
    for name in ["upper", "work"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    Layers { dir, lower }
}

fn read(root: &Root, path: &str) -> Option<String> {
    let data = root.read_regular(Path::new(path), 100).ok()?;
    Some(String::from_utf8(data).unwrap())
}

fn mounts() -> usize {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter(|line| line.contains("la:y"))
        .count()
}

#[test]
fn the_topmost_layer_wins_and_writes_go_up() {
    let layers = layers(3);
    let (upper, work) = (
        layers.dir.path().join("upper"),
        layers.dir.path().join("work"),
    );
    let overlay = Overlay {
        lower: &layers.lower,
        upper: Some((&upper, &work)),
        read_only: false,
        volatile: false,
    };
    let root = Root::from_fd(overlay.mount_detached().unwrap());
    assert_eq!(read(&root, "shared").unwrap(), "0");
    assert!(read(&root, "own2").is_some());
    root.write(Path::new("new"), b"new", 0o644).unwrap();
    root.remove_all(Path::new("own1")).unwrap();
    assert_eq!(fs::read(upper.join("new")).unwrap(), b"new");
    let whiteout = Root::open(&upper)
        .unwrap()
        .symlink_metadata(Path::new("own1"));
    assert!(whiteout.unwrap().is_whiteout());
    assert_eq!(mounts(), 0, "attached nowhere");
}

#[test]
fn hundreds_of_layers_mount() {
    // Overlayfs takes 500; an image may have 127.
    let layers = layers(300);
    let overlay = Overlay {
        lower: &layers.lower,
        upper: None,
        read_only: true,
        volatile: false,
    };
    let root = Root::from_fd(overlay.mount_detached().unwrap());
    assert!(read(&root, "own299").is_some());
    assert!(root.write(Path::new("x"), b"x", 0o644).is_err());
}

#[test]
fn kernels_with_one_string_for_all_layers_mount_as_many() {
    for count in [2, 40] {
        let layers = layers(count);
        let (upper, work) = (
            layers.dir.path().join("upper"),
            layers.dir.path().join("work"),
        );
        let overlay = Overlay {
            lower: &layers.lower,
            upper: Some((&upper, &work)),
            read_only: false,
            volatile: false,
        };
        let root = Root::from_fd(overlay.mount_by_string().unwrap());
        assert_eq!(read(&root, "shared").unwrap(), "0", "{count}");
        assert!(read(&root, &format!("own{}", count - 1)).is_some());
        root.write(Path::new("new"), b"new", 0o644).unwrap();
        assert_eq!(fs::read(upper.join("new")).unwrap(), b"new");
        let overlay = Overlay {
            upper: None,
            read_only: true,
            ..overlay
        };
        let root = Root::from_fd(overlay.mount_by_string().unwrap());
        assert!(root.write(Path::new("x"), b"x", 0o644).is_err());
    }
    assert_eq!(mounts(), 0, "nothing is left of the way there");
}

#[test]
fn a_renamed_directory_is_copied_not_redirected() {
    let layers = layers(1);
    fs::create_dir(layers.lower[0].join("d")).unwrap();
    let (upper, work) = (
        layers.dir.path().join("upper"),
        layers.dir.path().join("work"),
    );
    let overlay = Overlay {
        lower: &layers.lower,
        upper: Some((&upper, &work)),
        read_only: false,
        volatile: false,
    };
    let root = Root::from_fd(overlay.mount_detached().unwrap());
    let renamed = rustix::fs::renameat(&root, "d", &root, "e");
    assert_eq!(renamed, Err(Errno::XDEV));
}

#[test]
fn errors_say_which_layer_or_how_many() {
    let layers = layers(1);
    let overlay = Overlay {
        lower: &[PathBuf::from("/nonexistent/layer")],
        upper: None,
        read_only: true,
        volatile: false,
    };
    let error = overlay.mount_detached().unwrap_err().to_string();
    assert!(error.contains("/nonexistent/layer"), "{error}");
    let overlay = Overlay {
        lower: &layers.lower,
        upper: None,
        read_only: true,
        volatile: false,
    };
    let error = overlay.mount_detached().unwrap_err().to_string();
    assert!(error.contains("overlay of 1 layers: create"), "{error}");
}

#[test]
fn volatile_mounts_come_back_and_keep_what_was_written() {
    let layers = layers(1);
    let (upper, work) = (
        layers.dir.path().join("upper"),
        layers.dir.path().join("work"),
    );
    for volatile in [true, true, false, true] {
        let overlay = Overlay {
            lower: &layers.lower,
            upper: Some((&upper, &work)),
            read_only: false,
            volatile,
        };
        let root = Root::from_fd(overlay.mount_detached().unwrap());
        assert_eq!(work.join("work/incompat/volatile").exists(), volatile);
        root.write(Path::new("new"), b"new", 0o644).unwrap();
        assert_eq!(read(&root, "shared").unwrap(), "0");
        drop(root);
        let root = Root::from_fd(overlay.mount_by_string().unwrap());
        assert_eq!(read(&root, "new").unwrap(), "new");
    }
}

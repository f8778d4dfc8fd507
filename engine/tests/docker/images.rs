//! Images and their layers.

use std::process::Stdio;

use crate::daemon::{Daemon, wait_for};

#[test]
fn images_go_with_their_layers_when_nothing_needs_them() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    assert_eq!(layers(&daemon), 1);
    daemon.ok(&["tag", image, "other:2"]);
    let id = daemon.ok(&["images", "-q", "other"]);
    let (_, error) = daemon.fails(&["rmi", &id]);
    assert!(
        error.contains("image is referenced in multiple repositories"),
        "{error}"
    );
    daemon.ok(&["create", "--name", "user", image]);
    assert_eq!(daemon.ok(&["rmi", "other:2"]), "Untagged: other:2");
    let (_, error) = daemon.fails(&["rmi", image]);
    assert!(error.contains("is using its referenced image"), "{error}");
    daemon.ok(&["rm", "user"]);
    assert!(daemon.ok(&["rmi", image]).contains("Deleted: sha256:"));
    assert_eq!(layers(&daemon), 0);
    assert_eq!(daemon.ok(&["images", "-q"]), "");
}

#[test]
fn a_hostile_registry_gets_errors_and_leaves_nothing() {
    let daemon = Daemon::start();
    let repository = daemon.image.trim_end_matches(":1").to_owned();
    daemon.ok(&["rmi", &daemon.image]);
    for tag in [
        "bad-json",
        "bad-null",
        "bad-count",
        "bad-size",
        "bad-short",
        "bad-layer",
        "bad-config",
        "bad-both",
    ] {
        let (_, error) = daemon.fails(&["pull", &format!("{repository}:{tag}")]);
        assert!(!error.contains("panicked"), "{tag}: {error}");
        assert_eq!(layers(&daemon), 0, "{tag} left a layer");
    }
    assert_eq!(daemon.ok(&["images", "-q"]), "");
    daemon.ok(&["pull", "-q", &daemon.image]);
    assert_eq!(
        daemon.ok(&["run", "--rm", &daemon.image, "echo", "well"]),
        "well"
    );
}

#[test]
fn images_are_saved_and_loaded_again() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let id = daemon.ok(&["images", "-q", "--no-trunc"]);
    daemon.ok(&["tag", image, "kept:1"]);
    let file = daemon.path("saved.tar");
    let file = file.to_str().unwrap();
    daemon.ok(&["save", "-o", file, "kept:1", image]);
    daemon.ok(&["rmi", "-f", image, "kept:1"]);
    assert_eq!(daemon.ok(&["images", "-q"]), "");
    let loaded = daemon.ok(&["load", "-i", file]);
    assert_eq!(
        loaded,
        format!("Loaded image: kept:1\nLoaded image: {image}")
    );
    assert_eq!(daemon.ok(&["images", "-q", "--no-trunc", "kept"]), id);
    assert_eq!(
        daemon.ok(&["run", "--rm", "kept:1", "echo", "loaded"]),
        "loaded"
    );
    std::fs::write(file, "garbage").unwrap();
    let (_, error) = daemon.fails(&["load", "-i", file]);
    assert!(error.contains("not an archive of images"), "{error}");
    assert_eq!(
        std::fs::read_dir(daemon.path("data/engine/tmp"))
            .unwrap()
            .count(),
        0
    );
}

fn layers(daemon: &Daemon) -> usize {
    let dir = daemon.path("data/layers/layers");
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn a_pull_that_dies_with_the_engine_leaves_no_layer() {
    let mut daemon = Daemon::start();
    let image = daemon.image.clone();
    daemon.ok(&["rmi", &image]);
    let endless = image.replace(":1", ":endless");
    let mut pull = daemon
        .docker(&["pull", &endless])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the first layer", || (layers(&daemon) == 1).then_some(()));
    daemon.kill();
    assert!(!pull.wait().unwrap().success());
    assert_eq!(layers(&daemon), 1);
    daemon.start_again();
    assert_eq!(layers(&daemon), 0);
    daemon.ok(&["pull", "-q", &image]);
    assert_eq!(daemon.ok(&["run", "--rm", &image, "echo", "well"]), "well");
}

#[test]
fn layers_of_a_removed_image_go_with_its_last_container() {
    let mut daemon = Daemon::start();
    let image = daemon.image.clone();
    daemon.ok(&["create", "--name", "one", &image, "echo", "hello"]);
    daemon.ok(&["create", "--name", "two", &image, "echo", "hello"]);
    let removed = daemon.ok(&["rmi", "-f", &image]);
    assert!(removed.contains("Deleted: sha256:"), "{removed}");
    assert_eq!(daemon.ok(&["images", "-aq"]), "");
    daemon.ok(&["rm", "one"]);
    assert_eq!(layers(&daemon), 1);
    daemon.kill();
    daemon.start_again();
    assert_eq!(daemon.ok(&["start", "-a", "two"]), "hello");
    daemon.ok(&["rm", "two"]);
    assert_eq!(layers(&daemon), 0);
}

#[test]
fn an_archive_that_fails_half_way_is_no_success() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let script = "i=0; while [ $i -lt 300 ]; do mkdir d && cd d; i=$((i+1)); done";
    daemon.ok(&["run", "--name", "deep", image, "sh", "-c", script]);
    let out = daemon.path("out.tar");
    let (_, error) = daemon.fails(&["export", "-o", out.to_str().unwrap(), "deep"]);
    assert!(error.contains("EOF"), "{error}");
    let copy = daemon.path("copy");
    let (_, error) = daemon.fails(&["cp", "deep:/d", copy.to_str().unwrap()]);
    assert!(error.contains("EOF"), "{error}");
}

//! `docker cp`.

use crate::daemon::Daemon;

#[test]
fn copies_stay_inside_while_the_container_swaps_paths() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let canary = daemon.path("canary");
    std::fs::create_dir(&canary).unwrap();
    let plant = daemon.path("plant");
    std::fs::write(&plant, "planted").unwrap();
    let outside = canary.display().to_string();
    let swap = format!(
        "mkdir -p /a{outside}; while :; do mkdir /d; rm -r /d; ln -s {outside} /d; rm /d; ln -s / /d; rm /d; done"
    );
    daemon.ok(&["run", "-d", "--name", "swapper", image, "sh", "-c", &swap]);
    for _ in 0..40 {
        // Either may fail, since what it names comes and goes.
        daemon.output(&["cp", plant.to_str().unwrap(), "swapper:/d/plant"]);
        daemon.output(&[
            "cp",
            &format!("swapper:/d{outside}"),
            daemon.path("got").to_str().unwrap(),
        ]);
    }
    assert_eq!(
        std::fs::read_dir(&canary).unwrap().count(),
        0,
        "a copy left the container"
    );
    daemon.ok(&["cp", plant.to_str().unwrap(), "swapper:/tmp/plant"]);
    assert_eq!(
        daemon.ok(&["exec", "swapper", "cat", "/tmp/plant"]),
        "planted"
    );
}

#[test]
fn a_copy_takes_no_directory_away() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["create", "--name", "box", image, "ls", "/var/data", "/tmp"]);
    let data = daemon.path("data.txt");
    std::fs::write(&data, "text").unwrap();
    let data = data.to_str().unwrap();
    std::fs::create_dir(daemon.path("tmp")).unwrap();
    std::fs::write(daemon.path("tmp/data"), "text").unwrap();
    let (_, error) = daemon.fails(&["cp", daemon.path("tmp/.").to_str().unwrap(), "box:/var"]);
    assert!(error.contains("cannot overwrite directory"), "{error}");
    // Into a stopped container, at whose start it is there.
    daemon.ok(&["cp", data, "box:/tmp/one"]);
    assert_eq!(
        daemon.ok(&["start", "-a", "box"]),
        "/tmp:\none\n\n/var/data:\nseed"
    );
}

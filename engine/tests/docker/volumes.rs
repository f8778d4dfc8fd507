//! Volumes and binds.

use crate::daemon::Daemon;

#[test]
fn volumes_are_filled_once_and_end_with_their_use() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let seed = |flags: &[&str], command: &str| {
        let arguments = [&["run", "--rm"], flags, &[image, "sh", "-c", command]].concat();
        daemon.ok(&arguments)
    };
    assert_eq!(
        seed(
            &["-v", "named:/var/data"],
            "cat /var/data/seed; echo mine > /var/data/seed"
        ),
        "from the image"
    );
    assert_eq!(
        seed(&["-v", "named:/var/data"], "cat /var/data/seed"),
        "mine"
    );
    assert_eq!(seed(&["-v", "bare:/var/data:nocopy"], "ls /var/data"), "");
    assert_eq!(
        seed(
            &["-v", "named:/var/data:ro"],
            "touch /var/data/x 2>&1; true"
        ),
        "touch: /var/data/x: Read-only file system"
    );
    // An anonymous one goes with its container, named ones stay.
    seed(&["-v", "/var/data"], "true");
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "bare\nnamed");
    daemon.ok(&["create", "--name", "user", "-v", "named:/x", image]);
    let (_, error) = daemon.fails(&["volume", "rm", "named"]);
    assert!(error.contains("volume is in use"), "{error}");
    daemon.ok(&["rm", "user"]);
    daemon.ok(&["volume", "rm", "named"]);
    let host = daemon.path("bound");
    let bind = format!("{}:/b", host.display());
    seed(&["-v", &bind], "echo out > /b/file");
    assert_eq!(std::fs::read_to_string(host.join("file")).unwrap(), "out\n");
}

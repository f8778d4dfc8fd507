//! Networks.

use crate::daemon::Daemon;

#[test]
fn networks_are_private_shared_or_the_hosts() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let links = |network: &str| {
        daemon.ok(&[
            "run",
            "--rm",
            "--network",
            network,
            image,
            "ls",
            "/sys/class/net",
        ])
    };
    assert_eq!(links("none"), "lo");
    assert_eq!(links("bridge"), "eth0\nlo");
    daemon.ok(&["run", "-d", "--name", "owner", image, "sleep", "1000"]);
    let shown = |arguments: &[&str]| daemon.ok(arguments);
    let address = shown(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "owner"]);
    let joined = shown(&[
        "run",
        "--rm",
        "--network",
        "container:owner",
        image,
        "ip",
        "addr",
        "show",
        "eth0",
    ]);
    assert!(joined.contains(&address), "{joined} without {address}");
    let processes = shown(&["run", "--rm", "--pid", "container:owner", image, "ps"]);
    assert!(processes.contains("sleep 1000"), "{processes}");
    let (_, error) = daemon.fails(&["run", "--rm", "--network", "absent", image, "true"]);
    assert!(error.contains("network absent not found"), "{error}");
    assert_eq!(shown(&["ps", "-aq", "--no-trunc"]).lines().count(), 1);
}

//! The engine's own ends: killed, stopped, and out of disk.

use std::io::Read;
use std::process::Stdio;

use crate::daemon::{Daemon, wait_for};

#[test]
fn containers_survive_a_killed_engine() {
    let mut daemon = Daemon::start();
    let image = daemon.image.clone();
    let image = image.as_str();
    let counter = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.02; done";
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "ticker",
        "-p",
        "127.0.0.1::80",
        image,
        "sh",
        "-c",
        counter,
    ]);
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "ending",
        image,
        "sh",
        "-c",
        "while [ ! -e /end ]; do sleep 0.02; done; exit 7",
    ]);
    daemon.ok(&[
        "run",
        "-d",
        "--rm",
        "--name",
        "gone",
        image,
        "sh",
        "-c",
        "while [ ! -e /end ]; do sleep 0.02; done",
    ]);
    let before = daemon.ok(&[
        "inspect",
        "-f",
        "{{.State.Pid}} {{.NetworkSettings.IPAddress}}",
        "ticker",
    ]);
    let port = daemon.ok(&["port", "ticker", "80"]);
    daemon.ok(&["exec", "-d", "ending", "sh", "-c", "sleep 0.2; touch /end"]);
    daemon.ok(&["exec", "-d", "gone", "sh", "-c", "sleep 0.2; touch /end"]);
    let ending: i32 = daemon
        .ok(&["inspect", "-f", "{{.State.Pid}}", "ending"])
        .parse()
        .unwrap();
    daemon.kill();
    wait_for("an end without an engine", || {
        (!std::path::Path::new(&format!("/proc/{ending}")).exists()).then_some(())
    });
    daemon.start_again();
    let after = daemon.ok(&[
        "inspect",
        "-f",
        "{{.State.Pid}} {{.NetworkSettings.IPAddress}}",
        "ticker",
    ]);
    assert_eq!(after, before);
    assert_eq!(daemon.ok(&["port", "ticker", "80"]), port);
    assert_eq!(daemon.ok(&["exec", "ticker", "echo", "alive"]), "alive");
    assert_eq!(daemon.ok(&["wait", "ending"]), "7");
    wait_for("--rm to be made up for", || {
        (daemon.ok(&["ps", "-aq", "-f", "name=gone"]).is_empty()).then_some(())
    });
    // No line is missing or double, and new ones come.
    let count = |text: &str| text.lines().count();
    let first = daemon.ok(&["logs", "ticker"]);
    wait_for("new lines", || {
        (count(&daemon.ok(&["logs", "ticker"])) > count(&first)).then_some(())
    });
    for (number, line) in (1..).zip(first.lines()) {
        assert_eq!(line, format!("tick {number}"));
    }
    daemon.ok(&["stop", "-t", "0", "ticker"]);
    assert_eq!(
        daemon.ok(&["inspect", "-f", "{{.State.ExitCode}}", "ticker"]),
        "137"
    );
}

#[test]
fn a_follower_does_not_delay_the_end_of_the_engine() {
    let mut daemon = Daemon::start();
    let image = daemon.image.clone();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        &image,
        "sh",
        "-c",
        "echo ready; sleep 1000",
    ]);
    let mut follower = daemon
        .docker(&["logs", "-f", "box"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut waiter = daemon
        .docker(&["wait", "box"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    follower
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut line)
        .unwrap();
    let began = std::time::Instant::now();
    daemon.stop();
    // Five seconds is what open requests get before they are cut off.
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
    follower.wait().unwrap();
    waiter.wait().unwrap();
    daemon.start_again();
    assert_eq!(daemon.ok(&["exec", "box", "echo", "alive"]), "alive");
}

#[test]
fn a_full_disk_is_told_and_got_over() {
    let daemon = Daemon::start_on_small_disk(24);
    let image = daemon.image.as_str();
    daemon.ok(&["run", "-d", "--name", "filler", image, "sleep", "1000"]);
    let (_, error) = daemon.fails(&["exec", "filler", "dd", "if=/dev/zero", "of=/fill", "bs=64k"]);
    assert!(error.contains("No space left on device"), "{error}");
    let (code, error) = daemon.fails(&["run", "--rm", image, "true"]);
    assert_eq!(code, 125);
    let error = error.to_lowercase();
    assert!(
        error.contains("no space left") || error.contains("disk is full"),
        "{error}"
    );
    assert_eq!(daemon.ok(&["ps", "--format", "{{.Names}}"]), "filler");
    daemon.ok(&["rm", "-f", "filler"]);
    for dead in daemon.ok(&["ps", "-aq", "-f", "status=dead"]).lines() {
        daemon.ok(&["rm", dead]);
    }
    assert_eq!(daemon.ok(&["run", "--rm", image, "echo", "well"]), "well");
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}

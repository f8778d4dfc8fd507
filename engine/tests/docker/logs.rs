//! Logs.

use std::process::Stdio;

use crate::daemon::{Daemon, wait_for};

#[test]
fn logs_are_selected_and_followed_to_the_end() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let script = "for i in 1 2 3 4; do echo out $i; done; sleep 0.1; echo out 5; echo wrong >&2; \
                  trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done";
    daemon.ok(&["run", "-d", "--name", "talker", image, "sh", "-c", script]);
    wait_for("the last line", || {
        let all = daemon.output(&["logs", "talker"]);
        String::from_utf8_lossy(&all.stderr)
            .contains("wrong")
            .then_some(())
    });
    assert_eq!(
        daemon.ok(&["logs", "--tail", "3", "talker"]),
        "out 4\nout 5"
    );
    assert_eq!(
        daemon.ok(&["logs", "--until", "2001-01-01T00:00:00Z", "talker"]),
        ""
    );
    let stamped = daemon.ok(&["logs", "-t", "--tail", "2", "talker"]);
    let (time, text) = stamped.split_once(' ').unwrap();
    assert_eq!(
        (time.len(), text),
        ("2026-01-01T00:00:00.000000000Z".len(), "out 5")
    );
    // The details come before the text, and there are none.
    let detailed = daemon.ok(&["logs", "-t", "--details", "--tail", "2", "talker"]);
    assert_eq!(detailed, format!("{time}  out 5"));
    let after = daemon.ok(&["logs", "--since", time, "talker"]);
    assert_eq!(after, "out 5");
    let follower = daemon
        .docker(&["logs", "-f", "--tail", "0", "talker"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Every follower watches before it reads, so a late line reaches it either way.
    daemon.ok(&["stop", "talker"]);
    let followed = follower.wait_with_output().unwrap();
    assert!(followed.status.success());
    let all = daemon.ok(&["logs", "talker"]);
    assert!(all.ends_with("out 5\nbye"), "{all}");
}

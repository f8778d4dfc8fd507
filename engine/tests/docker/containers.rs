//! Containers: lists, states, restart policies.

use crate::daemon::{Daemon, wait_for};

#[test]
fn lists_filter_by_name_state_and_label() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&[
        "run", "-d", "--name", "alpha", "-l", "tier=web", image, "sleep", "1000",
    ]);
    daemon.ok(&[
        "run", "--name", "beta", "-l", "tier=db", image, "sh", "-c", "exit 0",
    ]);
    daemon.ok(&["create", "--name", "gamma", image]);
    let names = |flags: &[&str]| {
        daemon
            .ok(&[&["ps", "--format", "{{.Names}}"], flags].concat())
            .replace('\n', " ")
    };
    assert_eq!(names(&[]), "alpha");
    assert_eq!(names(&["-a"]), "gamma beta alpha");
    assert_eq!(names(&["-n", "2"]), "gamma beta");
    assert_eq!(names(&["-a", "-f", "name=bet"]), "beta");
    assert_eq!(names(&["-f", "status=exited"]), "beta");
    assert_eq!(names(&["-f", "status=created"]), "gamma");
    assert_eq!(names(&["-a", "-f", "label=tier"]), "beta alpha");
    assert_eq!(names(&["-a", "-f", "label=tier=db"]), "beta");
    assert_eq!(
        names(&["-a", "-f", &format!("ancestor={image}"), "-f", "since=beta"]),
        "gamma"
    );
    daemon.ok(&["rename", "gamma", "delta"]);
    assert_eq!(names(&["-a", "-f", "name=^/delta$"]), "delta");
    let (_, error) = daemon.fails(&["rename", "delta", "alpha"]);
    assert!(
        error.contains("The container name \"/alpha\" is already in use"),
        "{error}"
    );
    let (_, error) = daemon.fails(&["rm", "alpha"]);
    assert!(
        error.contains("container is running: stop the container before removing"),
        "{error}"
    );
    assert_eq!(daemon.ok(&["container", "prune", "-f"]).lines().count(), 5);
}

#[test]
fn restart_policies_count_and_stop_when_told() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "failing",
        "--restart",
        "on-failure:2",
        image,
        "sh",
        "-c",
        "exit 3",
    ]);
    let state = |name: &str| {
        let format = "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}";
        daemon.ok(&["inspect", "-f", format, name])
    };
    wait_for("two restarts", || {
        (state("failing") == "2 exited 3").then_some(())
    });
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "always",
        "--restart",
        "always",
        image,
        "sh",
        "-c",
        "exit 0",
    ]);
    wait_for("a restart", || {
        state("always").starts_with(['1', '2', '3']).then_some(())
    });
    daemon.ok(&["stop", "always"]);
    let stopped = state("always");
    assert!(stopped.ends_with("exited 0"), "{stopped}");
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "kept",
        "--restart",
        "always",
        image,
        "sleep",
        "1000",
    ]);
    let pid = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "kept"]);
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_for("a restart after a crash", || {
        (state("kept") == "1 running 0").then_some(())
    });
}

#[test]
fn a_paused_container_is_frozen_and_can_be_killed() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["run", "-d", "--name", "box", image, "sleep", "1000"]);
    daemon.ok(&["pause", "box"]);
    assert_eq!(
        daemon.ok(&["inspect", "-f", "{{.State.Status}}", "box"]),
        "paused"
    );
    let (_, error) = daemon.fails(&["exec", "box", "true"]);
    assert!(
        error.contains("is paused, unpause the container before exec"),
        "{error}"
    );
    daemon.ok(&["unpause", "box"]);
    assert_eq!(daemon.ok(&["exec", "box", "echo", "thawed"]), "thawed");
    daemon.ok(&["pause", "box"]);
    daemon.ok(&["kill", "box"]);
    assert_eq!(
        daemon.ok(&["inspect", "-f", "{{.State.ExitCode}}", "box"]),
        "137"
    );
    let (_, error) = daemon.fails(&["kill", "box"]);
    assert!(error.contains("is not running"), "{error}");
}

#[test]
fn what_a_container_wrote_is_shown_and_becomes_an_image() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let script = "echo new > /root/file; rm /var/data/seed; echo x >> /etc/passwd";
    daemon.ok(&["run", "--name", "box", image, "sh", "-c", script]);
    assert_eq!(
        daemon.ok(&["diff", "box"]),
        "C /etc\nC /etc/passwd\nC /root\nA /root/file\nC /var\nC /var/data\nD /var/data/seed"
    );
    let id = daemon.ok(&["commit", "-m", "why", "-a", "who", "box", "made:1"]);
    let shown = daemon.ok(&[
        "inspect",
        "-f",
        "{{.Id}} {{.Comment}} {{.Author}}",
        "made:1",
    ]);
    assert_eq!(shown, format!("{id} why who"));
    daemon.ok(&["rm", "box"]);
    daemon.ok(&["rmi", image]);
    let script = "cat /root/file; ls /var/data";
    assert_eq!(
        daemon.ok(&["run", "--rm", "made:1", "sh", "-c", script]),
        "new"
    );
    daemon.ok(&["rmi", "made:1"]);
    let left = std::fs::read_dir(daemon.path("data/layers/layers")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn limits_of_a_running_container_change() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let flags = ["--memory", "64m", "--pids-limit", "10"];
    let arguments = [
        &["run", "-d", "--name", "box"],
        &flags[..],
        &[image, "sleep", "1000"],
    ];
    daemon.ok(&arguments.concat());
    let limit = || {
        let script = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true";
        daemon.ok(&["exec", "box", "sh", "-c", script])
    };
    assert_eq!(limit(), "10");
    daemon.ok(&["update", "--pids-limit", "20", "box"]);
    assert_eq!(limit(), "20");
    let format = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}";
    assert_eq!(daemon.ok(&["inspect", "-f", format, "box"]), "67108864 20");
    let (_, error) = daemon.fails(&["update", "--memory", "1g", "box"]);
    assert!(
        error.contains("update the memoryswap at the same time"),
        "{error}"
    );
}

#[test]
fn a_reload_does_not_end_the_restart_policy() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let script = "trap : HUP; while :; do sleep 0.05; done";
    let flags = ["run", "-d", "--name", "box", "--restart", "always"];
    daemon.ok(&[&flags[..], &[image, "sh", "-c", script]].concat());
    daemon.ok(&["kill", "-s", "HUP", "box"]);
    let pid = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "box"]);
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_for("a restart after a crash", || {
        let format = "{{.RestartCount}} {{.State.Status}}";
        (daemon.ok(&["inspect", "-f", format, "box"]) == "1 running").then_some(())
    });
}

#[test]
fn everything_unused_is_pruned_in_one_go() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["run", "--name", "box", image, "true"]);
    let pruned = daemon.ok(&["system", "prune", "-af"]);
    assert!(pruned.contains("Deleted Containers:"), "{pruned}");
    assert_eq!(daemon.ok(&["images", "-q"]), "");
}

#[test]
fn a_container_knows_that_it_is_one() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["run", "--name", "box", image, "test", "-f", "/.dockerenv"]);
    assert_eq!(daemon.ok(&["diff", "box"]), "");
}

#[test]
fn processes_are_shown_with_the_columns_that_are_asked_for() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["run", "-d", "--name", "box", image, "sleep", "1000"]);
    let pid = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "box"]);
    let shown = daemon.ok(&["top", "box", "-o", "pid,args"]);
    let lines: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines, [vec!["PID", "COMMAND"], vec![&pid, "sleep", "1000"]]);
    assert!(daemon.ok(&["top", "box", "aux"]).contains("%CPU"));
    let (_, error) = daemon.fails(&["top", "box", "--no-such"]);
    assert!(error.contains("ps: error"), "{error}");
}

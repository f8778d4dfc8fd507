//! The engine as the stock docker client sees it. Needs root, docker's client
//! and busybox-static.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod daemon;
mod registry;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use daemon::{Daemon, wait_for};

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    for (flags, text) in [
        (&["--init"][..], "--init is not supported by Carrack yet"),
        (&["--gpus", "all"], "--gpus is not supported by Carrack yet"),
        (&["--memory", "1m"], "Minimum memory limit allowed is 6MB"),
        (
            &["--log-driver", "syslog"],
            "--log-driver syslog is not supported by Carrack yet",
        ),
        (
            &["--security-opt", "apparmor=x"],
            "--security-opt apparmor=x is not supported",
        ),
        (
            &["--health-cmd", "true"],
            "--health-cmd is not supported by Carrack yet",
        ),
    ] {
        let arguments = [&["run", "--rm"], flags, &[image, "true"]].concat();
        let (code, error) = daemon.fails(&arguments);
        assert_eq!(code, 125, "{error}");
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}

#[test]
fn bad_requests_get_an_answer_and_the_engine_lives() {
    let daemon = Daemon::start();
    for (method, path, body, status, text) in [
        ("POST", "/containers/create", "{", 400, "invalid JSON"),
        ("POST", "/containers/create", "[]", 400, "invalid JSON"),
        (
            "POST",
            "/containers/create?name=../x",
            "{\"Image\":\"a\"}",
            400,
            "Invalid container name",
        ),
        (
            "POST",
            "/containers/create",
            "{\"Image\":\"absent\"}",
            404,
            "No such image: absent:latest",
        ),
        (
            "POST",
            "/containers/create",
            "{\"Image\":\"../../x\"}",
            400,
            "invalid reference format",
        ),
        (
            "GET",
            "/containers/json?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D",
            "",
            400,
            "invalid filter 'colour'",
        ),
        (
            "GET",
            "/v1.99/info",
            "",
            400,
            "client version 1.99 is too new",
        ),
        (
            "GET",
            "/v1.10/info",
            "",
            400,
            "client version 1.10 is too old",
        ),
        ("GET", "/v1.x/info", "", 400, "invalid API version"),
        (
            "GET",
            "/containers/absent/json",
            "",
            404,
            "No such container: absent",
        ),
        (
            "GET",
            "/exec/absent/json",
            "",
            404,
            "No such exec instance: absent",
        ),
        (
            "POST",
            "/swarm/init",
            "{}",
            503,
            "This node is not a swarm manager",
        ),
        (
            "POST",
            "/commit?container=x",
            "{}",
            501,
            "docker commit is not supported",
        ),
        ("GET", "/nothing/here", "", 404, "page not found"),
    ] {
        let (got, answer) = daemon.request(method, path, body);
        assert_eq!(got, status, "{method} {path}: {answer}");
        assert!(answer.contains(text), "{method} {path}: {answer}");
    }
    assert_eq!(daemon.request("GET", "/_ping", "").0, 200);
}

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
fn an_old_client_takes_its_connection_over_after_a_200() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let id = daemon.ok(&["create", "-i", image, "cat"]);
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    write!(
        stream,
        "POST /v1.24/containers/{id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    daemon.ok(&["start", &id]);
    stream.write_all(b"through").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"\x01\0\0\0\0\0\0\x07through");
    assert_eq!(daemon.ok(&["wait", &id]), "0");
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
fn events_tell_the_life_of_a_container() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["run", "--rm", "--name", "short", image, "true"]);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let filters = "%7B%22container%22%3A%5B%22short%22%5D%7D";
    let path = format!("/events?since=0&until={until}&filters={filters}");
    let (_, body) = daemon.request("GET", &path, "");
    let actions: Vec<String> = body
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|event| Some(event.get("Action")?.as_str()?.to_owned()))
        .collect();
    assert_eq!(actions, ["create", "attach", "start", "die", "destroy"]);
}

#[test]
fn images_go_with_their_layers_when_nothing_needs_them() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let layers = || {
        std::fs::read_dir(daemon.path("data/layers/layers"))
            .unwrap()
            .count()
    };
    assert_eq!(layers(), 1);
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
    assert_eq!(layers(), 0);
    assert_eq!(daemon.ok(&["images", "-q"]), "");
}

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

#[test]
fn a_client_that_does_not_read_holds_nothing_else_back() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["run", "-d", "--name", "box", image, "sleep", "1000"]);
    let (status, body) = daemon.request(
        "POST",
        "/containers/box/exec",
        r#"{"AttachStdout":true,"Cmd":["sh","-c","yes > /proc/self/fd/1"]}"#,
    );
    assert_eq!(status, 201, "{body}");
    let created: serde_json::Value = serde_json::from_str(&body).unwrap();
    let id = created["Id"].as_str().unwrap();
    let before = daemon.memory_kib();
    let mut stalled = UnixStream::connect(daemon.socket()).unwrap();
    write!(
        stalled,
        "POST /exec/{id}/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Length: 2\r\n\r\n{{}}"
    )
    .unwrap();
    let mut head = [0; 64];
    stalled.read_exact(&mut head).unwrap();
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    for _ in 0..20 {
        assert_eq!(daemon.ok(&["exec", "box", "echo", "alive"]), "alive");
    }
    assert!(
        daemon.memory_kib() < before + 32 * 1024,
        "output is buffered without bound"
    );
    // It leaves: the process is still there and can be ended.
    drop(stalled);
    daemon.ok(&["rm", "-f", "box"]);
}

#[test]
fn a_hostile_registry_gets_errors_and_leaves_nothing() {
    let daemon = Daemon::start();
    let repository = daemon.image.trim_end_matches(":1").to_owned();
    let layers = || {
        std::fs::read_dir(daemon.path("data/layers/layers"))
            .unwrap()
            .count()
    };
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
        assert_eq!(layers(), 0, "{tag} left a layer");
    }
    assert_eq!(daemon.ok(&["images", "-q"]), "");
    daemon.ok(&["pull", "-q", &daemon.image]);
    assert_eq!(
        daemon.ok(&["run", "--rm", &daemon.image, "echo", "well"]),
        "well"
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

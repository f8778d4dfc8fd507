//! Running containers with the stock docker client.

use std::{
    fs,
    io::{Read, Write},
    process::{Command, Stdio},
};

use crate::harness::{Api, Carrack, copy_environment, output, push_busybox, run, signal, wait_for};

fn start() -> (Carrack, String) {
    let server = Carrack::start();
    let image = push_busybox(&server, "team/busybox:1");
    run(&mut server.docker(&["pull", "-q", &image]));
    (server, image)
}

#[test]
fn exit_codes_are_dockers() {
    let (server, image) = start();
    let code = |arguments: &[&str]| output(&mut server.docker(arguments)).status.code();
    assert_eq!(code(&["run", "--rm", &image, "true"]), Some(0));
    assert_eq!(
        code(&["run", "--rm", &image, "sh", "-c", "exit 42"]),
        Some(42)
    );
    assert_eq!(code(&["run", "--rm", &image, "absent"]), Some(127));
    assert_eq!(code(&["run", "--rm", &image, "/etc"]), Some(126));
    assert_eq!(code(&["run", "--rm", "--no-such-flag", &image]), Some(125));
    assert_eq!(
        code(&["run", "--rm", "--network", "absent", &image, "true"]),
        Some(125)
    );
    assert_eq!(run(&mut server.docker(&["ps", "-aq"])), "");
}

#[test]
fn streams_environment_and_directory() {
    let (server, image) = start();
    let done = output(&mut server.docker(&[
        "run",
        "--rm",
        "-e",
        "GREETING=hi",
        "-w",
        "/tmp",
        "-u",
        "web",
        "--name",
        "named",
        "--hostname",
        "box",
        &image,
        "sh",
        "-c",
        "echo $GREETING; pwd; id -un; hostname; echo wrong >&2",
    ]));
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        "hi\n/tmp\nweb\nbox\n"
    );
    assert_eq!(String::from_utf8_lossy(&done.stderr), "wrong\n");

    let mut child = server
        .docker(&["run", "--rm", "-i", &image, "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"through and back")
        .unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "through and back");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_terminal() {
    let (server, image) = start();
    // script(1) gives the client the terminal that -t needs.
    let docker = server.docker(&[]);
    let command =
        format!("docker run --rm -it {image} sh -c 'test -t 0 && stty size && echo terminal'");
    let mut script = Command::new("script");
    copy_environment(&docker, &mut script);
    let text = run(script.args(["-qec", &command, "/dev/null"]));
    assert!(text.contains("terminal"), "{text}");
}

#[test]
fn detached_with_logs_exec_inspect_stop() {
    let (server, image) = start();
    let id = run(&mut server.docker(&[
        "run",
        "-d",
        "--name",
        "worker",
        &image,
        "sh",
        "-c",
        "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done",
    ]));
    assert_eq!(id.len(), 64);
    let logs = || run(&mut server.docker(&["logs", "worker"]));
    wait_for("the first line", || logs().contains("ready").then_some(()));
    assert_eq!(
        run(&mut server.docker(&["exec", "worker", "cat", "/proc/1/comm"])),
        "sh"
    );
    assert_eq!(
        output(&mut server.docker(&["exec", "worker", "sh", "-c", "exit 9"]))
            .status
            .code(),
        Some(9)
    );
    assert_eq!(
        output(&mut server.docker(&["exec", "worker", "absent"]))
            .status
            .code(),
        Some(127)
    );
    let listed = run(&mut server.docker(&["ps", "--format", "{{.Names}} {{.Image}} {{.State}}"]));
    assert_eq!(listed, format!("worker {image} running"));

    let mut follower = server
        .docker(&["logs", "-f", "worker"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut waiter = server
        .docker(&["wait", "worker"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    run(&mut server.docker(&["stop", "worker"]));
    let mut text = String::new();
    follower
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "ready\nbye\n");
    follower.wait().unwrap();
    text.clear();
    waiter
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text.trim(), "3");
    waiter.wait().unwrap();
    let state = run(&mut server.docker(&[
        "inspect",
        "-f",
        "{{.State.Status}} {{.State.ExitCode}}",
        "worker",
    ]));
    assert_eq!(state, "exited 3");
    run(&mut server.docker(&["rm", "worker"]));
    assert!(
        !output(&mut server.docker(&["inspect", "worker"]))
            .status
            .success()
    );
}

#[test]
fn kill_and_names() {
    let (server, image) = start();
    run(&mut server.docker(&["run", "-d", "--name", "one", &image, "sleep", "1000"]));
    let twice = output(&mut server.docker(&["run", "-d", "--name", "one", &image, "true"]));
    assert_eq!(twice.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&twice.stderr).contains("is already in use"));
    run(&mut server.docker(&["kill", "one"]));
    assert_eq!(run(&mut server.docker(&["wait", "one"])), "137");
    run(&mut server.docker(&["rm", "one"]));
}

#[test]
fn volumes_and_binds() {
    let (server, image) = start();
    let host = server.site.dir.join("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "from the host").unwrap();
    let bind = format!("{}:/mnt", host.display());
    assert_eq!(
        run(&mut server.docker(&["run", "--rm", "-v", &bind, &image, "cat", "/mnt/file"])),
        "from the host"
    );
    run(&mut server.docker(&[
        "run",
        "--rm",
        "-v",
        &bind,
        &image,
        "sh",
        "-c",
        "echo back > /mnt/new",
    ]));
    assert_eq!(fs::read_to_string(host.join("new")).unwrap(), "back\n");
    let read_only = format!("{bind}:ro");
    let refused =
        output(&mut server.docker(&["run", "--rm", "-v", &read_only, &image, "touch", "/mnt/x"]));
    assert!(!refused.status.success());

    run(&mut server.docker(&[
        "run",
        "--rm",
        "-v",
        "data:/data",
        &image,
        "sh",
        "-c",
        "echo kept > /data/file",
    ]));
    assert_eq!(
        run(&mut server.docker(&[
            "run",
            "--rm",
            "-v",
            "data:/data",
            &image,
            "cat",
            "/data/file"
        ])),
        "kept"
    );
    run(&mut server.docker(&["volume", "rm", "data"]));
}

#[test]
fn networks() {
    let (server, image) = start();
    let links = |network: &str| {
        run(&mut server.docker(&[
            "run",
            "--rm",
            "--network",
            network,
            &image,
            "ls",
            "/sys/class/net",
        ]))
    };
    assert_eq!(links("none"), "lo");
    assert_eq!(
        links("bridge").split_whitespace().collect::<Vec<_>>(),
        ["eth0", "lo"]
    );
    assert!(links("host").contains(&server.site.bridge));

    run(&mut server.docker(&[
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "127.0.0.1:0:80",
        &image,
        "sh",
        "-c",
        "while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\npage' | nc -l -p 80; done",
    ]));
    let published = run(&mut server.docker(&["port", "web", "80"]));
    let api = Api::new(&published, None);
    let answer = wait_for("the page", || api.get("/").ok());
    assert_eq!(answer.text(), "page");
    let taken = output(&mut server.docker(&[
        "run",
        "-d",
        "-p",
        &format!("{published}:80"),
        &image,
        "sleep",
        "1",
    ]));
    assert_eq!(taken.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&taken.stderr).contains("port is already allocated"));
    run(&mut server.docker(&["rm", "-f", "web"]));
    assert!(api.get("/").is_err(), "the port is still published");
}

#[test]
fn a_killed_daemon_leaves_its_containers_running() {
    let (mut server, image) = start();
    run(&mut server.docker(&[
        "run",
        "-d",
        "--name",
        "survivor",
        &image,
        "sh",
        "-c",
        "n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); echo line $n; sleep 0.02; done; exit 7",
    ]));
    let logs = |server: &Carrack| run(&mut server.docker(&["logs", "survivor"]));
    wait_for("output", || logs(&server).contains("line 3").then_some(()));
    let pid: u32 = run(&mut server.docker(&["inspect", "-f", "{{.State.Pid}}", "survivor"]))
        .parse()
        .unwrap();

    let engine = server.child_pid("engine");
    signal(engine, "KILL");
    wait_for("another engine process", || {
        Some(server.child_pid("engine")).filter(|pid| *pid != engine)
    });
    server.wait_ready();
    assert!(
        fs::exists(format!("/proc/{pid}")).unwrap(),
        "the container died with the daemon"
    );
    let before = logs(&server);
    wait_for("more output", || {
        (logs(&server).len() > before.len()).then_some(())
    });
    assert_eq!(
        run(&mut server.docker(&["inspect", "-f", "{{.State.Status}}", "survivor"])),
        "running"
    );
    run(&mut server.docker(&["exec", "survivor", "touch", "/tmp/stop"]));
    assert_eq!(run(&mut server.docker(&["wait", "survivor"])), "7");

    // And one that ends while no daemon lives.
    run(&mut server.docker(&[
        "run",
        "-d",
        "--name",
        "short",
        &image,
        "sh",
        "-c",
        "until [ -e /tmp/stop ]; do sleep 0.02; done; exit 5",
    ]));
    let pid: u32 = run(&mut server.docker(&["inspect", "-f", "{{.State.Pid}}", "short"]))
        .parse()
        .unwrap();
    server.kill();
    fs::write(format!("/proc/{pid}/root/tmp/stop"), "").unwrap();
    wait_for("the container's end", || {
        (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(())
    });
    server.restart();
    assert_eq!(run(&mut server.docker(&["wait", "short"])), "5");
    run(&mut server.docker(&["rm", "short", "survivor"]));
}

#[test]
fn a_paused_container_stays_paused_through_a_daemons_death() {
    let (server, image) = start();
    run(&mut server.docker(&[
        "run",
        "-d",
        "--name",
        "frozen",
        "-p",
        "127.0.0.1:0:80",
        &image,
        "sleep",
        "1000",
    ]));
    run(&mut server.docker(&["pause", "frozen"]));
    let engine = server.child_pid("engine");
    signal(engine, "KILL");
    wait_for("another engine process", || {
        Some(server.child_pid("engine")).filter(|pid| *pid != engine)
    });
    let state = wait_for("its state", || {
        let shown = output(&mut server.docker(&["inspect", "-f", "{{.State.Status}}", "frozen"]));
        shown
            .status
            .success()
            .then(|| String::from_utf8_lossy(&shown.stdout).trim().to_owned())
    });
    assert_eq!(state, "paused");
    run(&mut server.docker(&["unpause", "frozen"]));
    run(&mut server.docker(&["exec", "frozen", "true"]));
}

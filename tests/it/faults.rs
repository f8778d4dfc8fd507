//! SIGKILL to each process of the tree while it starts, builds or runs
//! something. What was running is either still there or cleaned up by those
//! who live on, before anybody stops the server.

use std::{
    fs,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    build::{context, finish, submit},
    harness::{Carrack, output, push_busybox, run, signal, wait_for},
};

fn start() -> (Carrack, String) {
    let server = Carrack::start();
    let image = push_busybox(&server, "team/busybox:1");
    run(&mut server.docker(&["pull", "-q", &image]));
    (server, image)
}

fn first_pid(server: &Carrack, name: &str) -> u32 {
    let pid = run(&mut server.docker(&["inspect", "-f", "{{.State.Pid}}", name]));
    pid.parse().unwrap()
}

/// Removes what is listed, and expects that nothing of it is left.
fn expect_all_gone(server: &Carrack) {
    server.remove_containers();
    assert_eq!(run(&mut server.docker(&["ps", "-aq"])), "");
    server.expect_no_container();
}

/// Starts a build that stays within RUN, on a network.
fn submit_sleeper(server: &Carrack, base: &str) -> String {
    let dockerfile = format!("FROM {base}\nRUN sleep 1000\n");
    let id = submit(server, "", context(&[("Dockerfile", &dockerfile)]));
    wait_for("the step", || sleeper(server));
    id
}

fn sleeper(server: &Carrack) -> Option<u32> {
    let is_sleep = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x001000\0")
    };
    server.contained().into_iter().find(is_sleep)
}

fn cancel(server: &Carrack, id: &str) {
    let path = format!("/api/v1/builds/{id}/cancel");
    let answer = server.api().post(&path, "", Vec::new());
    assert!(answer.status < 300, "{}", answer.text());
    assert_eq!(finish(server, id)["state"], "cancelled");
}

#[test]
fn a_cancelled_step_is_gone_while_the_server_goes_on() {
    let (server, image) = start();
    let id = submit_sleeper(&server, &image);
    cancel(&server, &id);
    server.expect_no_container();
}

#[test]
fn a_builder_killed_within_run_leaves_no_step() {
    let (mut server, image) = start();
    let id = submit_sleeper(&server, &image);
    let before = sleeper(&server).unwrap();
    server.kill_child("engine");
    // The build was acknowledged, so it is run again, by one step alone.
    let after = wait_for("the step to be run again", || {
        sleeper(&server).filter(|pid| *pid != before)
    });
    assert!(!fs::exists(format!("/proc/{before}")).unwrap());
    assert_ne!(before, after);
    cancel(&server, &id);
    server.expect_no_container();
}

#[test]
fn a_supervisor_killed_within_run_leaves_no_step() {
    let (mut server, image) = start();
    let id = submit_sleeper(&server, &image);
    server.kill();
    server.restart();
    cancel(&server, &id);
    server.expect_no_container();
}

#[test]
fn a_killed_launcher_is_replaced_and_its_containers_live() {
    let (server, image) = start();
    run(&mut server.docker(&["run", "-d", "--name", "old", &image, "sleep", "1000"]));
    let pid = first_pid(&server, "old");
    signal(server.child_pid("launcher"), "KILL");
    let said = run(&mut server.docker(&["run", "--rm", &image, "echo", "again"]));
    assert_eq!(said, "again");
    run(&mut server.docker(&["exec", "old", "true"]));
    assert_eq!(first_pid(&server, "old"), pid);
    expect_all_gone(&server);
}

#[test]
fn a_killed_monitor_takes_its_container_along_and_the_engine_says_so() {
    let (server, image) = start();
    let port = ["run", "-d", "--name", "box", "-p", "127.0.0.1:0:80"];
    run(server.docker(&port).args([&image, "sleep", "1000"]));
    signal(server.monitor_of(first_pid(&server, "box")), "KILL");
    let state = |format: &str| run(&mut server.docker(&["inspect", "-f", format, "box"]));
    wait_for("the end to be seen", || {
        (state("{{.State.Running}}") == "false").then_some(())
    });
    assert_ne!(state("{{.State.ExitCode}}"), "0");
    server.expect_no_container();
    // It can be started again.
    run(&mut server.docker(&["start", "box"]));
    run(&mut server.docker(&["exec", "box", "true"]));
    expect_all_gone(&server);
}

#[test]
fn an_engine_killed_again_and_again_while_containers_start() {
    let (mut server, image) = start();
    run(&mut server.docker(&["run", "-d", "--name", "target", &image, "sleep", "1000"]));
    let pid = first_pid(&server, "target");
    let stop = AtomicBool::new(false);
    let docker = |words: &[&str]| {
        let mut command = server.docker(words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    // Built before the threads take them, since the server is being killed by us.
    let clients: Vec<Vec<Command>> = [
        &["run", "-d", &image, "sleep", "1000"][..],
        &["run", "--rm", "-p", "127.0.0.1:0:80", &image, "true"],
        &["create", &image, "true"],
        &["exec", "target", "true"],
    ]
    .map(|words| (0..400).map(|_| docker(words)).collect())
    .into();
    std::thread::scope(|scope| {
        for commands in clients {
            let stop = &stop;
            scope.spawn(move || {
                for mut command in commands {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // May fail: it is the engine that dies.
                    let _ = command.stdin(Stdio::null()).status();
                }
            });
        }
        for _ in 0..8 {
            let before = server.contained().len();
            wait_for("a container to come or go", || {
                (server.contained().len() != before).then_some(())
            });
            server.kill_child("engine");
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Whom nobody asked to end is still there, and all that is there is listed.
    assert_eq!(first_pid(&server, "target"), pid);
    run(&mut server.docker(&["exec", "target", "true"]));
    expect_all_gone(&server);
    let done = output(&mut server.docker(&["run", "--rm", &image, "echo", "well"]));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "well\n");
}

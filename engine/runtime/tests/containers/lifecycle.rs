//! Starting, ending, output, input, signals, restarts of the daemon.

use std::path::Path;

use bytes::Bytes;
use runtime::launcher::LaunchError;
use runtime::monitor::{ExitStatus, Monitor, MonitorEvent, MonitorReader};
use runtime::spec::{LogSpec, Namespace};

use crate::harness::{Host, collect, drain, expect_output, with_causes};

async fn check_exit(script: &str, code: i32, signal: Option<i32>) {
    let host = Host::start().await;
    let spec = host.shell(script);
    let output = host.run(&spec).await;
    assert_eq!(
        (output.status.code, output.status.signal),
        (code, signal),
        "{output:?}"
    );
    let stored = ExitStatus::read(&spec.state_dir).unwrap();
    assert_eq!(stored, Some(output.status));
}

#[tokio::test]
async fn exit_codes_are_the_programs() {
    check_exit("exit 0", 0, None).await;
    check_exit("exit 42", 42, None).await;
    // The kernel keeps PID 1 from killing itself.
    check_exit("kill -9 $$; exit 3", 3, None).await;
}

#[tokio::test]
async fn output_of_both_streams_arrives() {
    let host = Host::start().await;
    let output = host.run(&host.shell("echo out; echo err >&2")).await;
    assert_eq!((&output.stdout[..], &output.stderr[..]), ("out\n", "err\n"));
    let big = host.run(&host.shell("seq 1 200000")).await;
    assert_eq!(big.stdout.lines().count(), 200_000);
    assert!(big.stdout.ends_with("200000\n"));
}

async fn check_start_failure(args: &[&str], text: &str, code: i32) {
    let host = Host::start().await;
    std::fs::write(host.image().join("etc/plain"), "x").unwrap();
    let spec = host.spec(args);
    let error = host.launch(&spec).await.unwrap_err();
    assert!(error.to_string().ends_with(text), "{error}");
    assert_eq!(error.exit_code(), code);
}

/// The texts from which Docker's clients derive 126 and 127.
#[tokio::test]
async fn programs_that_cannot_run_are_told_as_runc_does() {
    check_start_failure(
        &["nosuch"],
        "exec: \"nosuch\": executable file not found in $PATH",
        127,
    )
    .await;
    check_start_failure(
        &["/no/such"],
        "exec: \"/no/such\": stat /no/such: no such file or directory",
        127,
    )
    .await;
    check_start_failure(
        &["/etc/plain"],
        "exec: \"/etc/plain\": permission denied",
        126,
    )
    .await;
    check_start_failure(&["/etc"], "exec: \"/etc\": is a directory", 126).await;
}

#[tokio::test]
async fn signals_reach_the_first_process() {
    let host = Host::start().await;
    let script = "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let (mut reader, writer) = host.launch(&host.shell(script)).await.unwrap().split();
    expect_output(&mut reader, "ready").await;
    writer.signal(15).await.unwrap();
    let output = drain(&mut reader).await;
    assert_eq!((&output.stdout[..], output.status.code), ("got\n", 5));

    let (mut reader, writer) = host
        .launch(&host.shell("echo ready; sleep 100"))
        .await
        .unwrap()
        .split();
    expect_output(&mut reader, "ready").await;
    writer.signal(9).await.unwrap();
    let status = drain(&mut reader).await.status;
    assert_eq!(
        (status.code, status.signal, status.oom_killed),
        (137, Some(9), false)
    );
}

#[tokio::test]
async fn input_flows_and_half_closes() {
    let host = Host::start().await;
    let mut spec = host.shell("cat; echo end");
    spec.process.open_stdin = true;
    let (mut reader, writer) = host.launch(&spec).await.unwrap().split();
    let text: String = (0..40_000).map(|n| format!("{n}\n")).collect();
    let sent = Bytes::from(text.clone());
    let feed = tokio::spawn(async move {
        writer.stdin(sent).await.unwrap();
        writer.close_stdin().await.unwrap();
    });
    let output = drain(&mut reader).await;
    feed.await.unwrap();
    assert_eq!(output.stdout, text + "end\n");
}

/// Input that nobody reads must not hold up a signal behind it.
#[tokio::test]
async fn signals_pass_unread_input() {
    let host = Host::start().await;
    let mut spec = host.shell("echo ready; sleep 100");
    spec.process.open_stdin = true;
    let (mut reader, writer) = host.launch(&spec).await.unwrap().split();
    expect_output(&mut reader, "ready").await;
    let flood = writer.clone();
    let flood = tokio::spawn(async move { flood.stdin(vec![b'x'; 1 << 20].into()).await });
    writer.signal(9).await.unwrap();
    assert_eq!(drain(&mut reader).await.status.code, 137);
    // Delivered to nobody or refused, but not stuck.
    let _ = flood.await.unwrap();
}

#[tokio::test]
async fn without_input_it_is_empty() {
    let host = Host::start().await;
    assert_eq!(
        host.sh("cat; readlink /proc/self/fd/0").await,
        "/dev/null\n"
    );
}

#[tokio::test]
async fn a_terminal_is_the_containers_own() {
    let host = Host::start().await;
    let script = "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo yes; \
                  echo hello >/dev/console; read line; echo \"<$line>\"";
    let mut spec = host.shell(script);
    spec.process.tty = true;
    spec.process.tty_size = Some((101, 37));
    spec.process.open_stdin = true;
    let (mut reader, writer) = host.launch(&spec).await.unwrap().split();
    let head = expect_output(&mut reader, "hello").await;
    assert_eq!(head.trim_end(), "/dev/pts/0\r\n37 101\r\nyes\r\nhello");
    writer.stdin(Bytes::from_static(b"typed\n")).await.unwrap();
    let output = drain(&mut reader).await;
    assert!(output.stdout.contains("<typed>"), "{output:?}");
}

#[tokio::test]
async fn a_terminal_is_resized() {
    let host = Host::start().await;
    let script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut spec = host.shell(script);
    spec.process.tty = true;
    let (mut reader, writer) = host.launch(&spec).await.unwrap().split();
    expect_output(&mut reader, "ready").await;
    writer.resize(120, 50).await.unwrap();
    assert_eq!(drain(&mut reader).await.stdout.trim_start(), "50 120\r\n");
}

#[tokio::test]
async fn the_log_is_dockers() {
    let host = Host::start().await;
    let mut spec = host.shell("echo one; echo two >&2; printf three");
    let path = spec.state_dir.join("container.log");
    spec.log = LogSpec::JsonFile {
        path: path.clone(),
        max_bytes: 1 << 20,
        max_files: 2,
    };
    host.run(&spec).await;
    let log = std::fs::read_to_string(&path).unwrap();
    let record = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{} {}", value["stream"].as_str().unwrap(), value["log"])
    };
    let mut records: Vec<String> = log.lines().map(record).collect();
    records.sort();
    assert_eq!(
        records,
        ["stderr \"two\\n\"", "stdout \"one\\n\"", "stdout \"three\""]
    );
}

/// Orphans of a container die with it, and none becomes a zombie meanwhile.
#[tokio::test]
async fn double_forks_end_with_the_container() {
    for pid in [Namespace::Private, Namespace::Host] {
        let host = Host::start().await;
        let mut spec = host.shell("(sleep 1000 & exit) ; (sleep 0 &); sleep 0.1; ps | wc -l");
        spec.namespaces.pid = pid;
        let output = host.run(&spec).await;
        assert_eq!(output.status.code, 0, "{output:?}");
        assert!(runtime::cgroup::processes(&spec.cgroup.path).is_empty());
    }
}

#[tokio::test]
async fn a_container_that_is_never_started_is_undone() {
    let host = Host::start().await;
    let spec = host.shell("echo never");
    let monitor = host.launcher.create(&spec, None).await.unwrap();
    assert_eq!(
        runtime::cgroup::processes(&spec.cgroup.path),
        [monitor.pid()]
    );
    let (mut reader, writer) = monitor.split();
    drop(writer);
    let status = drain(&mut reader).await.status;
    assert_eq!(status.code, 137);
}

/// The daemon dies: its connections and its launcher go, containers stay.
#[tokio::test]
async fn containers_outlive_the_daemon() {
    let host = Host::start().await;
    let mut spec = host.shell("echo ready; read line; echo \"got $line\"; exit 7");
    spec.process.open_stdin = true;
    let path = spec.state_dir.join("container.log");
    spec.log = LogSpec::JsonFile {
        path: path.clone(),
        max_bytes: 1 << 20,
        max_files: 2,
    };
    let (mut reader, writer) = host.launch(&spec).await.unwrap().split();
    expect_output(&mut reader, "ready").await;
    drop((reader, writer));
    kill_launcher(&host).await;

    let monitor = Monitor::connect(&spec.state_dir).await.unwrap();
    assert!(Path::new(&format!("/proc/{}", monitor.pid())).exists());
    let (mut reader, writer) = monitor.split();
    writer.stdin(Bytes::from_static(b"x\n")).await.unwrap();
    let output = drain(&mut reader).await;
    assert_eq!((&output.stdout[..], output.status.code), ("got x\n", 7));
    let error = Monitor::connect(&spec.state_dir).await.unwrap_err();
    assert!(matches!(error, LaunchError::Gone), "{error}");
    assert_eq!(ExitStatus::read(&spec.state_dir).unwrap().unwrap().code, 7);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);

    // And the handle starts another launcher.
    assert_eq!(host.sh("echo again").await, "again\n");
}

async fn kill_launcher(host: &Host) {
    let launcher = open_process(host.launcher.pid().await.unwrap());
    kill(&launcher);
    wait(&launcher);
}

/// A reader that stalls holds the container back; one that leaves does not.
#[tokio::test]
async fn output_waits_for_a_stalled_reader_only() {
    let host = Host::start().await;
    let spec = host.shell("seq 1 300000; echo done >/tmp/done");
    let monitor = host.launch(&spec).await.unwrap();
    let second = Monitor::connect(&spec.state_dir).await.unwrap();
    second.writer().mute().await.unwrap();
    // The first connection is not read: the container cannot finish.
    let done = spec.rootfs.upper.join("tmp/done");
    let (mut second, _keep) = second.split();
    let deadline = std::time::Duration::from_millis(200);
    let ended = tokio::time::timeout(deadline, exit_of(&mut second)).await;
    assert!(ended.is_err() && !done.exists());
    drop(monitor);
    assert_eq!(exit_of(&mut second).await.code, 0);
    assert!(done.exists());
    while second.next().await.is_some() {}
}

/// Skips what was on its way before the connection was muted.
async fn exit_of(reader: &mut MonitorReader) -> ExitStatus {
    loop {
        match reader.next().await {
            Some(MonitorEvent::Exited(status)) => return status,
            Some(_) => {}
            None => panic!("the monitor died"),
        }
    }
}

/// A restart in the same directory and cgroup, the moment the end is known.
#[tokio::test]
async fn a_successor_is_not_disturbed() {
    let host = Host::start().await;
    let mut spec = host.shell("echo ready; read x; exit 3");
    spec.process.open_stdin = true;
    for _ in 0..30 {
        let monitor = host.launch(&spec).await.unwrap();
        let again = Monitor::connect(&spec.state_dir).await.unwrap();
        let (mut reader, writer) = again.split();
        writer.close_stdin().await.unwrap();
        assert_eq!(exit_of(&mut reader).await.code, 3);
        drop(monitor);
    }
}

#[tokio::test]
async fn several_containers_run_at_once() {
    let host = std::sync::Arc::new(Host::start().await);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let host = std::sync::Arc::clone(&host);
            tokio::spawn(async move {
                let spec = host.shell(&format!("echo {n}; exit {n}"));
                let output = collect(host.launch(&spec).await.unwrap()).await;
                assert_eq!(output.stdout, format!("{n}\n"));
                assert_eq!(output.status.code, n);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn bad_requests_are_refused_by_what_is_wrong() {
    let host = Host::start().await;
    let mut spec = host.shell("true");
    spec.rootfs.lower = vec!["/no/such/layer".into()];
    let text = host.refusal(&spec).await;
    assert!(text.contains("/no/such/layer: No such file"), "{text}");
    let left: Vec<_> = std::fs::read_dir(&spec.state_dir)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let mut spec = host.shell("true");
    spec.state_dir = "/no/such/state".into();
    let text = host.refusal(&spec).await;
    assert!(text.contains("/no/such/state"), "{text}");
    let error = Monitor::connect(Path::new("/no/such/state"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, LaunchError::Gone),
        "{}",
        with_causes(&error)
    );
}

/// Nothing of a container survives its monitor unwatched.
#[tokio::test]
async fn a_killed_monitor_takes_its_container_along() {
    let host = Host::start().await;
    let spec = host.shell("echo ready; sleep 1000");
    let monitor = host.launch(&spec).await.unwrap();
    let pid = monitor.pid();
    let (mut reader, _writer) = monitor.split();
    expect_output(&mut reader, "ready").await;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status
        .lines()
        .find_map(|l| l.strip_prefix("PPid:\t"))
        .unwrap();
    let container = open_process(pid);
    kill(&open_process(parent.parse().unwrap()));
    assert_eq!(reader.next().await, None);
    wait(&container);
    assert!(matches!(
        Monitor::connect(&spec.state_dir).await,
        Err(LaunchError::Gone)
    ));
    assert_eq!(ExitStatus::read(&spec.state_dir).unwrap(), None);
    // The daemon, which now knows, cleans up.
    runtime::cgroup::kill_all(&spec.cgroup.path).unwrap();
    runtime::cgroup::remove(&spec.cgroup.path).unwrap();
}

fn open_process(pid: u32) -> rustix::fd::OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
}

fn kill(pidfd: &rustix::fd::OwnedFd) {
    rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL).unwrap();
}

fn wait(pidfd: &rustix::fd::OwnedFd) {
    let mut fds = [rustix::event::PollFd::new(
        pidfd,
        rustix::event::PollFlags::IN,
    )];
    let deadline = rustix::event::Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let ended = rustix::event::poll(&mut fds, Some(&deadline)).unwrap();
    assert_eq!(ended, 1, "the process lives on");
}

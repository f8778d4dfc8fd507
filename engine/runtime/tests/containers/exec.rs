//! Further processes in a running container.

use bytes::Bytes;
use runtime::launcher::LaunchError;
use runtime::monitor::{ExitStatus, Monitor, MonitorReader, MonitorWriter, exec_state_dir};
use runtime::spec::{Capabilities, ContainerSpec, ProcessSpec};

use crate::harness::{Host, Output, collect, compile, drain, expect_output, is_unified};

struct Running {
    host: Host,
    spec: ContainerSpec,
    reader: MonitorReader,
    writer: MonitorWriter,
}

impl Running {
    async fn start() -> Running {
        let host = Host::start().await;
        let spec = host.shell("echo ready; sleep 1000");
        let (mut reader, writer) = host.launch(&spec).await.unwrap().split();
        expect_output(&mut reader, "ready").await;
        Running {
            host,
            spec,
            reader,
            writer,
        }
    }

    async fn exec(&self, id: &str, process: &ProcessSpec) -> Result<Monitor, LaunchError> {
        let monitor = self
            .host
            .launcher
            .exec(&self.spec.state_dir, id, process)
            .await?;
        monitor.start().await?;
        Ok(monitor)
    }

    async fn sh(&self, id: &str, script: &str) -> Output {
        collect(self.exec(id, &shell(script)).await.unwrap()).await
    }

    async fn stop(mut self) {
        self.writer.signal(9).await.unwrap();
        assert_eq!(drain(&mut self.reader).await.status.code, 137);
    }
}

fn shell(script: &str) -> ProcessSpec {
    ProcessSpec::new(["sh", "-c", script].map(str::to_owned).to_vec())
}

#[tokio::test]
async fn it_joins_the_container() {
    let running = Running::start().await;
    let output = running
        .sh(
            "e1",
            "echo out; echo err >&2; ps; cat /proc/self/cgroup; exit 9",
        )
        .await;
    assert_eq!(output.status.code, 9);
    assert_eq!(output.stderr, "err\n");
    assert!(output.stdout.contains("sleep 1000"), "{}", output.stdout);
    let group = if is_unified() { "0::/\n" } else { "memory:/\n" };
    assert!(output.stdout.contains(group), "{}", output.stdout);
    // Its directory goes once its end has been told.
    assert!(!exec_state_dir(&running.spec.state_dir, "e1").exists());
    running.stop().await;
}

#[tokio::test]
async fn it_has_input_and_terminals() {
    let running = Running::start().await;
    let mut process = shell("cat");
    process.open_stdin = true;
    let (mut reader, writer) = running.exec("pipe", &process).await.unwrap().split();
    writer.stdin(Bytes::from_static(b"hello")).await.unwrap();
    writer.close_stdin().await.unwrap();
    assert_eq!(drain(&mut reader).await.stdout, "hello");

    let mut process = shell("tty; stty size; read x; echo \"<$x>\"");
    process.tty = true;
    process.tty_size = Some((80, 24));
    let (mut reader, writer) = running.exec("tty", &process).await.unwrap().split();
    expect_output(&mut reader, "/dev/pts/0\r\n24 80\r\n").await;
    writer.stdin(Bytes::from_static(b"abc\n")).await.unwrap();
    assert!(drain(&mut reader).await.stdout.contains("<abc>"));
    running.stop().await;
}

#[tokio::test]
async fn it_runs_as_another_user_and_elsewhere() {
    let running = Running::start().await;
    let mut process = shell("id -u; id -g; id -G; pwd");
    process.user = "app".into();
    process.cwd = "/tmp".into();
    let output = collect(running.exec("e", &process).await.unwrap()).await;
    assert_eq!(output.stdout, "1000\n1001\n1001 2000\n/tmp\n");
    // B10: a number is a uid, whatever the passwd file says.
    process.user = "1".into();
    let output = collect(running.exec("e", &process).await.unwrap()).await;
    assert_eq!(output.stdout, "1\n0\n0\n/tmp\n");
    running.stop().await;
}

#[tokio::test]
async fn failures_are_told_as_runc_does() {
    let running = Running::start().await;
    let process = ProcessSpec::new(vec!["nosuch".into()]);
    let error = running.exec("e", &process).await.unwrap_err();
    assert_eq!(error.exit_code(), 127, "{error}");
    assert!(
        error
            .to_string()
            .ends_with("executable file not found in $PATH"),
        "{error}"
    );
    let mut process = shell("true");
    process.cwd = "/nowhere".into();
    let error = running.exec("e", &process).await.unwrap_err();
    assert!(
        error.to_string().contains("no such file or directory"),
        "{error}"
    );
    assert!(
        running
            .host
            .launcher
            .exec(&running.spec.state_dir, "../x", &process)
            .await
            .is_err()
    );
    running.stop().await;
}

/// B1 for exec: no directory of the host through an open descriptor.
#[tokio::test]
async fn its_directory_is_inside() {
    let running = Running::start().await;
    for fd in 3..=20 {
        let mut process = shell("pwd");
        process.cwd = format!("/proc/self/fd/{fd}");
        let refused = running.exec("e", &process).await.unwrap_err();
        assert!(refused.to_string().contains("chdir to cwd"), "{refused}");
    }
    running.stop().await;
}

/// CVE-2016-9962: the container may trace, and looks at whatever comes in.
#[tokio::test]
async fn it_brings_nothing_that_the_container_could_take() {
    let host = Host::start().await;
    compile("watch.c", &host.image().join("bin/watch"), &["-static"]);
    let mut spec = host.spec(&["watch"]);
    let trace = Capabilities::parse(&["SYS_PTRACE"]).unwrap();
    spec.process.capabilities = Capabilities::docker_default().union(trace);
    let (mut reader, writer) = host.launch(&spec).await.unwrap().split();
    expect_output(&mut reader, "ready").await;
    let mut running = Running {
        host,
        spec,
        reader,
        writer,
    };
    for n in 0..50 {
        let output = running.sh(&format!("e{n}"), "exit 3").await;
        assert_eq!(output.status.code, 3, "{output:?}");
    }
    running.sh("last", "mkdir /tmp/stop").await;
    let seen = drain(&mut running.reader).await.stdout;
    let count = seen
        .strip_prefix("seen ")
        .and_then(|rest| rest.strip_suffix(", more capabilities 0\n"))
        .unwrap_or_else(|| panic!("{seen}"));
    assert_ne!(count, "0");
}

#[tokio::test]
async fn after_the_containers_end_there_is_none() {
    let running = Running::start().await;
    let state_dir = running.spec.state_dir.clone();
    let process = shell("echo up; sleep 1000");
    let (mut exec, _writer) = running.exec("long", &process).await.unwrap().split();
    expect_output(&mut exec, "up").await;
    let Running {
        host,
        mut reader,
        writer,
        ..
    } = running;
    writer.signal(9).await.unwrap();
    assert_eq!(drain(&mut exec).await.status.code, 137);
    assert_eq!(drain(&mut reader).await.status.code, 137);
    let error = host
        .launcher
        .exec(&state_dir, "late", &shell("true"))
        .await
        .unwrap_err();
    assert!(matches!(error, LaunchError::NotRunning), "{error}");
    assert!(!exec_state_dir(&state_dir, "late").exists());
}

/// Nobody hears of the end: the status stays for the next daemon.
#[tokio::test]
async fn an_unheard_end_is_kept() {
    let running = Running::start().await;
    let dir = exec_state_dir(&running.spec.state_dir, "e");
    let (mut reader, writer) = running
        .exec("e", &shell("echo up; sleep 1000"))
        .await
        .unwrap()
        .split();
    expect_output(&mut reader, "up").await;
    let again = Monitor::connect(&dir).await.unwrap();
    let pid = rustix::process::Pid::from_raw(again.pid().try_into().unwrap()).unwrap();
    drop((reader, writer, again));
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // Connecting would be hearing of it.
    while dir.join("monitor.sock").exists() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ExitStatus::read(&dir).unwrap().unwrap().code, 137);
    running.stop().await;
}

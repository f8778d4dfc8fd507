//! A launcher and a root file system per test, and a check that nothing is
//! left when the test ends.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use runtime::launcher::{LaunchError, Launcher};
use runtime::monitor::{ExitStatus, Monitor, MonitorEvent, MonitorReader};
use runtime::spec::{ContainerSpec, ProcessSpec, Rootfs};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Of the groups that hold all containers of one host.
const PREFIX: &str = "carrack-test-";

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Host {
    pub(crate) launcher: Launcher,
    pub(crate) dir: tempfile::TempDir,
    name: String,
    ids: AtomicU32,
}

/// What a container or exec printed and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: ExitStatus,
}

impl Host {
    pub(crate) async fn start() -> Host {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let dir = tempfile::tempdir().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let launcher = Launcher::start(Path::new(env!("CARGO_BIN_EXE_runtime-test-launcher")));
        let host = Host {
            launcher: launcher.await.unwrap(),
            name: format!("{PREFIX}{}-{number}", std::process::id()),
            dir,
            ids: AtomicU32::new(0),
        };
        host.make_image();
        host
    }

    /// The lowest layer: busybox and a few files.
    fn make_image(&self) {
        let root = self.image();
        for dir in ["bin", "etc", "tmp", "root"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in APPLETS.split(' ') {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        std::fs::write(root.join("etc/passwd"), PASSWD).unwrap();
        std::fs::write(root.join("etc/group"), GROUP).unwrap();
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// A container of `sh -c script`.
    pub(crate) fn shell(&self, script: &str) -> ContainerSpec {
        self.spec(&["sh", "-c", script])
    }

    pub(crate) fn spec(&self, args: &[&str]) -> ContainerSpec {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        let base = self.dir.path().join(format!("c{number}"));
        for dir in ["state", "upper", "work"] {
            std::fs::create_dir_all(base.join(dir)).unwrap();
        }
        let rootfs = Rootfs {
            lower: vec![self.image()],
            upper: base.join("upper"),
            work: base.join("work"),
            volatile: false,
        };
        let process = ProcessSpec::new(args.iter().map(|a| a.to_string()).collect());
        let id = format!("c{number}");
        let mut spec = ContainerSpec::new(&id, base.join("state"), rootfs, process);
        spec.cgroup.path = format!("{}/{id}", self.name);
        spec
    }

    /// Creates and starts a container.
    pub(crate) async fn launch(&self, spec: &ContainerSpec) -> Result<Monitor, LaunchError> {
        let monitor = self.launcher.create(spec, None).await?;
        monitor.start().await?;
        Ok(monitor)
    }

    /// Runs a container to its end.
    pub(crate) async fn run(&self, spec: &ContainerSpec) -> Output {
        collect(self.launch(spec).await.unwrap()).await
    }

    /// Runs a script to its end in a default container and returns what it
    /// printed, with standard error behind it.
    pub(crate) async fn sh(&self, script: &str) -> String {
        let output = self.run(&self.shell(script)).await;
        output.stdout + &output.stderr
    }

    /// The text of a refused creation or start.
    pub(crate) async fn refusal(&self, spec: &ContainerSpec) -> String {
        match self.launch(spec).await {
            Ok(_) => panic!("was not refused"),
            Err(e) => with_causes(&e),
        }
    }
}

/// Compiles a program of this directory.
pub(crate) fn compile(source: &str, to: &Path, flags: &[&str]) {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/containers/");
    let built = std::process::Command::new("cc")
        .args(flags)
        .arg("-O1")
        .arg("-o")
        .arg(to)
        .arg(format!("{sources}{source}"))
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
}

pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_causes(source)),
        None => error.to_string(),
    }
}

pub(crate) async fn collect(monitor: Monitor) -> Output {
    let (mut reader, writer) = monitor.split();
    let output = drain(&mut reader).await;
    drop(writer);
    output
}

pub(crate) async fn drain(reader: &mut MonitorReader) -> Output {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match reader.next().await {
            Some(MonitorEvent::Stdout(data)) => stdout.extend_from_slice(&data),
            Some(MonitorEvent::Stderr(data)) => stderr.extend_from_slice(&data),
            Some(MonitorEvent::Exited(status)) => {
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                let output = Output {
                    stdout: text(stdout),
                    stderr: text(stderr),
                    status,
                };
                // The monitor closes when it has cleaned up.
                while reader.next().await.is_some() {}
                return output;
            }
            None => panic!(
                "the monitor died; stdout so far: {:?}",
                String::from_utf8_lossy(&stdout)
            ),
        }
    }
}

/// Reads until standard output contains `text`.
pub(crate) async fn expect_output(reader: &mut MonitorReader, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        match reader.next().await {
            Some(MonitorEvent::Stdout(data)) => seen += &String::from_utf8_lossy(&data),
            other => panic!("expected {text:?} after {seen:?}, got {other:?}"),
        }
    }
    seen
}

impl Drop for Host {
    fn drop(&mut self) {
        // First clean up whatever the test did, then complain.
        let leftovers = groups(&self.name);
        for group in &leftovers {
            end_group(group);
        }
        let parents: Vec<PathBuf> = hierarchies()
            .into_iter()
            .map(|root| root.join(&self.name))
            .filter(|parent| parent.is_dir())
            .collect();
        for parent in &parents {
            let _ = std::fs::remove_dir(parent);
        }
        if std::thread::panicking() {
            return;
        }
        let parents: Vec<_> = parents.iter().filter(|parent| parent.is_dir()).collect();
        assert!(parents.is_empty(), "parent cgroups are left: {parents:?}");
        assert!(leftovers.is_empty(), "cgroups are left: {leftovers:?}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = self.dir.path().to_str().unwrap();
        assert!(!mounts.contains(dir), "mounts are left below {dir}");
        let processes = processes_using(dir);
        assert!(processes.is_empty(), "processes are left: {processes:?}");
    }
}

/// Whether this thread sees cgroup v2 alone.
pub(crate) fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Places where a hierarchy can be mounted, in this thread's view.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let below = std::fs::read_dir(&root).into_iter().flatten().flatten();
    below
        .map(|entry| entry.path())
        .chain([root.clone()])
        .collect()
}

/// Directories of container groups that exist in any hierarchy.
fn groups(parent: &str) -> BTreeSet<PathBuf> {
    let parents = hierarchies().into_iter().map(|root| root.join(parent));
    let groups = parents.flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten());
    groups
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Removes what test runs left that were killed themselves: their monitors end
/// with their containers, but nobody removes the group above.
fn sweep() {
    let entries = hierarchies().into_iter().flat_map(std::fs::read_dir);
    for entry in entries.flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

fn end_group(dir: &Path) {
    let listed = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let pids = listed
        .lines()
        .filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?));
    for pid in pids {
        if let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
            let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None);
        }
    }
    let _ = std::fs::remove_dir(dir);
}

/// Processes with an open file below `dir`: monitors that did not end.
fn processes_using(dir: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|e| e.path());
    all.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy() != own))
        .filter(|process| {
            let fds = std::fs::read_dir(process.join("fd"))
                .into_iter()
                .flatten()
                .flatten();
            fds.filter_map(|fd| std::fs::read_link(fd.path()).ok())
                .any(|target| target.starts_with(dir))
        })
        .filter(|process| !ends_soon(process))
        .map(|process| std::fs::read_to_string(process.join("comm")).unwrap_or_default())
        .collect()
}

/// A monitor that has said everything is still ending when its socket closes.
fn ends_soon(process: &Path) -> bool {
    let pid = process.file_name().unwrap().to_str().unwrap().parse().ok();
    let pidfd = pid
        .and_then(rustix::process::Pid::from_raw)
        .and_then(|pid| {
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
        });
    pidfd.is_none_or(|pidfd| {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let deadline = Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&deadline)) == Ok(1)
    })
}

const APPLETS: &str = "sh cat echo true false ls sleep id mount umount mkdir touch head tail \
    kill ps grep env hostname stat dd wc tty stty chroot readlink mknod ln rm printf tr sort \
    unshare seq pwd dirname basename test nproc uname ip sysctl cut df";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\napp:x:1001:\nshared:x:2000:app\n";

//! One engine in a process of its own, driven by the stock docker client, and
//! the proof that it leaves nothing behind.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Far above what is seen, so that a loaded machine does not fail a test.
const PATIENCE: Duration = Duration::from_secs(60);

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Daemon {
    dir: tempfile::TempDir,
    bridge: String,
    subnet: String,
    process: Option<Child>,
    pub(crate) image: String,
}

impl Daemon {
    /// An engine that has the busybox image.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// The same on a file system of its own with so many MiB.
    pub(crate) fn start_on_small_disk(size_mib: u64) -> Self {
        Self::start_with(|dir| {
            let (disk, data) = (dir.join("disk"), dir.join("data"));
            let file = std::fs::File::create(&disk).unwrap();
            file.set_len(size_mib * 1024 * 1024).unwrap();
            std::fs::create_dir(&data).unwrap();
            run(Command::new("mkfs.ext4").arg("-q").arg(&disk));
            run(Command::new("mount")
                .args(["-o", "loop"])
                .args([&disk, &data]));
        })
    }

    fn start_with(prepare: impl FnOnce(&Path)) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let mut daemon = Self {
            dir: tempfile::tempdir().unwrap(),
            bridge: format!("et{:x}n{number}", pid & 0xf_ffff),
            subnet: format!("10.{}.{}.0/24", 160 + pid % 16, (pid / 16 + number) % 256),
            process: None,
            image: crate::registry::serve(),
        };
        prepare(daemon.dir.path());
        daemon.run();
        let image = daemon.image.clone();
        daemon.ok(&["pull", "-q", &image]);
        daemon
    }

    fn run(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_engine-test-daemon"))
            .arg(self.dir.path())
            .args([&self.bridge, &self.subnet])
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        wait_for("the engine's answer", || {
            self.try_request("GET", "/_ping", "")
                .filter(|(status, _)| *status == 200)
        });
    }

    /// SIGKILL: no chance to put anything in order.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        std::fs::remove_file(self.socket()).unwrap();
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let pid = rustix::process::Pid::from_child(&process);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn start_again(&mut self) {
        self.run();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("engine.sock")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Memory of the engine's process in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let pid = self.process.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Descriptors that the engine's process has open.
    pub(crate) fn descriptors(&self) -> usize {
        let pid = self.process.as_ref().unwrap().id();
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count()
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", self.dir.path());
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        let mut command = self.docker(arguments);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that must succeed; its standard output, trimmed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        assert!(
            output.status.success(),
            "docker {arguments:?}: {}\n{}",
            text(&output.stderr),
            std::fs::read_to_string(self.path("log")).unwrap_or_default()
        );
        text(&output.stdout)
    }

    /// Runs a command that must fail; its exit code and standard error.
    pub(crate) fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.output(arguments);
        let code = output.status.code().unwrap();
        assert_ne!(code, 0, "docker {arguments:?} succeeded");
        (code, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// One request without the client: status and body.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.try_request(method, path, body).unwrap()
    }

    fn try_request(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
        // A body that was refused unread resets the connection after the answer.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Containers outlive their engine: one that a test ended is needed again.
        if self.process.is_none() {
            self.run();
        }
        let all = self.output(&["ps", "-aq"]);
        for id in String::from_utf8_lossy(&all.stdout).lines() {
            self.output(&["rm", "-f", "-v", id]);
        }
        self.stop();
        if !std::thread::panicking() {
            self.check_directories_are_empty();
        }
        if self.path("disk").exists() {
            run(Command::new("umount").arg(self.path("data")));
        }
        if !std::thread::panicking() {
            self.check_nothing_is_left();
        }
    }
}

/// Runs a command that must succeed.
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

impl Daemon {
    fn check_directories_are_empty(&self) {
        let snapshots = self.path("data/layers/snapshots");
        assert_eq!(
            std::fs::read_dir(snapshots).unwrap().count(),
            0,
            "snapshots are left"
        );
        let containers = self.path("data/engine/containers");
        assert_eq!(
            std::fs::read_dir(containers).unwrap().count(),
            0,
            "directories are left"
        );
    }

    fn check_nothing_is_left(&self) {
        let dir = self.dir.path().display().to_string();
        let group = format!("engine-test-{}", self.bridge);
        wait_for("everything to be gone", || {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let groups = std::fs::read_dir("/sys/fs/cgroup")
                .unwrap()
                .flatten()
                .map(|hierarchy| hierarchy.path().join(&group))
                .filter(|path| path.exists())
                .count();
            let link = PathBuf::from("/sys/class/net").join(&self.bridge);
            (!mounts.contains(&dir) && groups == 0 && !link.exists() && !has_process(&dir))
                .then_some(())
        });
    }
}

/// Whether a process has `text` in its command line.
fn has_process(text: &str) -> bool {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(text))
}

/// Polls until `probe` yields something.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

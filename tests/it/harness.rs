//! Instances of the real server, and proof that they leave nothing behind.

mod client;
mod image;
mod leaks;
mod tests;

use std::{
    fs::{self, File},
    io::Read,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

pub use client::{Api, StatusText};
pub use image::{Layer, busybox, busybox_layer, push_busybox, push_image};

/// Longest time that any condition may take. Far above what is seen, so that a
/// loaded machine does not fail a test.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const PASSWORD: &str = "correct horse battery";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Test runs at once on one host, at most.
const RUNS_MAX: u8 = 64;

/// Second byte of this run's addresses, 10.x.0.0/16: claimed by an abstract
/// socket, which goes with the process, so that no other run takes the same.
static RUN_NETWORK: LazyLock<(u8, UnixDatagram)> = LazyLock::new(|| {
    let claim = |byte: u8| {
        let name = format!("carrack-it-network-{byte}");
        let address = SocketAddr::from_abstract_name(name).unwrap();
        Some((byte, UnixDatagram::bind_addr(&address).ok()?))
    };
    let bytes = 255 - RUNS_MAX..255;
    bytes
        .into_iter()
        .find_map(claim)
        .expect("too many test runs")
});

/// The binary under test.
pub fn carrack() -> &'static str {
    env!("CARGO_BIN_EXE_carrack")
}

/// Polls until `probe` yields something.
///
/// # Panics
/// After [`PATIENCE`], with `what`.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command to its end and returns its output, whatever its exit code.
pub fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Runs a command that must succeed; returns its standard output, trimmed.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?} ended with {}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

/// Runs a command that must refuse with exit code 1; returns what it said.
///
/// # Panics
/// Also when it goes on instead: a server is then stopped after [`PATIENCE`].
#[track_caller]
pub fn refusal(command: &Command) -> String {
    let seconds = PATIENCE.as_secs().to_string();
    let done = output(&mut run_by(&["timeout", &seconds], command));
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{command:?}: {text}");
    text
}

/// `command` run by another program: its words follow those of `prefix`.
pub fn run_by(prefix: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(prefix[0]);
    outer
        .args(&prefix[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    copy_environment(command, &mut outer);
    outer
}

/// Gives `to` what `from` sets and removes.
pub fn copy_environment(from: &Command, to: &mut Command) {
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
}

/// Where an instance keeps its things and what its parts are called, so that
/// several run side by side. Dropping it proves that nothing of it is left,
/// removes what is, and fails the test that left it.
#[derive(Debug)]
pub struct Site {
    pub dir: PathBuf,
    pub bridge: String,
    pub subnet: String,
    pub cgroup: String,
    /// The data directory is a small file system that this site has mounted.
    disk: bool,
    /// What an instance without settings would use and was there before.
    places_before: Vec<&'static str>,
}

impl Site {
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let dir = std::env::temp_dir().join(format!("carrack-it-{pid}-{number}"));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let site = Self {
            dir,
            bridge: format!("ct{:x}x{number}", pid % 0xf_ffff),
            subnet: format!("10.{}.{}.0/24", RUN_NETWORK.0, number % 256),
            cgroup: format!("carrack-it-{pid}-{number}"),
            disk: false,
            places_before: leaks::default_places(),
        };
        fs::create_dir(site.temporary_dir()).unwrap();
        site
    }

    /// A site whose data directory is an ext4 of `megabytes` on a loop device.
    pub fn on_small_disk(megabytes: u32) -> Self {
        let mut site = Self::new();
        let image = site.dir.join("disk.img");
        run(Command::new("truncate")
            .args(["-s", &format!("{megabytes}M")])
            .arg(&image));
        run(Command::new("mkfs.ext4")
            .args(["-q", "-m", "0", "-O", "^has_journal"])
            .arg(&image));
        fs::create_dir(site.data_dir()).unwrap();
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(site.data_dir()));
        site.disk = true;
        site
    }

    /// Where the processes of this site put what they do not name a place for.
    pub fn temporary_dir(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// How the addresses of this site begin, with the last dot.
    fn subnet_prefix(&self) -> String {
        self.subnet.trim_end_matches("0/24").to_owned()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn engine_socket(&self) -> PathBuf {
        self.dir.join("engine.sock")
    }

    pub fn builder_socket(&self) -> PathBuf {
        self.dir.join("builder.sock")
    }

    /// The settings that make an instance this site's, by name.
    pub fn settings(&self, listen: &str) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        vec![
            ("listen", listen.to_owned()),
            ("data-dir", text(self.data_dir())),
            ("engine-socket", text(self.engine_socket())),
            ("builder-socket", text(self.builder_socket())),
            ("bridge", self.bridge.clone()),
            ("bridge-subnet", self.subnet.clone()),
            ("cgroup-parent", self.cgroup.clone()),
        ]
    }

    /// `carrack serve` for this site, port picked by the system.
    pub fn serve(&self) -> Command {
        self.serve_on("127.0.0.1:0")
    }

    fn serve_on(&self, listen: &str) -> Command {
        let mut command = self.serve_bare();
        for (name, value) in self.settings(listen) {
            command.arg(format!("--{name}={value}"));
        }
        command
    }

    /// `carrack serve` that was not told yet where its place is.
    pub fn serve_bare(&self) -> Command {
        let mut command = Command::new(carrack());
        command
            .arg("serve")
            .env("CARRACK_ADMIN_PASSWORD", PASSWORD)
            .env("CARRACK_LOG", "debug")
            .env("IT_INSTANCE", self.data_dir())
            .env("CARRACK_CONFIG", "/dev/null")
            .env("TMPDIR", self.temporary_dir())
            .stdin(Stdio::null());
        command
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A panic in here while the test panics would end all tests at once.
        let checked = std::panic::catch_unwind(|| {
            let mut leaked = Vec::new();
            if self.disk {
                let done = output(Command::new("umount").arg(self.data_dir()));
                if !done.status.success() {
                    let why = String::from_utf8_lossy(&done.stderr).into_owned();
                    leaked.push(format!("use of the disk: {why}"));
                }
            }
            leaked.extend(leaks::find(self));
            leaks::clean(self);
            leaked
        });
        let leaked = checked.unwrap_or_else(|_| vec!["the check itself failed".to_owned()]);
        let log = read(&self.log_path());
        let _ = fs::remove_dir_all(&self.dir);
        if std::thread::panicking() {
            eprintln!("---- the server's log ----\n{}", tail(&log, 200));
            eprintln!("leaks: {leaked:#?}");
        } else {
            assert!(leaked.is_empty(), "leaks: {leaked:#?}\n{}", tail(&log, 100));
        }
    }
}

/// A running server. Dropping it stops it; its site then checks for leaks.
#[derive(Debug)]
pub struct Carrack {
    pub site: Site,
    process: Child,
    address: String,
    flags: Vec<String>,
}

impl Carrack {
    /// Starts a server with all roles and waits until it is ready.
    pub fn start() -> Self {
        Self::start_with(Site::new(), &[])
    }

    /// Starts a server with the registry alone.
    pub fn registry() -> Self {
        Self::start_with(Site::new(), &["--role", "registry"])
    }

    /// Starts a server on `site` with more flags.
    pub fn start_with(site: Site, flags: &[&str]) -> Self {
        let mut command = site.serve();
        command.args(flags);
        let mut server = Self::start_by(site, command);
        server.flags = flags.iter().map(ToString::to_string).collect();
        server
    }

    /// Starts a server on `site` by a command that ends in `carrack serve`,
    /// and waits until it is ready.
    pub fn start_by(site: Site, mut command: Command) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(site.log_path())
            .unwrap();
        let address_file = site.data_dir().join("run/address");
        let _ = fs::remove_file(&address_file);
        let process = command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        // From here on a failure stops what was started.
        let mut server = Self {
            site,
            process,
            address: String::new(),
            flags: Vec::new(),
        };
        server.address = wait_for("the server's address", || {
            if let Some(status) = server.process.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", server.log());
            }
            fs::read_to_string(&address_file)
                .ok()
                .filter(|text| !text.is_empty())
        });
        server.wait_ready();
        server
    }

    pub fn wait_ready(&mut self) {
        let api = self.api();
        wait_for("readiness", || {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            api.get("/readyz")
                .ok()
                .filter(|answer| answer.status == 200)
        });
    }

    /// `host:port` of the registry.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// An HTTP client for this server, as admin.
    pub fn api(&self) -> Api {
        Api::new(&self.address, Some(("admin", PASSWORD)))
    }

    /// The supervisor's pid.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Everything the tree has logged.
    pub fn log(&self) -> String {
        read(&self.site.log_path())
    }

    /// The stock docker CLI against this server's engine.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.site.engine_socket().display()),
            )
            .env("DOCKER_CONFIG", self.client_config())
            .env_remove("DOCKER_CONTEXT")
            .args(arguments);
        command
    }

    /// Our own CLI against this server's engine.
    pub fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(carrack());
        command
            .env(
                "CARRACK_HOST",
                format!("unix://{}", self.site.engine_socket().display()),
            )
            .env("CARRACK_SERVER", format!("http://{}", self.address))
            .env("DOCKER_CONFIG", self.client_config())
            .args(arguments);
        command
    }

    /// A client configuration directory, logged in as admin.
    pub fn client_config(&self) -> PathBuf {
        let dir = self.site.dir.join("client");
        if !dir.exists() {
            use base64::Engine as _;
            let auth =
                base64::engine::general_purpose::STANDARD.encode(format!("admin:{PASSWORD}"));
            let config = serde_json::json!({ "auths": { &self.address: { "auth": auth } } });
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("config.json"), config.to_string()).unwrap();
        }
        dir
    }

    /// `address/name`.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Removes every container, if the engine still answers.
    pub fn remove_containers(&self) {
        if !self.site.engine_socket().exists() {
            return;
        }
        let listed = output(&mut self.docker(&["ps", "-aq"]));
        let ids = String::from_utf8_lossy(&listed.stdout).into_owned();
        let ids: Vec<_> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            output(self.docker(&["rm", "-f", "-v"]).args(ids));
        }
    }

    /// Waits until nothing of any container or build is left, while the server
    /// goes on: what it has to remove itself must not wait for its end.
    pub fn expect_no_container(&self) {
        let mut left = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            left = leaks::of_containers(&self.site);
            if left.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("left by containers and builds: {left:#?}");
    }

    /// The monitor of a container of which `pid` is the first process.
    pub fn monitor_of(&self, pid: u32) -> u32 {
        leaks::parent(pid).unwrap()
    }

    /// Processes inside containers and builds.
    pub fn contained(&self) -> Vec<u32> {
        leaks::contained(&self.site)
    }

    /// Kills a child with SIGKILL and waits until its successor serves.
    pub fn kill_child(&mut self, what: &str) {
        let before = self.child_pid(what);
        signal(before, "KILL");
        wait_for("its successor", || {
            Some(self.child_pid(what)).filter(|pid| *pid != before)
        });
        self.wait_ready();
    }

    /// Pids of the tree by what they do: `front`, `engine`, `launcher`.
    pub fn child_pid(&self, what: &str) -> u32 {
        wait_for(what, || {
            leaks::descendants(self.pid()).into_iter().find(|pid| {
                let command = leaks::command_line(*pid);
                command.ends_with(&format!("internal {what}"))
                    || command.ends_with(&format!(" {what}"))
            })
        })
    }

    /// SIGTERM, and waits for the end; returns whether it was clean.
    pub fn stop(&mut self) -> bool {
        signal(self.pid(), "TERM");
        self.wait()
    }

    /// Waits for the end; returns whether it was clean.
    pub fn wait(&mut self) -> bool {
        let status = wait_for("the server's end", || self.process.try_wait().unwrap());
        status.success()
    }

    /// SIGKILL to the supervisor; its children notice and end.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let data_dir = self.site.data_dir();
        wait_for("the tree's end", || {
            leaks::tree_of(&data_dir).is_empty().then_some(())
        });
    }

    /// Starts the server again on the same site, after [`Carrack::stop`] or
    /// [`Carrack::kill`], on the same address.
    pub fn restart(&mut self) {
        let log = File::options()
            .append(true)
            .open(self.site.log_path())
            .unwrap();
        self.process = self
            .site
            .serve_on(&self.address)
            .args(&self.flags)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.wait_ready();
    }
}

impl Drop for Carrack {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // Containers outlive the server by design, so they go first.
            self.remove_containers();
            if self.process.try_wait().unwrap().is_none() {
                self.stop();
            }
        }));
        if let Err(panic) = stopped {
            let _ = self.process.kill();
            let _ = self.process.wait();
            if !failing {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    run(Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string()));
}

fn read(path: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(path) {
        file.read_to_end(&mut text).unwrap();
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

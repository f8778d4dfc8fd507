//! Following a build: its events over SSE, live and resumed, and what
//! `carrack build` makes of them; and a builder that runs alone.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    thread,
};

use crate::{
    build::{context, submit},
    harness::{
        Carrack, PASSWORD, Site, carrack, copy_environment, output, push_busybox, run, wait_for,
    },
};

/// A step that says how far it came and ends when it is told to.
pub const WAITING_STEP: &str = "RUN echo reached; until [ -e /tmp/go ]; do sleep 0.05; done\n";

/// The waiting step of a build, once it has said so; creating a file lets it go on.
pub struct WaitingStep(u32);

impl WaitingStep {
    pub fn of(server: &Carrack) -> Self {
        let shells = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(b"/bin/sh\0-c\0echo reached")
        };
        let found = wait_for("the waiting step", || {
            server.contained().into_iter().find(shells)
        });
        Self(found)
    }

    pub fn pid(&self) -> u32 {
        self.0
    }

    pub fn go_on(&self) {
        fs::write(format!("/proc/{}/root/tmp/go", self.0), "").unwrap();
    }
}

/// A client of a build's events. curl's exit code tells whether the stream was
/// ended or broke off.
pub struct Events {
    curl: Child,
    lines: BufReader<ChildStdout>,
}

impl Events {
    pub fn follow(server: &Carrack, id: &str, after: Option<&str>) -> Self {
        let mut command = Command::new("curl");
        command.args(["-sSfN", "-m", "120", "-u", &format!("admin:{PASSWORD}")]);
        if let Some(after) = after {
            command.args(["-H", &format!("Last-Event-ID: {after}")]);
        }
        let url = format!("http://{}/api/v1/builds/{id}/events", server.address());
        let mut curl = command
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(curl.stdout.take().unwrap());
        Self { curl, lines }
    }

    /// Reads to the end of the event that contains `part`.
    pub fn until(&mut self, part: &str) -> String {
        let mut text = String::new();
        while !(text.contains(part) && text.ends_with("\n\n")) {
            let read = self.lines.read_line(&mut text).unwrap();
            assert_ne!(read, 0, "ended before {part:?}: {text}");
        }
        text
    }

    /// Reads what is left; the stream must be ended in order.
    pub fn rest(mut self) -> String {
        let mut text = String::new();
        self.lines.read_to_string(&mut text).unwrap();
        let ended = self.curl.wait().unwrap();
        assert!(ended.success(), "curl ended with {ended}: {text}");
        text
    }

    /// Breaks the connection off.
    pub fn drop_it(mut self) {
        self.curl.kill().unwrap();
        self.curl.wait().unwrap();
    }
}

/// The events of a stream, without comments: id, and type and data.
fn events(text: &str) -> Vec<(u64, String)> {
    let event = |block: &str| {
        let field = |name: &str| {
            let mut lines = block.lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))
        };
        let id = field("id: ")?.parse().unwrap();
        Some((id, format!("{} {}", field("event: ")?, field("data: ")?)))
    };
    text.split("\n\n").filter_map(event).collect()
}

#[test]
fn events_are_seen_live_and_resumed_without_loss_or_repeat() {
    let server = Carrack::start();
    let base = push_busybox(&server, "base/busybox:1");
    let dockerfile = format!("FROM {base}\n{WAITING_STEP}RUN seq 1 300\n");
    let id = submit(&server, "", context(&[("Dockerfile", &dockerfile)]));
    let mut live = Events::follow(&server, &id, None);
    // While the step still runs.
    let first = live.until("\"data\":\"reached");
    let step = WaitingStep::of(&server);
    live.drop_it();
    let first = events(&first);
    let last_seen = first.last().unwrap().0.to_string();
    let resumed = Events::follow(&server, &id, Some(&last_seen));
    step.go_on();
    let resumed = events(&resumed.rest());
    assert!(
        resumed.last().unwrap().1.contains("\"succeeded\""),
        "{resumed:?}"
    );

    let all = events(&Events::follow(&server, &id, None).rest());
    assert_eq!([first, resumed].concat(), all);
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "{all:?}");
    let text: String = all.iter().map(|(_, event)| event.as_str()).collect();
    assert!(text.contains("300\\n"), "{text}");
    // After the last one there is nothing, and the stream ends at once.
    let end = all.last().unwrap().0.to_string();
    assert_eq!(events(&Events::follow(&server, &id, Some(&end)).rest()), []);

    let path = format!("/api/v1/builds/{id}/events");
    for wrong in ["x", "-1", "1.5", "99999999999999999999"] {
        let answer = server
            .api()
            .send("GET", &path, &[("last-event-id", wrong)], Vec::new());
        let answer = answer.unwrap().expect(400);
        assert!(answer.text().contains("last-event-id"), "{}", answer.text());
    }
}

/// A directory with a context in it.
fn directory(site: &Site, files: &[(&str, &str)]) -> PathBuf {
    let dir = site.dir.join("context");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
    dir
}

fn build_in(server: &Carrack, dir: &Path, arguments: &[&str]) -> Command {
    let mut command = server.cli(&["build"]);
    command.args(arguments).arg(".").current_dir(dir);
    command
}

fn stderr(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

#[test]
fn carrack_build_shows_progress_and_its_exit_code() {
    let server = Carrack::start();
    let base = push_busybox(&server, "base/busybox:1");
    let dockerfile = format!("FROM {base}\nCOPY word /\nRUN cat /word && echo to-stderr >&2\n");
    let dir = directory(
        &server.site,
        &[("Dockerfile", &dockerfile), ("word", "hello\n")],
    );
    let image = server.image("team/app:1");

    // Into a pipe: lines, in the order in which they happen.
    let done = output(&mut build_in(&server, &dir, &["-t", "team/app:1"]));
    let text = stderr(&done);
    assert_eq!(
        (done.status.code(), done.stdout.as_slice()),
        (Some(0), &b""[..]),
        "{text}"
    );
    let number = text
        .lines()
        .find_map(|line| line.strip_suffix("[3/3] RUN cat /word && echo to-stderr >&2"))
        .unwrap_or_else(|| panic!("{text}"))
        .trim()
        .to_owned();
    let of_step: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with(&number))
        .collect();
    assert!(
        of_step[1].ends_with(" hello") && of_step[2].ends_with(" to-stderr"),
        "{text}"
    );
    assert!(of_step[3].starts_with(&format!("{number} DONE ")), "{text}");
    assert!(
        text.contains("[1/3] FROM ") && text.contains("[2/3] COPY word /"),
        "{text}"
    );
    assert!(text.contains(&format!("pushed {image}@sha256:")), "{text}");
    assert!(!text.contains('\x1b'), "{text}");

    // Again, quietly: the digest alone, which is the image's.
    let done = output(&mut build_in(&server, &dir, &["-q", "-t", "team/app:1"]));
    let digest = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    assert_eq!(
        (done.status.code(), stderr(&done)),
        (Some(0), String::new())
    );
    run(&mut server.docker(&[
        "pull",
        "-q",
        &format!("{}@{digest}", server.image("team/app")),
    ]));
    let cached = stderr(&output(&mut build_in(&server, &dir, &[])));
    assert_eq!(cached.matches(" CACHED").count(), 2, "{cached}");

    // On a terminal: one view that is redrawn, and ends with every step.
    let client = build_in(&server, &dir, &["--no-cache"]);
    let mut script = Command::new("script");
    copy_environment(&client, &mut script);
    let line = format!("stty rows 40 cols 100; {} build --no-cache .", carrack());
    script.env_remove("NO_COLOR").env("TERM", "xterm");
    script.args(["-qec", &line, "/dev/null"]).current_dir(&dir);
    let shown = run(&mut script);
    let last = shown.rsplit("[+] Building ").next().unwrap();
    assert!(last.contains("(7/7) FINISHED"), "{shown:?}");
    assert!(last.contains(" => [3/3] RUN cat /word"), "{shown:?}");
    // Redrawn in place: up, to the first column, and clear.
    assert!(shown.contains("A\r\x1b[J[+] Building "), "{shown:?}");
}

#[test]
fn carrack_build_shows_where_a_dockerfile_is_wrong() {
    let server = Carrack::start();
    let base = push_busybox(&server, "base/busybox:1");
    for (text, line, source, part) in [
        (
            format!("FROM {base}\n\nRUM echo\n"),
            3,
            "RUM echo",
            "unknown instruction",
        ),
        (
            format!("FROM {base}\nRUN echo why; exit 7\n"),
            2,
            "RUN echo why; exit 7",
            "exit code: 7",
        ),
        (
            format!("FROM {base}\nENV A=1\nCOPY absent /\n"),
            3,
            "COPY absent /",
            "not found",
        ),
    ] {
        let dir = directory(&server.site, &[("app.Dockerfile", &text)]);
        let done = output(&mut build_in(&server, &dir, &["-f", "app.Dockerfile"]));
        let said = stderr(&done);
        assert_eq!(
            (done.status.code(), done.stdout.as_slice()),
            (Some(1), &b""[..]),
            "{said}"
        );
        for expected in [
            format!("app.Dockerfile:{line}\n"),
            format!("   {line} | >>> {source}\n"),
            format!("ERROR: failed to build: app.Dockerfile:{line}: "),
            part.to_owned(),
        ] {
            assert!(said.contains(&expected), "{expected:?} in {said}");
        }
    }
    // Mistakes of the command line, before anything is sent.
    let dir = directory(&server.site, &[("other", "")]);
    for (arguments, code, part) in [
        (&["--no-such-flag"][..], 125, "--no-such-flag"),
        (&["-f", "other", "-t", "UPPER"], 1, "UPPER"),
        (&[], 1, "Dockerfile"),
    ] {
        let done = output(&mut build_in(&server, &dir, arguments));
        assert_eq!(done.status.code(), Some(code), "{}", stderr(&done));
        assert!(stderr(&done).contains(part), "{}", stderr(&done));
    }
    let listed = server.api().get("/api/v1/builds").unwrap().json();
    assert_eq!(listed.as_array().unwrap().len(), 3);
}

/// Passes connections on a port of this host on to a unix socket, as
/// `ssh -L port:socket` does; returns the address.
fn forward(socket: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for near in listener.incoming() {
            let (Ok(near), Ok(far)) = (near, UnixStream::connect(&socket)) else {
                continue;
            };
            pass_on(near, far);
        }
    });
    address
}

fn pass_on(near: TcpStream, far: UnixStream) {
    let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut near_in, &mut far_out);
        let _ = far_out.shutdown(Shutdown::Write);
    });
    let (mut near, mut far) = (near, far);
    thread::spawn(move || {
        let _ = std::io::copy(&mut far, &mut near);
        let _ = near.shutdown(Shutdown::Write);
    });
}

/// Debian's registry, which takes anonymous pushes.
struct OpenRegistry {
    process: Child,
    address: String,
}

impl OpenRegistry {
    fn start(dir: &Path) -> Self {
        let program = run(&mut Command::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/docker-registry.sh"
        )));
        // It cannot tell which port it was given, so one that is free just now.
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let config = dir.join("registry.yml");
        let root = dir.join("open-registry");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\nhttp:\n  addr: {free}\n",
            root.display()
        );
        fs::write(&config, text).unwrap();
        let process = Command::new(program)
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self {
            process,
            address: free.to_string(),
        };
        wait_for("Debian's registry", || TcpStream::connect(free).ok());
        registry
    }
}

impl Drop for OpenRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_builder_alone_serves_its_socket_and_pushes_elsewhere() {
    let mut server = Carrack::start_with(Site::new(), &["--role", "builder"]);
    let site = &server.site;
    assert!(!site.data_dir().join("registry").exists());
    let ready = server.api().get("/readyz").unwrap().expect(200).json();
    assert_eq!(ready["roles"], serde_json::json!({ "builder": true }));
    // Without accounts nobody can ask over the network.
    server.api().get("/api/v1/builds").unwrap().expect(404);
    server.api().get("/v2/").unwrap().expect(404);

    let registry = OpenRegistry::start(&site.dir);
    let image = format!("{}/team/app:1", registry.address);
    let dockerfile = "FROM scratch\nCOPY busybox /bin/sh\nRUN echo built > /file\n";
    let dir = directory(site, &[("Dockerfile", dockerfile)]);
    fs::copy("/bin/busybox", dir.join("busybox")).unwrap();
    let at = format!("http://{}", forward(site.builder_socket()));
    let mut command = build_in(&server, &dir, &["-q", "-t", &image]);
    let done = output(command.env("CARRACK_SERVER", &at));
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let digest = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    let reference = format!("docker://{image}");
    let inspect = [
        "inspect",
        "--tls-verify=false",
        "--format",
        "{{.Digest}}",
        &reference,
    ];
    assert_eq!(run(Command::new("skopeo").args(inspect)), digest);

    // The same, as any HTTP client does it.
    let mut curl = Command::new("curl");
    curl.args(["-sSf", "--unix-socket"])
        .arg(site.builder_socket());
    let listed = run(curl.arg("http://builder/api/v1/builds"));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["state"], "succeeded");
    assert_eq!(listed[0]["created_by"], "local");
    server.expect_no_container();
    drop(registry);
    assert!(server.stop());
    assert!(!server.site.builder_socket().exists());
}

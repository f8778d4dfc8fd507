//! SIGKILL to the engine process before each thing that it changes while it
//! creates, starts, pauses, stops or removes a container: strace delivers the
//! signal at the n-th system call of a kind, and n grows until the operation
//! gets through. Whatever n is, the next engine has the container in a state
//! that an operation may leave, can go on with it, and can remove all of it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use crate::harness::{Carrack, output, push_busybox, run, signal, wait_for};

/// What changes files and directories.
const FILES: &str = "mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,fchmod,fchown";
/// What changes the database.
const DATABASE: &str = "pwrite64";
/// What asks kernel, launcher and monitor for something.
const MESSAGES: &str = "sendto,sendmsg";

/// Far more than any operation has: it never gets through.
const POINTS_MAX: u32 = 200;

const NAME: &str = "box";

/// A step in a container's life, the kinds of system call it is made of, and the
/// states that the container may be in when the engine dies within it.
struct Step {
    before: &'static [&'static [&'static str]],
    step: &'static [&'static str],
    kinds: &'static [&'static str],
    may_be: &'static [&'static str],
}

/// strace on the engine process.
struct Tracer(Child);

impl Tracer {
    /// Has the engine killed at the `point`-th call of the kind in any thread.
    fn attach(engine: u32, kind: &str, point: u32) -> Self {
        // strace hangs when a thread ends while it attaches to the others.
        signal(engine, "STOP");
        let mut strace = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-p", &engine.to_string()])
            .args(["-e", &format!("trace={kind}")])
            .args(["-e", &format!("inject={kind}:signal=KILL:when={point}")])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(strace.stderr.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        signal(engine, "CONT");
        // The rest must not fill the pipe.
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        Self(strace)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It is gone already when the engine is. Killed, it lets the engine go
        // on; asked to end, it waits for threads that are being killed.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Whether the process was killed: waits until it is gone or all of it sleeps,
/// so that no signal is on its way to it.
fn is_dead(pid: u32) -> bool {
    wait_for("the engine's death or rest", || {
        let alive = fs::read_to_string(format!("/proc/{pid}/status"));
        if alive.is_ok_and(|status| status.contains("State:\tZ")) {
            return Some(true);
        }
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return Some(true);
        };
        let sleeps = |thread: fs::DirEntry| {
            fs::read_to_string(thread.path().join("status"))
                .is_ok_and(|status| status.contains("State:\tS"))
        };
        threads.flatten().all(sleeps).then_some(false)
    })
}

fn start() -> (Carrack, String) {
    let server = Carrack::start();
    let image = push_busybox(&server, "team/busybox:1");
    run(&mut server.docker(&["pull", "-q", &image]));
    (server, image)
}

/// The words with the image's name in the place of `IMAGE`.
fn docker(server: &Carrack, image: &str, words: &[&str]) -> Command {
    let words: Vec<_> = words
        .iter()
        .map(|word| if *word == "IMAGE" { image } else { word })
        .collect();
    server.docker(&words)
}

/// Answers on a published port, and has a volume that is filled from the image.
const CREATE: &[&str] = &[
    "create",
    "--name",
    NAME,
    "-p",
    "127.0.0.1:0:80",
    "-v",
    "/etc",
    "IMAGE",
    "sh",
    "-c",
    "while :; do echo well | nc -l -p 80; done",
];
const START: &[&str] = &["start", NAME];

fn state_of(server: &Carrack) -> Option<String> {
    let shown = output(&mut server.docker(&["inspect", "-f", "{{.State.Status}}", NAME]));
    shown
        .status
        .success()
        .then(|| String::from_utf8_lossy(&shown.stdout).trim().to_owned())
}

/// Kills the engine at every point of the step.
fn kill_at_each_point(step: &Step) {
    let (mut server, image) = start();
    let mut killed = 0;
    for kind in step.kinds {
        for point in 1.. {
            assert!(point < POINTS_MAX, "{:?} never gets through", step.step);
            for words in step.before {
                run(&mut docker(&server, &image, words));
            }
            let engine = server.child_pid("engine");
            let tracer = Tracer::attach(engine, kind, point);
            let done = output(&mut docker(&server, &image, step.step));
            drop(tracer);
            let what = format!("{:?} at {kind} {point}", step.step);
            // The signal may come after the answer.
            let died = is_dead(engine);
            assert!(done.status.success() || died, "{what}: {done:?}");
            if died {
                killed += 1;
                wait_for("the next engine", || {
                    (server.child_pid("engine") != engine).then_some(())
                });
                server.wait_ready();
            }
            let state = state_of(&server);
            let allowed = match &state {
                Some(state) => step.may_be.contains(&state.as_str()),
                None => step.may_be.contains(&"absent"),
            };
            assert!(allowed, "{what}: {state:?}");
            match state.as_deref() {
                None => {}
                // What was begun is ended without being asked for again.
                Some("removing") => wait_for("the end of the removal", || {
                    state_of(&server).is_none().then_some(())
                }),
                Some(state) => {
                    go_on(&server, state, &what);
                    run(&mut server.docker(&["rm", "-f", "-v", NAME]));
                }
            }
            expect_nothing(&server, &what);
            if !died {
                break;
            }
        }
    }
    let least = step.kinds.len();
    assert!(killed >= least, "{:?}: killed {killed} times", step.step);
}

/// Makes it run, if it does not, and talks to it in both ways.
fn go_on(server: &Carrack, state: &str, what: &str) {
    match state {
        "running" => {}
        "paused" => drop(run(&mut server.docker(&["unpause", NAME]))),
        _ => drop(run(&mut server.docker(START))),
    }
    assert_eq!(
        run(&mut server.docker(&["exec", NAME, "id", "-u", "web"])),
        "1000",
        "{what}"
    );
    let port = run(&mut server.docker(&["port", NAME, "80"]));
    wait_for("the container's answer", || {
        let mut stream = TcpStream::connect(&port).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.contains("well").then_some(())
    });
}

/// Nothing of a container is left, in the engine's records, on disk, or in the
/// kernel.
fn expect_nothing(server: &Carrack, what: &str) {
    for words in [&["ps", "-aq"][..], &["volume", "ls", "-q"]] {
        assert_eq!(run(&mut server.docker(words)), "", "{what}: {words:?}");
    }
    let data = server.site.data_dir();
    for dir in [
        "engine/containers",
        "engine/volumes",
        "layers/snapshots",
        "layers/tmp",
    ] {
        let entries = fs::read_dir(data.join(dir)).unwrap().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        assert!(names.is_empty(), "{what}: {dir} holds {names:?}");
    }
    server.expect_no_container();
    let rules = output(Command::new("nft").args(["list", "table", "ip", &server.site.bridge]));
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(!rules.contains("elements"), "{what}: {rules}");
}

#[test]
fn create_container() {
    kill_at_each_point(&Step {
        before: &[],
        step: CREATE,
        kinds: &[FILES, DATABASE],
        may_be: &["absent", "created"],
    });
}

#[test]
fn start_container() {
    kill_at_each_point(&Step {
        before: &[CREATE],
        step: START,
        kinds: &[DATABASE, MESSAGES],
        // Exited: its monitor ends it when nobody is left who would start it.
        may_be: &["created", "exited", "running"],
    });
}

#[test]
fn pause_container() {
    kill_at_each_point(&Step {
        before: &[CREATE, START],
        step: &["pause", NAME],
        kinds: &[DATABASE],
        may_be: &["running", "paused"],
    });
}

#[test]
fn stop_container() {
    kill_at_each_point(&Step {
        before: &[CREATE, START],
        step: &["stop", "-t", "0", NAME],
        kinds: &[DATABASE, MESSAGES],
        may_be: &["running", "exited"],
    });
}

#[test]
fn remove_container() {
    kill_at_each_point(&Step {
        before: &[CREATE],
        step: &["rm", "-v", NAME],
        kinds: &[FILES, DATABASE],
        may_be: &["absent", "created", "removing"],
    });
}

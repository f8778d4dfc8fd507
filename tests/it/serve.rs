//! `carrack serve`: the process tree, its rights, its restarts and its end.

use std::{collections::BTreeSet, fs, os::unix::net::UnixDatagram, process::Command};

use serde_json::json;

use crate::harness::{
    Api, Carrack, PASSWORD, PATIENCE, Site, carrack, output, refusal, run, signal, wait_for,
};

/// A field of `/proc/<pid>/status`.
fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("{field} of {pid}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Listening sockets that a process holds: `tcp` and paths of unix sockets.
fn listening(pid: u32) -> BTreeSet<String> {
    let inodes: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|target| {
            Some(
                target
                    .to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let mut found = BTreeSet::new();
    for line in fs::read_to_string("/proc/net/tcp").unwrap().lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        if fields[3] == "0A" && inodes.contains(fields[9]) {
            found.insert("tcp".to_owned());
        }
    }
    for line in fs::read_to_string("/proc/net/unix")
        .unwrap()
        .lines()
        .skip(1)
    {
        let fields: Vec<_> = line.split_whitespace().collect();
        // Flags 00010000: the socket listens.
        if fields[3] == "00010000" && inodes.contains(fields[6]) {
            let path = fields.get(7).copied().unwrap_or("unnamed");
            found.insert(path.rsplit('/').next().unwrap_or(path).to_owned());
        }
    }
    found
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_process_that_faces_the_network_is_not_root() {
    let server = Carrack::start();
    let (front, engine, launcher) = (
        server.child_pid("front"),
        server.child_pid("engine"),
        server.child_pid("launcher"),
    );

    let uid = status(front, "Uid");
    assert!(!uid.split(' ').any(|id| id == "0"), "front runs as {uid}");
    assert_eq!(status(front, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(front, set), "0000000000000000", "{set} of the front");
    }
    assert_eq!(status(front, "NoNewPrivs"), "1");
    for pid in [server.pid(), engine, launcher] {
        assert_eq!(status(pid, "Uid"), "0 0 0 0");
    }
    // Nothing that runs as root listens on the network but the supervisor,
    // which holds the socket for the front's successor and never accepts.
    assert_eq!(listening(front), set(&["tcp"]));
    assert_eq!(listening(engine), set(&["engine.sock", "builder.sock"]));
    assert_eq!(listening(launcher), set(&[]));
    assert_eq!(status(launcher, "Threads"), "1");

    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(&server.site.engine_socket()), 0o660);
}

#[test]
fn the_front_cannot_read_other_parts() {
    let server = Carrack::start();
    let front = server.child_pid("front");
    let uid = status(front, "Uid").split(' ').next().unwrap().to_owned();
    // By user id: what a broken front could try.
    for path in ["engine", "builder", "layers"] {
        let path = server.site.data_dir().join(path);
        let tried = output(
            Command::new("setpriv")
                .args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "ls"])
                .arg(&path),
        );
        assert!(
            !tried.status.success(),
            "uid {uid} lists {}",
            path.display()
        );
    }
    let tried = output(
        Command::new("setpriv")
            .args([
                "--reuid",
                &uid,
                "--regid",
                &uid,
                "--clear-groups",
                "curl",
                "-s",
                "--unix-socket",
            ])
            .arg(server.site.engine_socket())
            .arg("http://engine/_ping"),
    );
    assert!(!tried.status.success(), "uid {uid} reaches the engine");
}

#[test]
fn a_crashed_child_is_restarted_and_the_others_do_not_notice() {
    let mut server = Carrack::start();
    let (front, engine) = (server.child_pid("front"), server.child_pid("engine"));

    signal(engine, "KILL");
    // The registry answers all the while.
    server.api().get("/v2/").unwrap().expect(200);
    let next = wait_for("another engine process", || {
        Some(server.child_pid("engine")).filter(|pid| *pid != engine)
    });
    server.wait_ready();
    assert_eq!(server.child_pid("front"), front);

    signal(front, "KILL");
    server.wait_ready();
    wait_for("another front", || {
        Some(server.child_pid("front")).filter(|pid| *pid != front)
    });
    assert_eq!(server.child_pid("engine"), next);
    assert_eq!(run(&mut server.docker(&["ps", "-q"])), "");
}

#[test]
fn a_second_instance_is_refused_by_name() {
    let server = Carrack::registry();
    let error = refusal(&server.site.serve());
    let expected = format!(
        "data directory {} is in use by another carrack (pid {})",
        server.site.data_dir().display(),
        server.pid()
    );
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn stops_in_time_and_starts_again() {
    let mut server = Carrack::start();
    let api = server.api();
    api.get("/healthz").unwrap().expect(200);
    assert!(server.stop(), "{}", server.log());
    assert!(api.get("/healthz").is_err());
    assert!(!server.site.engine_socket().exists());
    server.restart();
    api.get("/v2/").unwrap().expect(200);
}

#[test]
fn children_end_with_their_supervisor() {
    let mut server = Carrack::start();
    server.kill();
    server.restart();
}

#[test]
fn parts_run_alone() {
    let server = Carrack::start_with(Site::new(), &["--role", "registry"]);
    let ready = server.api().get("/readyz").unwrap().expect(200).json();
    assert_eq!(
        ready,
        json!({ "ready": true, "roles": { "registry": true } })
    );
    assert!(!server.site.engine_socket().exists());
    server.api().get("/api/v1/builds").unwrap().expect(404);
    drop(server);

    let server = Carrack::start_with(Site::new(), &["--role", "engine"]);
    assert_eq!(run(&mut server.docker(&["ps", "-q"])), "");
    server.api().get("/v2/").unwrap().expect(404);
}

#[test]
fn ready_means_that_every_role_serves() {
    let site = Site::new();
    let path = site.dir.join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = site.serve();
    command.env("NOTIFY_SOCKET", &path);
    let mut child = command.spawn().unwrap();
    // Ready by itself: nobody has asked for anything yet.
    let mut bytes = [0; 256];
    let length = manager.recv(&mut bytes).unwrap();
    assert!(bytes[..length].starts_with(b"READY=1\n"));
    let address = fs::read_to_string(site.data_dir().join("run/address")).unwrap();
    let api = Api::new(&address, None);
    let roles = |engine: bool| {
        let roles = json!({ "registry": true, "builder": engine, "engine": engine });
        json!({ "ready": engine, "roles": roles })
    };
    let ready = api.get("/readyz").unwrap().expect(200).json();
    assert_eq!(ready, roles(true));

    // An engine process that cannot start again, and then can.
    let database = site.data_dir().join("engine/engine.db");
    let aside = database.with_extension("aside");
    fs::rename(&database, &aside).unwrap();
    fs::create_dir(&database).unwrap();
    let engine = run(Command::new("pgrep").args(["-P", &child.id().to_string(), "-f", "engine$"]));
    signal(engine.parse().unwrap(), "KILL");
    let not_ready = wait_for("the engine's absence", || {
        let answer = api.get("/readyz").unwrap();
        (answer.status == 503).then(|| answer.json())
    });
    assert_eq!(not_ready, roles(false));
    api.get("/healthz").unwrap().expect(200);
    fs::remove_dir(&database).unwrap();
    fs::rename(&aside, &database).unwrap();
    let ready = wait_for("readiness", || {
        let answer = api.get("/readyz").unwrap();
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!(ready, roles(true));
    signal(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_password_is_generated_and_printed_once() {
    let site = Site::new();
    let start = |site: &Site| {
        let mut command = site.serve();
        command
            .env_remove("CARRACK_ADMIN_PASSWORD")
            .args(["--role", "registry"]);
        let log = site.dir.join("out");
        let mut child = command
            .stdout(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let text = wait_for("the greeting", || {
            fs::read_to_string(&log)
                .ok()
                .filter(|text| text.contains("Carrack serves"))
        });
        let address = fs::read_to_string(site.data_dir().join("run/address")).unwrap();
        (text, address, move || {
            signal(child.id(), "TERM");
            child.wait().unwrap();
        })
    };
    let (text, address, mut stop) = start(&site);
    let password = text
        .lines()
        .skip_while(|line| !line.contains("shown this once"))
        .find_map(|line| line.strip_prefix("    "))
        .unwrap_or_else(|| panic!("{text}"))
        .to_owned();
    assert!(password.len() >= 16, "{password}");
    assert!(
        text.contains(&format!("carrack login {address} -u admin")),
        "{text}"
    );
    Api::new(&address, Some(("admin", &password)))
        .get("/v2/")
        .unwrap()
        .expect(200);
    Api::new(&address, Some(("admin", "wrong")))
        .get("/v2/")
        .unwrap()
        .expect(401);
    stop();
    let (text, address, mut stop) = start(&site);
    assert!(
        !text.contains("shown this once") && !text.contains("Next:"),
        "{text}"
    );
    Api::new(&address, Some(("admin", &password)))
        .get("/v2/")
        .unwrap()
        .expect(200);
    stop();
}

#[test]
fn config_says_where_each_value_comes_from() {
    let shown = run(Command::new(carrack())
        .args(["config", "--listen", "127.0.0.1:7"])
        .env("CARRACK_DATA_DIR", "/srv/c")
        .env("CARRACK_ADMIN_PASSWORD", PASSWORD)
        .env("CARRACK_CONFIG", "/dev/null"));
    let line = |start: &str| {
        shown
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_default()
    };
    assert!(line("listen").ends_with("# flag --listen"), "{shown}");
    assert!(
        line("data-dir").ends_with("# environment CARRACK_DATA_DIR"),
        "{shown}"
    );
    assert!(line("bridge ").ends_with("# default"), "{shown}");
    assert!(!shown.contains(PASSWORD));

    let refused = output(
        Command::new(carrack())
            .arg("config")
            .env("CARRACK_LISTEM", "x"),
    );
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("did you mean CARRACK_LISTEN?"));
}

#[test]
fn logs_that_cannot_be_written_stop_nothing() {
    let site = Site::new();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = site.serve();
    command.args(["--role", "registry"]);
    let mut child = command.stdout(full()).stderr(full()).spawn().unwrap();
    let address = wait_for("the address", || {
        fs::read_to_string(site.data_dir().join("run/address")).ok()
    });
    let api = Api::new(&address, None);
    wait_for("readiness", || {
        api.get("/readyz")
            .ok()
            .filter(|answer| answer.status == 200)
    });
    signal(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn service_managers_hear_and_a_lost_terminal_stops() {
    let site = Site::new();
    let path = site.dir.join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut command = site.serve();
    command
        .args(["--role", "registry"])
        .env("NOTIFY_SOCKET", &path);
    let mut child = command.spawn().unwrap();
    assert!(hear().starts_with("READY=1\n"));
    let address = fs::read_to_string(site.data_dir().join("run/address")).unwrap();
    Api::new(&address, None).get("/readyz").unwrap().expect(200);
    signal(child.id(), "HUP");
    assert!(hear().starts_with("STOPPING=1\n"));
    assert!(child.wait().unwrap().success());
}

//! The server's settings: three ways to give each, what is refused by name,
//! and what sockets and parts become of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    process::Command,
};

use crate::harness::{
    Carrack, PASSWORD, Site, carrack, copy_environment, output, push_busybox, refusal, run, run_by,
};

/// Each setting that has a flag: a value that is not the default, and how a
/// TOML file writes it.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("role", "registry,engine", "[\"registry\", \"engine\"]"),
    ("data-dir", "/srv/c", "\"/srv/c\""),
    ("listen", "127.0.0.1:7001", "\"127.0.0.1:7001\""),
    ("public-url", "https://r.example", "\"https://r.example\""),
    ("engine-socket", "/srv/e.sock", "\"/srv/e.sock\""),
    ("builder-socket", "/srv/b.sock", "\"/srv/b.sock\""),
    ("socket-group", "staff,adm", "[\"staff\", \"adm\"]"),
    ("front-user", "www-data", "\"www-data\""),
    ("database-url", "sqlite:/srv/r.db", "\"sqlite:/srv/r.db\""),
    ("storage", "/srv/blobs", "\"/srv/blobs\""),
    ("bridge", "br7", "\"br7\""),
    ("bridge-subnet", "10.9.0.0/24", "\"10.9.0.0/24\""),
    ("cgroup-parent", "slice/c", "\"slice/c\""),
    ("build-workers", "3", "3"),
    ("build-cache-max", "1000000", "1000000"),
    ("log", "debug", "\"debug\""),
    ("log-format", "json", "\"json\""),
    ("start-timeout", "5", "5"),
    ("shutdown-timeout", "4", "4"),
];

fn variable(name: &str) -> String {
    format!("CARRACK_{}", name.to_uppercase().replace('-', "_"))
}

/// `carrack config` in an environment without settings.
fn config() -> Command {
    let mut command = Command::new(carrack());
    for name in SETTINGS.iter().map(|(name, ..)| *name) {
        command.env_remove(variable(name));
    }
    command
        .arg("config")
        .env_remove("CARRACK_ADMIN_PASSWORD")
        .env("CARRACK_CONFIG", "/dev/null");
    command
}

/// What `carrack config` shows: name to value and origin.
fn shown(command: &mut Command) -> BTreeMap<String, (String, String)> {
    let text = run(command);
    let entry = |line: &str| {
        let (setting, origin) = line.rsplit_once("  # ").unwrap();
        let (name, value) = match setting.strip_prefix("# ") {
            Some(unset) => (unset.trim().strip_suffix(" is unset").unwrap(), "unset"),
            None => setting.split_once(" = ").unwrap(),
        };
        let value = (value.trim().to_owned(), origin.to_owned());
        (name.to_owned(), value)
    };
    text.lines().map(entry).collect()
}

#[test]
fn flag_variable_and_file_mean_the_same_for_each() {
    let dir = tempfile::tempdir().unwrap();
    let defaults = shown(&mut config());
    let known: BTreeSet<&str> = SETTINGS.iter().map(|(name, ..)| *name).collect();
    let all: BTreeSet<&str> = defaults.keys().map(String::as_str).collect();
    let others: Vec<_> = all.difference(&known).copied().collect();
    assert_eq!(others, ["admin-password"], "settings without a test");

    let (mut by_flag, mut by_variable) = (config(), config());
    let mut file = String::new();
    for (name, value, toml) in SETTINGS {
        by_flag.arg(format!("--{name}={value}"));
        by_variable.env(variable(name), value);
        file.push_str(&format!("{name} = {toml}\n"));
    }
    let path = dir.path().join("carrack.toml");
    fs::write(&path, file).unwrap();
    let mut by_file = config();
    by_file.arg("--config-file").arg(&path);
    let [by_flag, by_variable, by_file] =
        [by_flag, by_variable, by_file].map(|mut command| shown(&mut command));
    for (name, _, toml) in SETTINGS {
        let toml = match toml.starts_with(['"', '[']) {
            true => (*toml).to_owned(),
            false => format!("\"{toml}\""),
        };
        assert_ne!(defaults[*name].0, toml, "{name}: give it another value");
        assert_eq!(defaults[*name].1, "default", "{name}");
        for (shown, origin) in [
            (&by_flag, format!("flag --{name}")),
            (&by_variable, format!("environment {}", variable(name))),
            (&by_file, format!("file {}", path.display())),
        ] {
            assert_eq!(shown[*name], (toml.clone(), origin), "{name}");
        }
    }
}

#[test]
fn the_password_is_no_flag_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("carrack.toml");
    fs::write(&path, format!("admin-password = \"{PASSWORD}\"\n")).unwrap();
    let by_variable = shown(config().env("CARRACK_ADMIN_PASSWORD", PASSWORD));
    let by_file = shown(config().env("CARRACK_CONFIG", &path));
    for shown in [by_variable, by_file] {
        assert_eq!(shown["admin-password"].0, "\"********\"");
    }
    let refused = output(config().args(["--admin-password", PASSWORD]));
    assert!(!refused.status.success());
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    let site = Site::new();
    let path = site.dir.join("carrack.toml");
    let said = |text: &str| {
        fs::write(&path, text).unwrap();
        refusal(site.serve().env("CARRACK_CONFIG", &path))
    };
    let place = path.display();
    let text = said("engine-sokcet = \"/x\"\n");
    let expected =
        format!("{place}: unknown key \"engine-sokcet\": did you mean \"engine-socket\"?");
    assert!(text.contains(&expected), "{text}");
    // A file that is not TOML is shown where it is not.
    let text = said("listen = \"127.0.0.1:0\"\nlog = debug\n");
    assert!(
        text.contains("is not valid TOML") && text.contains("log = debug"),
        "{text}"
    );

    let text = refusal(site.serve().env("CARRACK_BRIGDE", "x"));
    assert!(text.contains("did you mean CARRACK_BRIDGE?"), "{text}");
    let wrong_flag = output(site.serve().arg("--data-dri=/x"));
    let text = String::from_utf8_lossy(&wrong_flag.stderr);
    assert!(
        !wrong_flag.status.success() && text.contains("--data-dir"),
        "{text}"
    );
    assert!(!site.data_dir().exists());
}

#[test]
fn postgresql_and_s3_are_refused_by_name() {
    let site = Site::new();
    let path = site.dir.join("carrack.toml");
    for (name, value, product, instead) in [
        (
            "database-url",
            "postgres://u:secret@h/d",
            "PostgreSQL",
            "use sqlite:FILE",
        ),
        (
            "database-url",
            "postgresql://h/d",
            "PostgreSQL",
            "use sqlite:FILE",
        ),
        ("storage", "s3://bucket/prefix", "S3", "use a directory"),
    ] {
        fs::write(&path, format!("{name} = \"{value}\"\n")).unwrap();
        for text in [
            refusal(site.serve().arg(format!("--{name}={value}"))),
            refusal(site.serve().env(variable(name), value)),
            refusal(site.serve().env("CARRACK_CONFIG", &path)),
        ] {
            assert!(text.contains(&format!("{name} names {product}")), "{text}");
            assert!(text.contains(instead) && !text.contains("secret"), "{text}");
        }
    }
    assert!(!site.data_dir().exists());
}

#[test]
fn a_server_is_told_everything_by_a_file() {
    let site = Site::new();
    let mut file = String::new();
    for (name, value) in site.settings("127.0.0.1:0") {
        file.push_str(&format!("{name} = {value:?}\n"));
    }
    let (blobs, database) = (site.dir.join("blobs"), site.dir.join("sql/registry.db"));
    file.push_str(&format!(
        "role = [\"registry\", \"builder\", \"engine\"]\nstorage = {blobs:?}\n\
         database-url = \"sqlite:{}\"\nbuild-workers = 1\nshutdown-timeout = 5\n\
         log-format = \"json\"\n",
        database.display()
    ));
    let path = site.dir.join("carrack.toml");
    fs::write(&path, file).unwrap();
    let mut command = site.serve_bare();
    command.arg("--config-file").arg(&path);
    let mut server = Carrack::start_by(site, command);
    let image = push_busybox(&server, "team/busybox:1");
    assert_eq!(
        run(&mut server.docker(&["run", "--rm", "-q", &image, "echo", "hi"])),
        "hi"
    );
    assert!(database.exists() && fs::read_dir(&blobs).unwrap().count() > 0);
    assert!(server.site.builder_socket().exists());
    assert!(server.stop());
    let log = server.log();
    let line = log.lines().find(|line| line.starts_with('{')).unwrap();
    serde_json::from_str::<serde_json::Value>(line).unwrap();
}

#[test]
fn places_that_the_front_cannot_reach_are_named() {
    use std::os::unix::fs::DirBuilderExt as _;
    let site = Site::new();
    let closed = site.dir.join("closed");
    fs::DirBuilder::new().mode(0o700).create(&closed).unwrap();
    let inside = closed.join("place");
    let rows = format!("sqlite:{}", inside.join("rows").display());
    for (name, value) in [
        ("storage", inside.to_str().unwrap()),
        ("database-url", &rows),
    ] {
        let text = refusal(site.serve().arg(format!("--{name}={value}")));
        let expected = format!(
            "cannot cross {}: chmod o+x it, or choose another --{name}",
            closed.display()
        );
        assert!(text.contains(&expected), "{text}");
    }
    // Other people's files are not taken.
    fs::write(site.dir.join("mine"), "").unwrap();
    let flag = format!("--storage={}", site.dir.display());
    let text = refusal(site.serve().arg(flag));
    assert!(text.contains("choose another directory"), "{text}");
}

/// A server of the engine alone that finds `groups` in /etc/group.
fn with_groups(groups: &str) -> Carrack {
    let site = Site::new();
    let file = site.dir.join("group");
    fs::write(&file, groups).unwrap();
    // In a mount namespace of its own, which goes with it.
    let script = "mount --bind \"$0\" /etc/group && exec \"$@\"";
    let prefix = ["unshare", "-m", "sh", "-c", script, file.to_str().unwrap()];
    let mut command = site.serve();
    let command = run_by(&prefix, command.args(["--role", "engine"]));
    Carrack::start_by(site, command)
}

#[test]
fn the_engine_socket_is_for_a_group() {
    let ping = |server: &Carrack, gid: u32| {
        let gid = gid.to_string();
        let client = ["--reuid", "61000", "--regid", &gid, "--clear-groups"];
        let curl = ["curl", "-sf", "-m", "60", "--unix-socket"];
        let mut command = Command::new("setpriv");
        command.args(client).args(curl);
        command
            .arg(server.site.engine_socket())
            .arg("http://engine/_ping");
        output(&mut command).status.success()
    };
    for (groups, gid) in [
        ("root:x:0:\ncarrack:x:61002:\ndocker:x:61001:\n", 61001),
        ("root:x:0:\ncarrack:x:61002:\n", 61002),
        ("root:x:0:\n", 0),
    ] {
        let server = with_groups(groups);
        let socket = fs::metadata(server.site.engine_socket()).unwrap();
        let mode = socket.permissions().mode() & 0o777;
        assert_eq!(
            (socket.uid(), socket.gid(), mode),
            (0, gid, 0o660),
            "{groups}"
        );
        assert!(ping(&server, gid), "group {gid}");
        assert!(!ping(&server, 61003), "a stranger to group {gid}");
    }
}

/// Not root, and nobody who exists.
const NOBODY: u32 = 61000;

/// `carrack serve` as a user who is not root; the program is copied to where
/// that user can reach it.
fn without_root(site: &Site, flags: &[&str]) -> Command {
    let program = site.dir.join("carrack");
    if !program.exists() {
        fs::copy(carrack(), &program).unwrap();
    }
    let user = NOBODY.to_string();
    let serve = site.serve();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(program)
        .args(serve.get_args())
        .args(flags);
    copy_environment(&serve, &mut command);
    command
}

#[test]
fn without_root_the_registry_runs_alone_and_says_so() {
    let site = Site::new();
    let text = refusal(&without_root(&site, &["--role", "engine"]));
    assert!(
        text.contains("need root") && text.contains("--role registry"),
        "{text}"
    );
    // A directory that it may not write.
    let text = refusal(&without_root(&site, &[]));
    assert!(text.contains("with --data-dir"), "{text}");

    fs::create_dir(site.data_dir()).unwrap();
    chown(site.data_dir(), Some(NOBODY), Some(NOBODY)).unwrap();
    let command = without_root(&site, &[]);
    let mut server = Carrack::start_by(site, command);
    let warning = "not running as root: serving the registry only";
    assert!(server.log().contains(warning), "{}", server.log());
    let ready = server.api().get("/readyz").unwrap().expect(200).json();
    assert_eq!(ready["roles"], serde_json::json!({ "registry": true }));
    push_busybox(&server, "team/busybox:1");
    assert!(!server.site.engine_socket().exists());
    assert!(server.stop());
}

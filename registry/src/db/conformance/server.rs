//! A real PostgreSQL server for one test, reached by a socket in its directory.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};

/// The user that runs the server, which refuses to be root.
const NOBODY: u32 = 65534;

/// Ends with the value: the server is stopped and its directory removed.
pub(super) struct Server {
    process: Child,
    directory: tempfile::TempDir,
    databases: AtomicU32,
}

impl Server {
    pub(super) fn start() -> Self {
        let programs = programs();
        let directory = tempfile::tempdir().unwrap();
        chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let data = directory.path().join("data");
        let mut initdb = as_nobody(&programs.join("initdb"));
        initdb.args(["--no-sync", "--auth=trust", "--username=postgres"]);
        // Not the order of bytes, so that a query that relies on it is seen.
        initdb.args([
            "--encoding=UTF8",
            "--locale-provider=icu",
            "--icu-locale=en",
            "--locale=C",
        ]);
        succeeded(initdb.arg("--pgdata").arg(&data).output().unwrap());
        let mut process = as_nobody(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let ready = |line: &str| line.contains("ready to accept connections");
        let mut seen = Vec::new();
        while !seen.last().is_some_and(|line: &String| ready(line)) {
            match log.next() {
                Some(line) => seen.push(line.unwrap()),
                None => panic!("PostgreSQL did not start: {seen:#?}"),
            }
        }
        // What it prints later must not fill the pipe.
        std::thread::spawn(move || log.for_each(drop));
        Self {
            process,
            directory,
            databases: AtomicU32::new(0),
        }
    }

    /// A new empty database.
    pub(super) async fn database(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.directory.path())
            .username("postgres");
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect_with(&options.clone().database("postgres"))
            .await
            .unwrap();
        let create = format!("CREATE DATABASE {name}");
        connection
            .execute(sqlx::AssertSqlSafe(create))
            .await
            .unwrap();
        connection.close().await.unwrap();
        options.database(&name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT: it ends its children and then itself, without a checkpoint.
        if let Ok(id) = i32::try_from(self.process.id())
            && let Some(pid) = rustix::process::Pid::from_raw(id)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        drop(self.process.wait());
    }
}

fn programs() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/postgresql.sh");
    let output = succeeded(Command::new(script).output().unwrap());
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// The program without root's rights, ended with the test that started it.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--pdeathsig=KILL",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
        ])
        .arg(program)
        .stdin(Stdio::null())
        .env("LC_ALL", "C");
    command
}

fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{output:?}");
    output
}

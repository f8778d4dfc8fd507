//! Containers share no keys with the host or with each other.

use std::path::PathBuf;
use std::process::Command;

use runtime::spec::{ContainerSpec, Seccomp};

use crate::harness::{Host, collect, compile, drain, expect_output};

/// Where keys can be asked for at all: the default filter refuses.
fn unconfined(mut spec: ContainerSpec) -> ContainerSpec {
    spec.process.seccomp = Seccomp::Unconfined;
    spec
}

/// A key in the session of this process, which its children inherit.
struct HostKey {
    program: PathBuf,
    name: String,
}

impl HostKey {
    fn add(program: PathBuf) -> HostKey {
        let name = format!("carrack-test-{}", std::process::id());
        let key = HostKey { program, name };
        assert!(key.run("add").ends_with(" found\n"));
        key
    }

    fn run(&self, action: &str) -> String {
        let mut command = Command::new(&self.program);
        let output = command.args([action, &self.name]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for HostKey {
    fn drop(&mut self) {
        self.run("remove");
    }
}

#[tokio::test]
async fn each_container_has_its_own_session_keyring() {
    let host = Host::start().await;
    let program = host.image().join("bin/keyring");
    compile("keyring.c", &program, &["-static"]);
    let key = HostKey::add(program);

    let script = format!(
        "keyring find {}; keyring add own; echo ready; sleep 1000",
        key.name
    );
    let first = unconfined(host.shell(&script));
    let (mut reader, writer) = host.launch(&first).await.unwrap().split();
    let seen = expect_output(&mut reader, "ready").await;
    let name = format!("_ses.{}", first.id);
    assert_eq!(seen, format!("{name} absent\n{name} found\nready\n"));

    let exec = unconfined(host.spec(&["keyring", "find", "own"])).process;
    let exec = host.launcher.exec(&first.state_dir, "e", &exec).await;
    let exec = exec.unwrap();
    exec.start().await.unwrap();
    assert_eq!(collect(exec).await.stdout, format!("{name} found\n"));

    let second = unconfined(host.spec(&["keyring", "find", "own"]));
    let output = host.run(&second).await;
    assert_eq!(output.stdout, format!("_ses.{} absent\n", second.id));
    writer.signal(9).await.unwrap();
    drain(&mut reader).await;
}

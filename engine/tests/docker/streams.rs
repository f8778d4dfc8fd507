//! Connections that carry a process's streams.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::daemon::{Daemon, wait_for};

#[test]
fn an_old_client_takes_its_connection_over_after_a_200() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    let id = daemon.ok(&["create", "-i", image, "cat"]);
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    write!(
        stream,
        "POST /v1.24/containers/{id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    daemon.ok(&["start", &id]);
    stream.write_all(b"through").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"\x01\0\0\0\0\0\0\x07through");
    assert_eq!(daemon.ok(&["wait", &id]), "0");
}

/// Sends what starts a shell in the container `box`, and reads nothing yet.
fn start_exec(daemon: &Daemon, script: &str) -> UnixStream {
    let wanted = serde_json::json!({"AttachStdout": true, "Cmd": ["sh", "-c", script]});
    let (status, body) = daemon.request("POST", "/containers/box/exec", &wanted.to_string());
    assert_eq!(status, 201, "{body}");
    let created: serde_json::Value = serde_json::from_str(&body).unwrap();
    let id = created["Id"].as_str().unwrap();
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    write!(
        stream,
        "POST /exec/{id}/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Length: 2\r\n\r\n{{}}"
    )
    .unwrap();
    stream
}

#[test]
fn a_client_that_does_not_read_holds_nothing_else_back() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["run", "-d", "--name", "box", image, "sleep", "1000"]);
    let before = daemon.memory_kib();
    let mut stalled = start_exec(&daemon, "yes > /proc/self/fd/1");
    let mut head = [0; 64];
    stalled.read_exact(&mut head).unwrap();
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    for _ in 0..20 {
        assert_eq!(daemon.ok(&["exec", "box", "echo", "alive"]), "alive");
    }
    assert!(
        daemon.memory_kib() < before + 32 * 1024,
        "output is buffered without bound"
    );
    // It leaves: the process is still there and can be ended.
    drop(stalled);
    daemon.ok(&["rm", "-f", "box"]);
}

/// Docker's SDK for Python drops what it reads together with the head.
#[test]
fn output_waits_until_the_head_was_read() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    daemon.ok(&["run", "-d", "--name", "box", image, "sleep", "1000"]);
    let mut late = start_exec(&daemon, "echo output; touch /tmp/done; sleep 1000");
    wait_for("the output to be written", || {
        let test = daemon.output(&["exec", "box", "test", "-e", "/tmp/done"]);
        test.status.success().then_some(())
    });
    let mut buffer = [0; 4096];
    let length = late.read(&mut buffer).unwrap();
    let head = String::from_utf8_lossy(&buffer[..length]);
    assert!(head.ends_with("\r\n\r\n"), "{head:?}");
    let mut frame = [0; 15];
    late.read_exact(&mut frame).unwrap();
    assert_eq!(&frame, b"\x01\0\0\0\0\0\0\x07output\n");
}

#[test]
fn a_connection_takes_one_descriptor() {
    let daemon = Daemon::start();
    // The first one lets the engine open what it keeps.
    assert_eq!(daemon.request("GET", "/_ping", "").0, 200);
    let connect = || {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        write!(stream, "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        stream
    };
    let before = daemon.descriptors();
    let streams: Vec<_> = (0..20).map(|_| connect()).collect();
    let more = daemon.descriptors() - before;
    assert!(
        more < 30,
        "{more} descriptors for {} connections",
        streams.len()
    );
}

//! SIGTERM lets what is in flight end: a request to its answer, a stream to an
//! end that its client does not take for a failure.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Stdio,
};

use crate::{
    build::{context, finish, submit},
    follow_build::{Events, WAITING_STEP, WaitingStep},
    harness::{Carrack, PASSWORD, PATIENCE, Site, push_busybox, run, signal, wait_for},
};

/// A request of which a client has sent a part.
struct HalfSent {
    stream: TcpStream,
    body: Vec<u8>,
    sent: usize,
}

impl HalfSent {
    fn begin(server: &Carrack, request: &str, authorization: &str, body: Vec<u8>) -> Self {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\nhost: {}\r\nauthorization: {authorization}\r\n\
             content-length: {}\r\n\r\n",
            server.address(),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let sent = body.len() / 2;
        stream.write_all(&body[..sent]).unwrap();
        Self { stream, body, sent }
    }

    /// Of a blob that is 4 MiB large.
    fn blob(server: &Carrack, repository: &str) -> Self {
        let blob: Vec<u8> = (0..4u32 << 20).map(|n| (n / 7) as u8).collect();
        let team = server.api().registry(repository);
        let path = team.begin_upload(&oci::Digest::sha256(&blob));
        Self::begin(server, &format!("PUT {path}"), &team.bearer(), blob)
    }

    fn digest(&self) -> oci::Digest {
        oci::Digest::sha256(&self.body)
    }

    /// Sends the rest; returns the answer.
    fn end(&mut self) -> String {
        self.stream.write_all(&self.body[self.sent..]).unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// SIGTERM, until the tree has begun to stop.
fn begin_stop(server: &Carrack) {
    signal(server.pid(), "TERM");
    wait_for("the stop to begin", || {
        server
            .log()
            .contains("stopping: requests get")
            .then_some(())
    });
}

/// Waits until new builds are refused.
fn refuses_builds(server: &Carrack) {
    wait_for("builds to be refused", || {
        let tar = context(&[("Dockerfile", "FROM scratch\nENV A=1\n")]);
        let answer = server
            .api()
            .post("/api/v1/builds", "application/x-tar", tar);
        (answer.status == 503).then_some(())
    });
}

#[test]
fn an_upload_in_flight_is_taken_to_its_end() {
    let site = Site::new();
    let mut server = Carrack::start_with(site, &["--role=registry", "--shutdown-timeout=60"]);
    let mut upload = HalfSent::blob(&server, "team/slow");
    begin_stop(&server);
    let answer = upload.end();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(server.wait(), "{}", server.log());
    server.restart();
    let team = server.api().registry("team/slow");
    let blob = team.send(
        "GET",
        &format!("blobs/{}", upload.digest()),
        &[],
        Vec::new(),
    );
    assert!(blob.unwrap().expect(200).body == upload.body);
}

#[test]
fn a_client_that_stands_still_does_not_hold_the_end() {
    let flags = ["--role=registry", "--shutdown-timeout=1"];
    let mut server = Carrack::start_with(Site::new(), &flags);
    let upload = HalfSent::blob(&server, "team/stuck");
    assert!(server.stop(), "{}", server.log());
    let log = server.log();
    assert!(log.contains("some requests did not finish within"), "{log}");
    // The front ended by itself, with its database closed.
    assert!(!log.contains("killing them"), "{log}");
    // What was not acknowledged is not there.
    server.restart();
    let team = server.api().registry("team/stuck");
    let blob = team.send(
        "HEAD",
        &format!("blobs/{}", upload.digest()),
        &[],
        Vec::new(),
    );
    blob.unwrap().expect(404);
}

#[test]
fn a_context_in_flight_is_taken_and_built_by_the_next_start() {
    use base64::Engine as _;
    let mut server = Carrack::start_with(Site::new(), &["--shutdown-timeout=60"]);
    let engine = base64::engine::general_purpose::STANDARD;
    let basic = format!("Basic {}", engine.encode(format!("admin:{PASSWORD}")));
    let tar = context(&[("Dockerfile", "FROM scratch\nENV A=1\n")]);
    let mut upload = HalfSent::begin(&server, "POST /api/v1/builds", &basic, tar);
    wait_for("the builder to receive it", || {
        let entries = std::fs::read_dir(server.site.data_dir().join("builder/contexts"));
        (entries.unwrap().count() > 0).then_some(())
    });
    begin_stop(&server);
    refuses_builds(&server);
    let answer = upload.end();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let build: serde_json::Value = serde_json::from_str(body).unwrap();
    assert!(server.wait(), "{}", server.log());
    server.restart();
    let id = build["id"].as_str().unwrap();
    assert_eq!(finish(&server, id)["state"], "succeeded");
}

#[test]
fn a_build_that_ends_in_time_is_followed_to_its_end_and_pushed() {
    let mut server = Carrack::start_with(Site::new(), &["--shutdown-timeout=60"]);
    let base = push_busybox(&server, "base/busybox:1");
    let dockerfile = format!("FROM {base}\n{WAITING_STEP}");
    let image = server.image("team/app:1");
    let tar = context(&[("Dockerfile", &dockerfile)]);
    let id = submit(&server, &format!("tag={image}"), tar);
    let mut events = Events::follow(&server, &id, None);
    events.until("\"data\":\"reached");
    let step = WaitingStep::of(&server);
    begin_stop(&server);
    refuses_builds(&server);
    // Whoever asks is sent elsewhere.
    server.api().get("/readyz").unwrap().expect(503);
    step.go_on();
    // Pushing needs the registry, which goes on for it.
    let rest = events.rest();
    assert!(rest.contains("\"succeeded\""), "{rest}");
    assert!(server.wait(), "{}", server.log());
    server.restart();
    assert_eq!(finish(&server, &id)["state"], "succeeded");
    run(&mut server.docker(&["pull", "-q", &image]));
}

#[test]
fn streams_without_an_end_of_their_own_are_ended_in_order() {
    let mut server = Carrack::start_with(Site::new(), &["--shutdown-timeout=2"]);
    let base = push_busybox(&server, "base/busybox:1");
    let script = "echo ready; exec sleep 1000";
    let name = [
        "run", "-d", "-q", "--name", "box", &base, "sh", "-c", script,
    ];
    run(&mut server.docker(&name));
    let dockerfile = format!("FROM {base}\n{WAITING_STEP}");
    let id = submit(&server, "", context(&[("Dockerfile", &dockerfile)]));
    let mut events = Events::follow(&server, &id, None);
    events.until("\"data\":\"reached");
    let before = WaitingStep::of(&server).pid();
    let mut logs = server
        .docker(&["logs", "-f", "box"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = logs.stdout.take().unwrap();
    let mut line = [0; 6];
    out.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");

    assert!(server.stop(), "{}", server.log());
    let rest = events.rest();
    assert!(rest.contains("\"queued\""), "{rest}");
    assert!(logs.wait().unwrap().success());
    let log = server.log();
    assert!(
        !log.contains("did not finish") && !log.contains("killing them"),
        "{log}"
    );

    // What goes on, goes on; what was put back is taken up again.
    server.restart();
    run(&mut server.docker(&["exec", "box", "true"]));
    assert_ne!(WaitingStep::of(&server).pid(), before);
    let path = format!("/api/v1/builds/{id}/cancel");
    server.api().post(&path, "", Vec::new());
    assert_eq!(finish(&server, &id)["state"], "cancelled");
}

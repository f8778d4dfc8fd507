//! Several instances on one host: apart from each other when told so, and
//! refused by name when they would share something.

use crate::harness::{Carrack, Site, push_busybox, refusal, run};

#[test]
fn two_instances_run_containers_at_once() {
    let servers = [Carrack::start(), Carrack::start()];
    for (server, word) in servers.iter().zip(["first", "second"]) {
        let image = push_busybox(server, "team/busybox:1");
        let name = ["run", "-d", "-q", "--name", "box", "-p", "127.0.0.1:0:80"];
        run(server.docker(&name).args([&image, "sleep", "1000"]));
        run(&mut server.docker(&[
            "exec",
            "box",
            "sh",
            "-c",
            &format!("echo {word} > /tmp/word"),
        ]));
    }
    let word = |server: &Carrack| run(&mut server.docker(&["exec", "box", "cat", "/tmp/word"]));
    let [mut first, second] = servers;
    assert_eq!(
        (word(&first), word(&second)),
        ("first".into(), "second".into())
    );
    let id = |server: &Carrack| run(&mut server.docker(&["ps", "-q", "--no-trunc"]));
    assert_ne!(id(&first), id(&second));
    let second_id = id(&second);
    assert_eq!(second_id.lines().count(), 1);
    // One that goes takes nothing of the other's along.
    first.remove_containers();
    assert!(first.stop());
    drop(first);
    assert_eq!(word(&second), "second");
    assert_eq!(id(&second), second_id);
    let port = run(&mut second.docker(&["port", "box", "80"]));
    std::net::TcpStream::connect(port).expect_err("nobody listens in the container");
    let image = second.image("team/busybox:1");
    run(&mut second.docker(&["run", "--rm", "-p", "127.0.0.1:0:80", &image, "true"]));
}

#[test]
fn what_two_instances_would_share_is_refused_by_name() {
    let storage = |site: &Site| site.dir.join("blobs").display().to_string();
    let database = |site: &Site| format!("sqlite:{}", site.dir.join("sql/r.db").display());
    let site = Site::new();
    let (blobs, rows) = (storage(&site), database(&site));
    let flags = ["--storage", &blobs, "--database-url", &rows];
    let server = Carrack::start_with(site, &flags);
    let image = push_busybox(&server, "team/busybox:1");
    let theirs = server.site.settings(server.address());
    let value = |name: &str| {
        let found = theirs.iter().find(|(known, _)| *known == name);
        found.unwrap().1.clone()
    };
    for (name, value, part) in [
        (
            "data-dir",
            value("data-dir"),
            "is in use by another carrack",
        ),
        ("listen", value("listen"), "choose another --listen"),
        (
            "engine-socket",
            value("engine-socket"),
            "is in use by another process",
        ),
        (
            "builder-socket",
            value("builder-socket"),
            "is in use by another process",
        ),
        ("bridge", value("bridge"), "bridge"),
        ("bridge-subnet", value("bridge-subnet"), "subnet"),
        ("storage", blobs.clone(), "--storage"),
        ("database-url", rows.clone(), "--database-url"),
    ] {
        let site = Site::new();
        let mut command = site.serve_bare();
        for (known, own) in site.settings("127.0.0.1:0") {
            if known != name {
                command.arg(format!("--{known}={own}"));
            }
        }
        let text = refusal(command.arg(format!("--{name}={value}")));
        let last = text.lines().last().unwrap_or_default();
        assert!(
            last.contains(&value) && last.contains(part),
            "{name}: {text}"
        );
    }
    // The first has not noticed.
    server.api().get("/readyz").unwrap().expect(200);
    run(&mut server.docker(&["run", "--rm", "-q", &image, "true"]));
}

//! The bridge network of whole instances: what has to go on working when the
//! daemon dies, the firewall is reloaded, or another instance lives next door.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use crate::build::{context, finish, submit};
use crate::harness::{Api, Carrack, Site, output, push_busybox, run, signal, wait_for};

/// A shell line that serves one page for ever.
const SERVER: &str = "while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\npage' | nc -l -p 80; done";

fn start() -> (Carrack, String) {
    let server = Carrack::start();
    let image = push_busybox(&server, "team/busybox:1");
    run(&mut server.docker(&["pull", "-q", &image]));
    (server, image)
}

/// Runs a container that serves a page, and gives its published address.
fn serve_page(server: &Carrack, image: &str, name: &str) -> String {
    let port = ["-p", "127.0.0.1:0:80"];
    let command = [image, "sh", "-c", SERVER];
    let arguments = [&["run", "-d", "--name", name], &port[..], &command].concat();
    run(&mut server.docker(&arguments));
    run(&mut server.docker(&["port", name, "80"]))
}

/// Waits until the page comes; between two clients nobody listens for a moment.
fn expect_page(address: &str) {
    let api = Api::new(address, None);
    let answer = wait_for("the page", || api.get("/").ok());
    assert_eq!(answer.text(), "page");
}

fn address_of(server: &Carrack, name: &str) -> String {
    let format = "{{.NetworkSettings.IPAddress}}";
    run(&mut server.docker(&["inspect", "-f", format, name]))
}

#[test]
fn a_published_port_outlives_the_daemon() {
    let (mut server, image) = start();
    let address = serve_page(&server, &image, "web");
    expect_page(&address);

    let engine = server.child_pid("engine");
    signal(engine, "KILL");
    wait_for("another engine process", || {
        Some(server.child_pid("engine")).filter(|pid| *pid != engine)
    });
    server.wait_ready();
    expect_page(&address);
    assert_eq!(run(&mut server.docker(&["port", "web", "80"])), address);

    // Its port is still its own, and so is its address.
    let taken = [
        "run",
        "--rm",
        "-p",
        &format!("{address}:80"),
        &image,
        "true",
    ];
    let taken = output(&mut server.docker(&taken));
    assert_eq!(taken.status.code(), Some(125));
    serve_page(&server, &image, "other");
    assert_ne!(address_of(&server, "other"), address_of(&server, "web"));

    run(&mut server.docker(&["rm", "-f", "web"]));
    assert!(Api::new(&address, None).get("/").is_err());
    run(&mut server.docker(&[
        "run",
        "--rm",
        "-p",
        &format!("{address}:80"),
        &image,
        "true",
    ]));
}

#[test]
fn rules_come_back_after_a_firewall_reload() {
    let (server, image) = start();
    let address = serve_page(&server, &image, "web");
    expect_page(&address);
    for family in ["ip", "bridge"] {
        run(Command::new("nft").args(["delete", "table", family, &server.site.bridge]));
        expect_page(&address);
    }
}

#[test]
fn containers_reach_each_other_but_not_those_of_another_instance() {
    let (server, image) = start();
    let (other, other_image) = start();
    serve_page(&server, &image, "web");
    // Not wget, which needs name service libraries that a static program lacks.
    let ask = |from: &Carrack, image: &str| {
        let line = format!("nc -w 1 {} 80 </dev/null", address_of(&server, "web"));
        output(&mut from.docker(&["run", "--rm", image, "sh", "-c", &line]))
    };
    let neighbour = wait_for("an answer to the neighbour", || {
        Some(ask(&server, &image)).filter(|answer| answer.status.success())
    });
    let text = String::from_utf8_lossy(&neighbour.stdout).into_owned();
    assert!(text.ends_with("page"), "{text:?}");
    let stranger = ask(&other, &other_image);
    assert_eq!(stranger.status.code(), Some(1), "{stranger:?}");
    let text = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(text.contains("timed out"), "{text}");
}

#[test]
fn ended_containers_give_their_ports_back() {
    let (server, image) = start();
    let port = ["-p", "127.0.0.1:0:80"];
    run(&mut server.docker(
        &[
            &["run", "-d", "--name", "short"],
            &port[..],
            &[&image, "true"],
        ]
        .concat(),
    ));
    run(&mut server.docker(&["wait", "short"]));
    let rules = || run(Command::new("nft").args(["list", "table", "ip", &server.site.bridge]));
    wait_for("no published port", || {
        (!rules().contains("elements")).then_some(())
    });
    // And takes one again when it is started again.
    run(&mut server.docker(&["start", "short"]));
    run(&mut server.docker(&["wait", "short"]));
    run(&mut server.docker(&["rm", "short"]));
}

/// A host outside: a network namespace behind a link, with no way back to the
/// containers' addresses, so that only what is masqueraded is answered.
struct OutsideHost {
    name: String,
    link: String,
    /// First three bytes of both addresses.
    net: String,
    answering: Option<Child>,
}

/// Answers each connection with the address that it came from.
const ECHO: &str = "
import socket, sys
server = socket.create_server((sys.argv[1], 7000))
print('listening', flush=True)
while True:
    connection, peer = server.accept()
    connection.sendall(peer[0].encode() + b'\\n')
    connection.close()
";

impl OutsideHost {
    fn new(site: &Site) -> Self {
        // As much this site's own as its subnet is.
        let bytes: Vec<&str> = site.subnet.split('.').collect();
        let mut host = Self {
            name: format!("out-{}", site.bridge),
            link: format!("o{}", site.bridge),
            net: format!("198.18.{}", bytes[1]),
            answering: None,
        };
        let Self {
            name, link, net, ..
        } = &host;
        let ip = |line: String| run(Command::new("ip").args(line.split(' ')));
        ip(format!("netns add {name}"));
        ip(format!(
            "link add {link} type veth peer name eth0 netns {name}"
        ));
        ip(format!("addr add {net}.1/24 dev {link}"));
        ip(format!("link set {link} up"));
        ip(format!("-n {name} addr add {net}.2/24 dev eth0"));
        ip(format!("-n {name} link set eth0 up"));
        let address = format!("{net}.2");
        let child = Command::new("ip")
            .args(["netns", "exec", name, "python3", "-c", ECHO, &address])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answering = host.answering.insert(child);
        let mut line = String::new();
        let mut out = BufReader::new(answering.stdout.as_mut().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        host
    }
}

impl Drop for OutsideHost {
    fn drop(&mut self) {
        if let Some(mut answering) = self.answering.take() {
            let _ = answering.kill();
            let _ = answering.wait();
        }
        output(Command::new("ip").args(["link", "delete", &self.link]));
        output(Command::new("ip").args(["netns", "delete", &self.name]));
    }
}

#[test]
fn containers_and_builds_reach_hosts_outside_from_the_address_of_this_one() {
    let (server, image) = start();
    let outside = OutsideHost::new(&server.site);
    // The host outside knows no way to the bridge: without masquerading there
    // would be no answer.
    let gateway = format!("{}.1", outside.net);
    let ask = format!("nc -w 20 {}.2 7000 </dev/null", outside.net);
    let answer = run(&mut server.docker(&["run", "--rm", &image, "sh", "-c", &ask]));
    assert_eq!(answer, gateway);
    let none = ["run", "--rm", "--network", "none", &image, "sh", "-c", &ask];
    assert!(!output(&mut server.docker(&none)).status.success());

    let dockerfile = format!("FROM {image}\nRUN test \"$({ask})\" = {gateway}\n");
    let tar = context(&[("Dockerfile", &dockerfile)]);
    let built = finish(&server, &submit(&server, "", tar));
    assert_eq!(built["state"], "succeeded", "{built}");
}

//! Namespaces for a test: the host under test, and a peer outside of it.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::super::{Bridge, BridgeConfig, NetError};
use crate::netns::{NetnsError, Workshop};

pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Long enough for a loaded machine; a success never waits for it.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long an answer is waited for that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// The namespaces of one test.
pub(super) struct World {
    pub(super) home: OwnedFd,
    pub(super) peer: OwnedFd,
}

impl World {
    /// Runs a test on a thread inside a fresh host namespace, which has a
    /// link to the peer's.
    pub(super) fn run(test: impl FnOnce(&World) + Send) {
        let body = || {
            let workshop = Workshop::open().unwrap();
            let fresh = || workshop.make(|_, _| Ok::<_, NetnsError>(())).unwrap().0;
            let world = World {
                home: fresh(),
                peer: fresh(),
            };
            enter(&world.home);
            world.connect();
            test(&world);
        };
        thread::scope(|scope| {
            if let Err(panic) = scope.spawn(body).join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    fn connect(&self) {
        let host = |address: Ipv4Addr| format!("{address}/24");
        ip(&["link", "add", "out0", "type", "veth", "peer", "out1"]);
        ip(&["address", "add", &host(HOST), "dev", "out0"]);
        ip(&["link", "set", "out0", "up"]);
        self.inside(&self.peer, || {
            let home = self.home.as_fd();
            let peer = fs::File::open("/proc/thread-self/ns/net").unwrap();
            move_into_link_name_space(home, Some(LinkNameSpaceType::Network)).unwrap();
            // iproute2 takes a path as the target.
            let path = format!("/proc/{}/fd/{}", std::process::id(), peer.as_raw_fd());
            ip(&["link", "set", "out1", "netns", &path]);
            move_into_link_name_space(peer.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            ip(&["link", "set", "out1", "name", "out0"]);
            ip(&["address", "add", &host(PEER), "dev", "out0"]);
            ip(&["link", "set", "out0", "up"]);
        });
    }

    pub(super) fn bridge(&self) -> Bridge {
        self.bridge_with(|_| {})
    }

    pub(super) fn bridge_with(&self, change: impl FnOnce(&mut BridgeConfig)) -> Bridge {
        let mut cfg = config();
        change(&mut cfg);
        setup(&cfg, |_| false).unwrap()
    }

    /// Runs something on a thread inside a namespace.
    pub(super) fn inside<T: Send>(&self, netns: &OwnedFd, body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(netns);
                body()
            });
            match thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A server in a namespace that tells each client its address.
    pub(super) fn server(&self, netns: &OwnedFd, port: u16) -> Server {
        self.inside(netns, || serve_tcp((Ipv4Addr::UNSPECIFIED, port).into()))
    }

    pub(super) fn udp_server(&self, netns: &OwnedFd, port: u16) -> Server {
        self.inside(netns, || serve_udp((Ipv4Addr::UNSPECIFIED, port).into()))
    }

    pub(super) fn peer_server(&self, port: u16) -> Server {
        self.server(&self.peer, port)
    }

    /// Everything in the host namespace that a bridge could leave behind.
    pub(super) fn census(&self) -> (Vec<String>, String) {
        (links(), nft(&["list", "ruleset"]))
    }
}

pub(super) fn config() -> BridgeConfig {
    BridgeConfig::new("carrack0", "172.30.0.0/16".parse().unwrap())
}

fn enter(netns: &OwnedFd) {
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// A running server; stops when dropped.
pub(super) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(mut turn: impl FnMut() -> io::Result<()> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match turn() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => other.unwrap(),
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Readiness is waited for in short turns, so that the server can be stopped.
const TURN: Duration = Duration::from_millis(20);

pub(super) fn serve_tcp(address: SocketAddr) -> Server {
    let listener = TcpListener::bind(address).unwrap();
    rustix::net::sockopt::set_socket_timeout(
        &listener,
        rustix::net::sockopt::Timeout::Recv,
        Some(TURN),
    )
    .unwrap();
    Server::start(move || {
        let (mut stream, client) = listener.accept()?;
        stream.write_all(client.ip().to_string().as_bytes())
    })
}

fn serve_udp(address: SocketAddr) -> Server {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(TURN)).unwrap();
    Server::start(move || {
        let (_, client) = socket.recv_from(&mut [0; 64])?;
        socket.send_to(client.ip().to_string().as_bytes(), client)?;
        Ok(())
    })
}

/// Connects and gives what the server says: our address as it sees it.
pub(super) fn tcp_ask(to: (Ipv4Addr, u16)) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to.into(), DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub(super) fn udp_ask(to: (Ipv4Addr, u16)) -> io::Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.connect(to)?;
    socket.send(b"who am I?")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Whether the connection is refused, not merely unanswered.
pub(super) fn refused(to: (Ipv4Addr, u16)) -> bool {
    let result = TcpStream::connect_timeout(&to.into(), DEADLINE);
    result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Whether nobody answers.
pub(super) fn silent(to: impl Into<SocketAddr>) -> bool {
    let result = TcpStream::connect_timeout(&to.into(), SILENCE);
    result.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Makes the namespace send packets for 127.0.0.1 to a neighbour.
pub(super) fn forge_loopback(link: &str, via: Ipv4Addr) {
    // Its own loopback would take them, even while it is down.
    ip(&["address", "flush", "dev", "lo"]);
    for (name, value) in [("route_localnet", "1"), ("rp_filter", "0")] {
        crate::netns::write_sysctl(&format!("net/ipv4/conf/{link}/{name}"), value).unwrap();
    }
    let via = via.to_string();
    ip(&["route", "add", "127.0.0.1", "via", &via, "dev", link]);
}

/// Whether bridged packets pass the ip tables; a kernel without the feature
/// behaves like "0".
pub(super) fn set_bridge_nf(value: &str) {
    let path = "net/bridge/bridge-nf-call-iptables";
    if fs::exists(format!("/proc/sys/{path}")).unwrap() {
        crate::netns::write_sysctl(path, value).unwrap();
    }
}

pub(super) fn links() -> Vec<String> {
    let mut route = crate::netlink::Route::open().unwrap();
    let links = route.links().unwrap();
    links.into_iter().map(|link| link.name).collect()
}

pub(super) fn count_in_rules(text: &str) -> usize {
    nft(&["list", "map", "ip", "carrack0", "open"])
        .matches(text)
        .count()
}

pub(super) fn nft(arguments: &[&str]) -> String {
    run("nft", arguments)
}

pub(super) fn ip(arguments: &[&str]) {
    run("ip", arguments);
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A bridge by `cfg`, or why not. For the reason told at `is_free`, an earlier
/// bridge of the test may hold its name for a moment, so that refusal counts only
/// when it is `expected`.
pub(super) fn setup(
    cfg: &BridgeConfig,
    expected: impl Fn(&NetError) -> bool,
) -> Result<Bridge, NetError> {
    let mut made = None;
    until(|| {
        let settled = |made: &Result<Bridge, NetError>| match made {
            Err(error @ NetError::InUse(_)) => expected(error),
            _ => true,
        };
        settled(made.insert(Bridge::setup(cfg.clone())))
    });
    made.unwrap()
}

/// Waits for a condition.
pub(super) fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "condition not met in time");
        thread::sleep(Duration::from_millis(1));
    }
}

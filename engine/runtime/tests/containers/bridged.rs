//! A container on a bridge, in a network namespace of the test's own.
#![expect(unsafe_code, reason = "unshare(2) is unsafe in rustix")]

use std::{
    fs,
    io::Read,
    net::{Ipv4Addr, TcpStream},
    os::fd::AsRawFd,
    time::Duration,
};

use runtime::{
    bridge::{Bridge, BridgeConfig},
    ports::{PortMapping, Protocol},
    spec::NetMode,
};
use rustix::thread::UnshareFlags;

use crate::harness::{Host, drain};

/// Runs a test on a thread, and a launcher, in a fresh network namespace.
fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let body = move || {
        // SAFETY: descriptors stay shared; only this thread and those that it
        // starts from here on use the namespace.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        let up = std::process::Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    };
    if let Err(panic) = std::thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Descriptors and processes of the whole machine that keep a namespace alive.
fn holders(namespace: &str) -> Vec<String> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let path = process.path();
        let entries = fs::read_dir(path.join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        let paths = entries
            .map(|entry| entry.path())
            .chain([path.join("ns/net")]);
        for path in paths {
            if fs::read_link(&path).is_ok_and(|target| target.as_os_str() == namespace) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn bridged_container_serves_and_leaves_nothing() {
    isolated(|| async {
        let subnet = "172.30.0.0/16".parse().unwrap();
        let bridge = Bridge::setup(BridgeConfig::new("carrack0", subnet)).unwrap();
        let host = Host::start().await;
        // Not root, and yet on a low port.
        let mut spec = host.shell("/bin/busybox nc -l -p 80 -e /bin/echo from inside");
        spec.process.user = "1000".into();
        spec.namespaces.net = NetMode::Fd;
        let place = bridge.attach(None).unwrap();
        let published = PortMapping {
            host_ip: Ipv4Addr::UNSPECIFIED.into(),
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        bridge.publish(place.address, &[published]).unwrap();
        let link = format!("/proc/self/fd/{}", place.netns.as_raw_fd());
        let namespace = fs::read_link(link).unwrap().display().to_string();
        let monitor = host
            .launcher
            .create(&spec, Some(place.netns))
            .await
            .unwrap();
        monitor.start().await.unwrap();
        let (mut reader, _writer) = monitor.split();

        let text = tokio::task::spawn_blocking(|| {
            loop {
                // Refused until nc listens.
                let mut stream = match TcpStream::connect((Ipv4Addr::LOCALHOST, 8080)) {
                    Ok(stream) => stream,
                    Err(_) => continue,
                };
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                return text;
            }
        });
        assert_eq!(text.await.unwrap(), "from inside\n");
        assert_eq!(drain(&mut reader).await.status.code, 0);
        assert_eq!(holders(&namespace), Vec::<String>::new());
        bridge.detach(place.address).unwrap();
        bridge.settle(Duration::from_secs(10)).unwrap();
        bridge.teardown().unwrap();
    });
}

//! A bridge in a network namespace of its own, with peers in others. Needs root.

#[path = "tests/addresses.rs"]
mod addresses;
#[path = "tests/ports.rs"]
mod ports;
#[path = "tests/world.rs"]
mod world;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use super::*;
use crate::ports::Protocol;
use world::{HOST, PEER, World, refused, silent, tcp_ask, udp_ask};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn mapping(host_ip: Ipv4Addr, host_port: u16, container_port: u16) -> PortMapping {
    PortMapping {
        host_ip: host_ip.into(),
        host_port,
        container_port,
        protocol: Protocol::Tcp,
    }
}

fn udp(host_port: u16, container_port: u16) -> PortMapping {
    PortMapping {
        protocol: Protocol::Udp,
        ..mapping(ANY, host_port, container_port)
    }
}

/// A process that another test forks holds our descriptors until it executes
/// its program, so a port may become free a moment late.
fn is_free(port: u16) -> bool {
    TcpListener::bind((ANY, port)).is_ok()
}

fn text(address: impl Into<IpAddr>) -> String {
    address.into().to_string()
}

#[test]
fn container_reaches_outside_with_the_hosts_address() {
    World::run(|world| {
        let bridge = world.bridge();
        let container = bridge.attach(None).unwrap();
        let _server = world.peer_server(8000);
        let answer = world.inside(&container.netns, || tcp_ask((PEER, 8000)));
        assert_eq!(answer.unwrap(), text(HOST), "masqueraded");
    });
}

#[test]
fn containers_reach_each_other_and_the_gateway() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let b = bridge.attach(None).unwrap();
        let _server = world.server(&b.netns, 80);
        let answer = world.inside(&a.netns, || tcp_ask((b.address, 80)));
        assert_eq!(answer.unwrap(), text(a.address));
        let _here = world::serve_tcp(SocketAddr::from((ANY, 81)));
        let answer = world.inside(&a.netns, || tcp_ask((a.gateway, 81)));
        assert_eq!(answer.unwrap(), text(a.address));
    });
}

#[test]
fn transit_traffic_is_not_translated() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let _server = world.server(&a.netns, 80);
        bridge
            .publish(a.address, &[mapping(ANY, 8000, 80)])
            .unwrap();
        // The container asks the same port of a foreign host.
        let _foreign = world.peer_server(8000);
        let answer = world.inside(&a.netns, || tcp_ask((PEER, 8000)));
        assert_eq!(answer.unwrap(), text(HOST), "answered by the peer");
    });
}

#[test]
fn container_cannot_use_a_foreign_address() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let _here = world::serve_tcp(SocketAddr::from((ANY, 81)));
        world.inside(&a.netns, || {
            assert!(tcp_ask((a.gateway, 81)).is_ok());
            world::ip(&[
                "address",
                "del",
                &format!("{}/16", a.address),
                "dev",
                "eth0",
            ]);
            world::ip(&["address", "add", "172.30.0.200/16", "dev", "eth0"]);
            assert!(silent((a.gateway, 81)));
        });
    });
}

#[test]
fn container_has_its_kernel_parameters() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        world.inside(&a.netns, || {
            let read = |path| crate::netns::read_sysctl(path).unwrap();
            assert_eq!(read("net/ipv6/conf/eth0/disable_ipv6"), "1");
            assert_eq!(read("net/ipv4/conf/eth0/accept_redirects"), "0");
            assert_eq!(read("net/ipv6/conf/lo/disable_ipv6"), "0");
            assert_eq!(read("net/ipv4/ip_unprivileged_port_start"), "0");
            assert_eq!(read("net/ipv4/ping_group_range"), "0\t2147483647");
        });
        let host = format!("net/ipv6/conf/{}/disable_ipv6", a.veth_host);
        assert_eq!(crate::netns::read_sysctl(&host).unwrap(), "1");
    });
}

/// CVE-2020-13401: what a container sends by IPv6 (router advertisements among
/// it) reaches nobody, even if it turns IPv6 on.
#[test]
fn no_ipv6_crosses_the_bridge() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let b = bridge.attach(None).unwrap();
        for (netns, address) in [(&a.netns, "fd00::a/64"), (&b.netns, "fd00::b/64")] {
            world.inside(netns, || {
                crate::netns::write_sysctl("net/ipv6/conf/eth0/disable_ipv6", "0").unwrap();
                world::ip(&["address", "add", address, "dev", "eth0", "nodad"]);
            });
        }
        let any: SocketAddr = "[::]:80".parse().unwrap();
        let _server = world.inside(&b.netns, || world::serve_tcp(any));
        let to: SocketAddr = "[fd00::b]:80".parse().unwrap();
        let reach = |netns| world.inside(netns, || silent(to));
        assert!(reach(&a.netns));
        assert!(!reach(&b.netns), "the server is there");
    });
}

#[test]
fn detach_leaves_no_link_rule_or_port() {
    World::run(|world| {
        let bridge = world.bridge_with(|cfg| cfg.pool = 0);
        let before = world.census();
        let a = bridge.attach(None).unwrap();
        bridge
            .publish(a.address, &[mapping(ANY, 8080, 80), mapping(HOST, 81, 80)])
            .unwrap();
        assert_ne!(world.census(), before);
        bridge.detach(a.address).unwrap();
        drop(a);
        bridge.settle(Duration::from_secs(5)).unwrap();
        assert_eq!(world.census(), before);
        assert_eq!(bridge.attached(), 0);
    });
}

#[test]
fn settle_removes_links_that_somebody_holds() {
    World::run(|world| {
        let bridge = world.bridge_with(|cfg| cfg.pool = 0);
        let before = world.census();
        let a = bridge.attach(None).unwrap();
        bridge.detach(a.address).unwrap();
        bridge.settle(Duration::ZERO).unwrap();
        assert_eq!(world.census(), before, "although its namespace lives");
        drop(a);
    });
}

#[test]
fn adopted_container_stays_reachable_and_strangers_are_swept() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let lost = bridge.attach(None).unwrap();
        let _server = world.server(&a.netns, 80);
        let ports = [mapping(ANY, 8080, 80)];
        bridge.publish(a.address, &ports).unwrap();
        bridge
            .publish(lost.address, &[mapping(ANY, 8081, 80)])
            .unwrap();
        let reached = || world.inside(&world.peer, || tcp_ask((HOST, 8080))).is_ok();
        drop(bridge);
        assert!(reached(), "without a daemon");

        let bridge = world.bridge();
        assert!(reached(), "before it is adopted");
        let new = bridge.attach(None).unwrap();
        assert_ne!(new.address, a.address);
        assert_ne!(new.address, lost.address);
        let taken = bridge.attach(Some(a.address));
        assert!(matches!(taken, Err(NetError::AddressInUse(_))));
        bridge.adopt(a.address, &a.veth_host, &ports).unwrap();
        bridge.reconcile().unwrap();
        bridge.settle(Duration::from_secs(5)).unwrap();
        assert!(reached(), "after adoption");
        assert!(world.inside(&world.peer, || refused((HOST, 8081))));
        assert!(!world::links().contains(&lost.veth_host));
        assert!(TcpListener::bind((ANY, 8080)).is_err(), "reserved again");
        bridge.detach(a.address).unwrap();
        assert!(world.inside(&world.peer, || refused((HOST, 8080))));
    });
}

#[test]
fn container_whose_namespace_is_gone_is_not_adopted() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let (address, veth) = (a.address, a.veth_host.clone());
        drop(a);
        drop(bridge);
        let bridge = world.bridge();
        world::until(|| !world::links().contains(&veth));
        assert!(matches!(
            bridge.adopt(address, &veth, &[]),
            Err(NetError::LinkGone(_))
        ));
    });
}

#[test]
fn teardown_leaves_nothing() {
    World::run(|world| {
        let before = world.census();
        let bridge = world.bridge();
        world::until(|| bridge.ready() == bridge.config().pool);
        let a = bridge.attach(None).unwrap();
        bridge
            .publish(a.address, &[mapping(ANY, 8080, 80)])
            .unwrap();
        assert!(!bridge.teardown_if_unused().unwrap());
        bridge.teardown().unwrap();
        assert_eq!(world.census(), before);
        assert!(matches!(bridge.attach(None), Err(NetError::Stopped)));
    });
}

#[test]
fn flushed_rules_come_back() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let _server = world.server(&a.netns, 80);
        bridge
            .publish(a.address, &[mapping(ANY, 8080, 80)])
            .unwrap();
        world::until(|| bridge.ready() == bridge.config().pool);
        let rules = world::nft(&["list", "ruleset"]);
        for command in [
            &["flush", "ruleset"][..],
            &["delete", "table", "bridge", "carrack0"],
            &["flush", "chain", "ip", "carrack0", "forward"],
            &["flush", "map", "ip", "carrack0", "open"],
            &["add", "rule", "ip", "carrack0", "incoming", "drop"],
        ] {
            world::nft(command);
            world::until(|| world::nft(&["list", "ruleset"]) == rules);
        }
        assert!(world.inside(&world.peer, || tcp_ask((HOST, 8080))).is_ok());
        // A table that is not ours stays as it is.
        world::nft(&["add", "table", "ip", "foreign"]);
        bridge.reconcile().unwrap();
        assert!(world::nft(&["list", "tables"]).contains("table ip foreign"));
    });
}

#[test]
fn instances_do_not_disturb_each_other() {
    World::run(|world| {
        let first = world.bridge();
        let second = world.bridge_with(|cfg| {
            // Too long for the names of its links, which then have a hash.
            cfg.name = "fifteen-letters".into();
            cfg.table = "other0".into();
            cfg.subnet = "172.31.0.0/24".parse().unwrap();
        });
        let a = first.attach(None).unwrap();
        let b = second.attach(None).unwrap();
        let _a = world.server(&a.netns, 80);
        let _b = world.server(&b.netns, 80);
        first.publish(a.address, &[mapping(ANY, 8080, 80)]).unwrap();
        assert!(
            second
                .publish(b.address, &[mapping(ANY, 8080, 80)])
                .unwrap_err()
                .is_port_in_use()
        );
        second
            .publish(b.address, &[mapping(ANY, 8090, 80)])
            .unwrap();
        let ask = |from, to| world.inside(from, move || tcp_ask(to)).is_ok();
        assert!(ask(&world.peer, (HOST, 8080)) && ask(&world.peer, (HOST, 8090)));
        assert!(ask(&a.netns, (HOST, 8090)), "published port of the other");
        assert!(world.inside(&a.netns, || silent((b.address, 80))));
        second.teardown().unwrap();
        assert!(ask(&world.peer, (HOST, 8080)));
    });
}

#[test]
fn setup_refuses_what_belongs_to_others() {
    World::run(|world| {
        let check = |change: fn(&mut BridgeConfig), expected: &str| {
            let mut cfg = world::config();
            change(&mut cfg);
            let error = world::setup(&cfg, |error| error.to_string() == expected);
            assert_eq!(error.unwrap_err().to_string(), expected);
        };
        check(
            |cfg| cfg.subnet = "10.9.0.0/16".parse().unwrap(),
            "subnet 10.9.0.0/16 overlaps 10.9.0.1/24 of another interface: choose another subnet",
        );
        check(
            |cfg| cfg.name = "out0".into(),
            "interface out0 exists and is not a bridge: remove it or choose another bridge name",
        );
        check(
            |cfg| cfg.name = "a-very-long-name".into(),
            "bridge name \"a-very-long-name\": use 1 to 15 letters, digits, - and _",
        );
        let bridge = world.bridge();
        check(
            |_| {},
            "bridge carrack0 is in use by another running instance: choose another bridge name",
        );
        drop(bridge);
        drop(world.bridge());
        check(
            |cfg| cfg.subnet = "172.29.0.0/16".parse().unwrap(),
            "bridge carrack0 has address 172.30.0.1/16, not the configured one: remove the bridge or restore the old subnet",
        );
    });
}

/// What nft(8) understands of our messages, word for word.
#[test]
fn rules_read_as_intended() {
    World::run(|world| {
        let bridge = world.bridge_with(|cfg| cfg.pool = 0);
        let a = bridge.attach(None).unwrap();
        bridge
            .publish(a.address, &[mapping(ANY, 8080, 80), mapping(HOST, 81, 80)])
            .unwrap();
        insta::assert_snapshot!(world::nft(&["list", "ruleset"]));
        let _ = world;
    });
}

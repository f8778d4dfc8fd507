//! A bridge in a network namespace of its own, with peers in others. Needs root.

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

/// Every way to a published port, and whose address the container sees.
fn check_published(bridge_nf: &str) {
    World::run(|world| {
        world::set_bridge_nf(bridge_nf);
        let bridge = world.bridge();
        let server = bridge.attach(None).unwrap();
        let other = bridge.attach(None).unwrap();
        let _tcp = world.server(&server.netns, 80);
        let _udp = world.udp_server(&server.netns, 53);
        let ports = [mapping(ANY, 8080, 80), udp(8053, 53)];
        assert_eq!(bridge.publish(server.address, &ports).unwrap(), ports);
        let gateway = server.gateway;

        let ways: [(&str, &OwnedFd, Ipv4Addr, Ipv4Addr); 6] = [
            ("outside", &world.peer, HOST, PEER),
            ("own address", &world.home, HOST, HOST),
            ("loopback", &world.home, Ipv4Addr::LOCALHOST, gateway),
            ("gateway", &world.home, gateway, gateway),
            ("itself", &server.netns, HOST, gateway),
            ("neighbour", &other.netns, HOST, gateway),
        ];
        for (way, from, to, seen) in ways {
            for _ in 0..3 {
                let answer = world.inside(from, || tcp_ask((to, 8080)));
                assert_eq!(answer.unwrap(), text(seen), "tcp from {way}");
                let answer = world.inside(from, || udp_ask((to, 8053)));
                assert_eq!(answer.unwrap(), text(seen), "udp from {way}");
            }
        }
        bridge.unpublish(server.address, &ports).unwrap();
        assert!(world.inside(&world.peer, || refused((HOST, 8080))));
        assert!(world.inside(&world.home, || refused((Ipv4Addr::LOCALHOST, 8080))));
    });
}

#[test]
fn published_port_is_reached_from_everywhere() {
    check_published("0");
}

#[test]
fn published_port_is_reached_from_everywhere_with_br_netfilter() {
    check_published("1");
}

#[test]
fn host_ip_binding_is_respected() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let _server = world.server(&a.netns, 80);
        let ports = [
            mapping(Ipv4Addr::LOCALHOST, 8081, 80),
            mapping(HOST, 8082, 80),
        ];
        bridge.publish(a.address, &ports).unwrap();
        let ask = |from, to| world.inside(from, move || tcp_ask(to)).is_ok();
        assert!(ask(&world.home, (Ipv4Addr::LOCALHOST, 8081)));
        assert!(world.inside(&world.peer, || refused((HOST, 8081))));
        assert!(ask(&world.peer, (HOST, 8082)));
        assert!(world.inside(&world.home, || refused((Ipv4Addr::LOCALHOST, 8082))));
    });
}

#[test]
fn loopback_port_is_not_reached_by_forged_packets() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let neighbour = bridge.attach(None).unwrap();
        let _server = world.server(&a.netns, 80);
        let ports = [mapping(Ipv4Addr::LOCALHOST, 8081, 80)];
        bridge.publish(a.address, &ports).unwrap();
        for (netns, link, via) in [
            (&world.peer, "out0", HOST),
            (&neighbour.netns, "eth0", a.gateway),
        ] {
            world.inside(netns, || {
                world::forge_loopback(link, via);
                assert!(silent((Ipv4Addr::LOCALHOST, 8081)), "through {link}");
            });
        }
    });
}

#[test]
fn unpublished_ports_are_closed_to_the_outside() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let _server = world.server(&a.netns, 80);
        bridge
            .publish(a.address, &[mapping(ANY, 8080, 80)])
            .unwrap();
        world.inside(&world.peer, || {
            world::ip(&["route", "add", "172.30.0.0/16", "via", &text(HOST)]);
            assert!(silent((a.address, 80)), "not through the published port");
        });
        assert!(world.inside(&world.peer, || tcp_ask((HOST, 8080)).is_ok()));
    });
}

/// The port leads elsewhere now; a client that keeps its own must notice.
#[test]
fn udp_client_follows_the_port_to_another_container() {
    World::run(|world| {
        let bridge = world.bridge();
        let client = world.inside(&world.peer, || {
            let socket = UdpSocket::bind((ANY, 0)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            socket.connect((HOST, 8053)).unwrap();
            socket
        });
        let other = world.inside(&world.peer, || {
            let socket = UdpSocket::bind((ANY, 0)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            socket.connect((HOST, 9053)).unwrap();
            socket
        });
        let ask = |socket: &UdpSocket| {
            socket.send(b"?")?;
            socket.recv(&mut [0; 64])
        };
        // Nobody is there yet: the host refuses, and tracks the connection.
        assert!(ask(&client).is_err());
        let mut keep = Vec::new();
        for _ in 0..2 {
            let a = bridge.attach(None).unwrap();
            let server = world.udp_server(&a.netns, 53);
            let bound = PortMapping {
                host_ip: HOST.into(),
                ..udp(9053, 53)
            };
            let ports = bridge.publish(a.address, &[udp(8053, 53), bound]).unwrap();
            ask(&client).unwrap();
            ask(&other).unwrap();
            drop(server);
            bridge.unpublish(a.address, &ports).unwrap();
            keep.push(a);
        }
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
fn taken_port_is_refused_with_dockers_text() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let b = bridge.attach(None).unwrap();
        let process = TcpListener::bind((ANY, 8080)).unwrap();
        let error = bridge
            .publish(a.address, &[mapping(ANY, 8080, 80)])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Bind for 0.0.0.0:8080 failed: port is already allocated"
        );
        assert!(error.is_port_in_use());
        drop(process);
        world::until(|| is_free(8080));
        bridge
            .publish(a.address, &[mapping(ANY, 8080, 80)])
            .unwrap();
        // By another container, also on one address only; and all or nothing.
        let wanted = [mapping(ANY, 8090, 80), mapping(HOST, 8080, 80)];
        assert!(
            bridge
                .publish(b.address, &wanted)
                .unwrap_err()
                .is_port_in_use()
        );
        world::until(|| is_free(8090));
        // By a process, while published.
        assert!(TcpListener::bind((ANY, 8080)).is_err());
        assert!(UdpSocket::bind((ANY, 8080)).is_ok());
        bridge.detach(a.address).unwrap();
        world::until(|| is_free(8080));
        let _ = world;
    });
}

#[test]
fn impossible_ports_are_refused() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let check = |mapping: PortMapping, expected: &str| {
            let error = bridge.publish(a.address, &[mapping]).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(
            mapping(Ipv4Addr::new(192, 0, 2, 1), 80, 80),
            "cannot publish on 192.0.2.1: the host has no such address",
        );
        check(
            mapping(ANY, 80, 0),
            "cannot publish container port 0: give a port from 1 to 65535",
        );
        let v6 = PortMapping {
            host_ip: std::net::Ipv6Addr::LOCALHOST.into(),
            ..mapping(ANY, 80, 80)
        };
        check(
            v6,
            "cannot publish on ::1: this network is IPv4 only, give an IPv4 address of the host",
        );
        let nobody = Ipv4Addr::new(172, 30, 9, 9);
        assert!(matches!(
            bridge.publish(nobody, &[mapping(ANY, 80, 80)]),
            Err(NetError::NotAttached(_))
        ));
        let _ = world;
    });
}

#[test]
fn host_picks_a_free_port() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let _server = world.server(&a.netns, 80);
        let ports = bridge
            .publish(a.address, &[mapping(ANY, 0, 80), mapping(ANY, 0, 80)])
            .unwrap();
        assert_ne!(ports[0].host_port, ports[1].host_port);
        for port in ports {
            let to = (HOST, port.host_port);
            assert!(world.inside(&world.peer, || tcp_ask(to)).is_ok());
        }
    });
}

#[test]
fn two_thousand_ports_go_in_one_transaction() {
    World::run(|world| {
        let bridge = world.bridge();
        let a = bridge.attach(None).unwrap();
        let ports: Vec<_> = (20_000..22_000).map(|p| mapping(ANY, p, p)).collect();
        bridge.publish(a.address, &ports).unwrap();
        assert_eq!(world::count_in_rules("172.30.0."), 2_000);
        bridge.detach(a.address).unwrap();
        drop(a);
        bridge.settle(Duration::from_secs(5)).unwrap();
        assert_eq!(world::count_in_rules("172.30.0."), 0);
        let _ = world;
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
fn a_hundred_attach_at_once() {
    World::run(|world| {
        let bridge = world.bridge();
        let attachments: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..100)
                .map(|_| scope.spawn(|| bridge.attach(None).unwrap()))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let mut addresses: Vec<_> = attachments.iter().map(|a| a.address).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 100);
        let _server = world.server(&attachments[0].netns, 80);
        for attachment in &attachments[1..] {
            let to = (attachments[0].address, 80);
            assert!(world.inside(&attachment.netns, || tcp_ask(to)).is_ok());
        }
        world::until(|| bridge.ready() == bridge.config().pool);
        for address in addresses {
            bridge.detach(address).unwrap();
        }
        drop(attachments);
        bridge.settle(Duration::from_secs(10)).unwrap();
        assert_eq!(bridge.attached(), 0);
    });
}

/// More containers than addresses, from many threads: everybody is served in
/// the end or told why not, and nothing is left.
#[test]
fn crowd_on_a_small_subnet_leaves_nothing() {
    World::run(|world| {
        let bridge = world.bridge_with(|cfg| {
            cfg.subnet = "172.30.0.0/28".parse().unwrap();
            cfg.pool = 3;
        });
        let visit = |visitor: u8, round: u8| {
            let wanted = Ipv4Addr::new(172, 30, 0, 2 + (visitor + round) % 13);
            let want = (round.is_multiple_of(4)).then_some(wanted);
            let attachment = match bridge.attach(want) {
                Ok(attachment) => attachment,
                Err(NetError::AddressInUse(_) | NetError::Pool(_)) => return,
                Err(error) => panic!("{error}"),
            };
            assert!(want.is_none_or(|address| address == attachment.address));
            let ports = [mapping(ANY, 0, 80), udp(0, 53)];
            let ports = bridge.publish(attachment.address, &ports).unwrap();
            bridge.unpublish(attachment.address, &ports[..1]).unwrap();
            bridge.detach(attachment.address).unwrap();
        };
        std::thread::scope(|scope| {
            for visitor in 0..12 {
                let visit = &visit;
                scope.spawn(move || (0..12).for_each(|round| visit(visitor, round)));
            }
        });
        assert_eq!(bridge.attached(), 0);
        bridge.settle(Duration::from_secs(10)).unwrap();
        world::until(|| bridge.ready() == bridge.config().pool);
        let ports = world::nft(&["list", "map", "ip", "carrack0", "open"]);
        assert!(!ports.contains("elements"), "{ports}");
        bridge.teardown().unwrap();
        assert_eq!(world.census().0, ["lo", "out0"]);
    });
}

#[test]
fn wanted_address_is_given_or_refused() {
    World::run(|world| {
        let bridge = world.bridge();
        let address = Ipv4Addr::new(172, 30, 4, 5);
        let a = bridge.attach(Some(address)).unwrap();
        assert_eq!((a.address, a.veth_host.as_str()), (address, "carrack0.405"));
        assert_eq!(a.mac.to_string(), "02:42:ac:1e:04:05");
        assert!(matches!(
            bridge.attach(Some(address)),
            Err(NetError::AddressInUse(_))
        ));
        // One that waits in the pool.
        world::until(|| bridge.ready() > 0);
        let pooled = Ipv4Addr::new(172, 30, 0, 2);
        assert_eq!(bridge.attach(Some(pooled)).unwrap().address, pooled);
        for bad in [[172, 30, 0, 1], [172, 30, 255, 255], [10, 0, 0, 1]] {
            assert!(matches!(
                bridge.attach(Some(bad.into())),
                Err(NetError::AddressOutside { .. })
            ));
        }
        // Again at once: it waits until the old link is gone.
        bridge.detach(address).unwrap();
        drop(a);
        assert_eq!(bridge.attach(Some(address)).unwrap().address, address);
        let _ = world;
    });
}

#[test]
fn full_subnet_is_refused_until_an_address_is_free() {
    World::run(|world| {
        let bridge = world.bridge_with(|cfg| cfg.subnet = "172.30.0.0/29".parse().unwrap());
        let mut all: Vec<_> = (0..5).map(|_| bridge.attach(None).unwrap()).collect();
        let error = bridge.attach(None).unwrap_err();
        assert_eq!(error.to_string(), "make network namespace");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            source,
            "no free address left in 172.30.0.0/29: remove containers or use a larger subnet"
        );
        let first = all.remove(0);
        let address = first.address;
        bridge.detach(address).unwrap();
        drop(first);
        assert_eq!(bridge.attach(None).unwrap().address, address);
        let _ = world;
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
            assert_eq!(Bridge::setup(cfg).unwrap_err().to_string(), expected);
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

//! Published ports.

use super::*;

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

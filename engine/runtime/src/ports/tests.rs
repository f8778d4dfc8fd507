use std::net::{TcpListener, UdpSocket};

use super::*;

fn mapping(host_port: u16, protocol: Protocol) -> PortMapping {
    PortMapping {
        host_ip: Ipv4Addr::LOCALHOST.into(),
        host_port,
        container_port: 80,
        protocol,
    }
}

#[test]
fn reservation_keeps_the_port_from_others() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let held = Reservation::take(mapping(0, protocol)).unwrap();
        let port = held.mapping.host_port;
        assert_ne!(port, 0);
        let again = Reservation::take(mapping(port, protocol)).unwrap_err();
        assert_eq!(
            again.to_string(),
            format!("Bind for 127.0.0.1:{port} failed: port is already allocated")
        );
        let address = (Ipv4Addr::LOCALHOST, port);
        match protocol {
            Protocol::Tcp => assert!(TcpListener::bind(address).is_err()),
            Protocol::Udp => assert!(UdpSocket::bind(address).is_err()),
        }
    }
}

#[test]
fn the_two_protocols_have_ports_of_their_own() {
    let held = Reservation::take(mapping(0, Protocol::Tcp)).unwrap();
    Reservation::take(mapping(held.mapping.host_port, Protocol::Udp)).unwrap();
}

/// A server that was just stopped leaves connections behind.
#[test]
fn port_with_finished_connections_can_be_taken() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = server.local_addr().unwrap();
    let client = std::net::TcpStream::connect(address).unwrap();
    let (accepted, _) = server.accept().unwrap();
    // The side that closes first keeps the port in TIME_WAIT.
    drop(accepted);
    drop(client);
    drop(server);
    let held = Reservation::take(mapping(address.port(), Protocol::Tcp)).unwrap();
    assert_eq!(held.mapping.host_port, address.port());
    assert!(Reservation::take(mapping(address.port(), Protocol::Tcp)).is_err());
}

#[test]
fn running_containers_port_is_renewed_even_if_taken() {
    let held = Reservation::take(mapping(0, Protocol::Tcp)).unwrap();
    let renewed = Reservation::renew(held.mapping).unwrap();
    assert_eq!(renewed.mapping, held.mapping);
}

#[test]
fn mapping_is_stored_in_plain_words() {
    let text = serde_json::to_string(&mapping(8080, Protocol::Udp)).unwrap();
    assert_eq!(
        text,
        r#"{"host_ip":"127.0.0.1","host_port":8080,"container_port":80,"protocol":"udp"}"#
    );
    let back: PortMapping = serde_json::from_str(&text).unwrap();
    assert_eq!(back, mapping(8080, Protocol::Udp));
}

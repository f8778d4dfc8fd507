use engine_api::PortBinding;
use proptest::prelude::*;

use super::*;

fn check(port: &str, ip: &str, host: &str, expected: &str) {
    let config = HostConfig {
        port_bindings: [(
            port.to_owned(),
            Some(vec![PortBinding {
                host_ip: ip.to_owned(),
                host_port: host.to_owned(),
            }]),
        )]
        .into(),
        ..Default::default()
    };
    let got = match plan(&ContainerConfig::default(), &config) {
        Ok(plan) => {
            let p = &plan.published[0];
            format!("{:?} {:?} -> {}", p.host_ip, p.host_ports, p.port)
        }
        Err(error) => format!("error: {error}"),
    };
    assert_eq!(got, expected);
}

#[test]
fn bindings_parse() {
    check("80/tcp", "", "8080", "None (8080, 8080) -> 80/tcp");
    check("80", "0.0.0.0", "", "None (0, 0) -> 80/tcp");
    check(
        "53/UDP",
        "127.0.0.1",
        "53",
        "Some(127.0.0.1) (53, 53) -> 53/udp",
    );
    check("80/tcp", "", "8000-8010", "None (8000, 8010) -> 80/tcp");
    check(
        "80/tcp",
        "",
        "8010-8000",
        "error: invalid port specification: \"8010-8000\"",
    );
    check(
        "0/tcp",
        "",
        "",
        "error: invalid port specification: \"0/tcp\"",
    );
    check(
        "70000/tcp",
        "",
        "",
        "error: invalid port specification: \"70000/tcp\"",
    );
    check("80/icmp", "", "", "error: invalid proto: icmp");
    check(
        "80/sctp",
        "",
        "",
        "error: port 80/sctp: publishing SCTP is not supported by Carrack yet",
    );
    check(
        "80/tcp",
        "localhost",
        "",
        "error: invalid IP address: localhost",
    );
}

#[test]
fn publish_all_takes_what_is_exposed_and_not_bound() {
    let config = ContainerConfig {
        exposed_ports: [
            ("80/tcp".to_owned(), serde_json::json!({})),
            ("81/tcp".to_owned(), serde_json::json!({})),
        ]
        .into(),
        ..Default::default()
    };
    let host = HostConfig {
        publish_all_ports: true,
        port_bindings: [("80/tcp".to_owned(), None)].into(),
        ..Default::default()
    };
    let ports: Vec<String> = plan(&config, &host)
        .unwrap()
        .published
        .iter()
        .map(|p| p.port.to_string())
        .collect();
    assert_eq!(ports, ["80/tcp", "81/tcp"]);
}

proptest! {
    #[test]
    fn hostile_ports_never_panic(text in "\\PC{0,20}") {
        let _ = parse_port(&text);
        let _ = parse_range(&text);
        let _ = parse_address(&text);
    }
}

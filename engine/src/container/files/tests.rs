use super::*;

fn files(host: &HostConfig) -> NameFiles<'_> {
    NameFiles {
        hostname: "web",
        domainname: "",
        address: Some(Ipv4Addr::new(172, 30, 0, 5)),
        gateway: Some(Ipv4Addr::new(172, 30, 0, 1)),
        host,
        host_network: false,
    }
}

fn check_resolv(host: &HostConfig, from: &str, expected: &str) {
    assert_eq!(files(host).resolv_conf(from), expected);
}

#[test]
fn resolv_conf_follows_the_host_without_its_loopback() {
    let plain = HostConfig::default();
    check_resolv(
        &plain,
        "nameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch a b\noptions ndots:2\n# nameserver 1.1.1.1\n",
        "nameserver 10.0.0.2\nsearch a b\noptions ndots:2\n",
    );
    check_resolv(
        &plain,
        "nameserver 127.0.0.53\n",
        "nameserver 8.8.8.8\nnameserver 8.8.4.4\n",
    );
    let own = HostConfig {
        dns: vec!["9.9.9.9".into()],
        dns_search: vec![".".into()],
        ..Default::default()
    };
    check_resolv(
        &own,
        "nameserver 10.0.0.2\nsearch a\n",
        "nameserver 9.9.9.9\n",
    );
}

#[test]
fn hosts_name_the_container_and_extra_hosts() {
    let host = HostConfig {
        extra_hosts: Some(vec![
            "db:10.1.1.1".into(),
            "up:host-gateway".into(),
            "six:[::2]".into(),
        ]),
        ..Default::default()
    };
    let text = files(&host).hosts(None);
    assert!(text.starts_with("127.0.0.1\tlocalhost\n"), "{text}");
    assert!(
        text.ends_with("10.1.1.1\tdb\n172.30.0.1\tup\n::2\tsix\n172.30.0.5\tweb\n"),
        "{text}"
    );
}

#[test]
fn entries_that_would_add_lines_are_refused() {
    let bad = |host: HostConfig| check(&host).unwrap_err().to_string();
    let entry = |text: &str| HostConfig {
        extra_hosts: Some(vec![text.to_owned()]),
        ..Default::default()
    };
    assert_eq!(
        bad(entry("a\nb:1.1.1.1")),
        "bad format for add-host: \"a\nb:1.1.1.1\""
    );
    assert_eq!(
        bad(entry("a:1.1.1.1\n2.2.2.2 c")),
        "bad format for add-host: \"a:1.1.1.1\n2.2.2.2 c\""
    );
    let dns = HostConfig {
        dns: vec!["x\ny".into()],
        ..Default::default()
    };
    assert!(bad(dns).starts_with("invalid DNS server address"));
    assert!(check(&entry("a:host-gateway")).is_ok());
}

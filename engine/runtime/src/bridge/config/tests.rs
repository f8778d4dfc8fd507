use super::*;

fn config(name: &str, subnet: &str) -> BridgeConfig {
    BridgeConfig::new(name, subnet.parse().unwrap())
}

#[test]
fn subnet_is_parsed_or_refused() {
    let check = |text: &str, expected: &str| match text.parse::<Subnet>() {
        Ok(subnet) => assert_eq!(subnet.to_string(), expected),
        Err(error) => assert_eq!(error.to_string(), expected),
    };
    check("172.30.0.0/16", "172.30.0.0/16");
    check("10.0.0.0/8", "10.0.0.0/8");
    check(
        "172.30.0.1/16",
        "subnet 172.30.0.1/16 has host bits set: write 172.30.0.0/16",
    );
    for prefix in [0, 7, 30, 32, 200] {
        check(
            &format!("10.0.0.0/{prefix}"),
            &format!("subnet 10.0.0.0/{prefix}: the prefix must be from 8 to 29"),
        );
    }
    for text in [
        "",
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0/8",
        "fd00::/64",
        "10.0.0.0/-1",
    ] {
        check(
            text,
            &format!("{text:?} is not a subnet like 172.30.0.0/16"),
        );
    }
}

#[test]
fn hosts_are_those_between_gateway_and_broadcast() {
    let subnet: Subnet = "10.1.2.0/29".parse().unwrap();
    let hosts: Vec<_> = (0..=255)
        .filter(|last| subnet.is_host(Ipv4Addr::new(10, 1, 2, *last)))
        .collect();
    assert_eq!(hosts, [2, 3, 4, 5, 6]);
    assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 1, 2, 1));
    assert!(!subnet.is_host(Ipv4Addr::new(10, 1, 3, 2)));
}

#[test]
fn overlap_is_seen_from_both_sides() {
    let subnet: Subnet = "172.30.0.0/16".parse().unwrap();
    let check = |address: [u8; 4], prefix_len, expected| {
        assert_eq!(subnet.overlaps(address.into(), prefix_len), expected);
    };
    check([172, 30, 5, 1], 24, true);
    check([172, 16, 0, 1], 12, true);
    check([172, 31, 0, 1], 16, false);
    check([10, 0, 0, 1], 8, false);
    check([10, 0, 0, 1], 0, true);
    check([172, 30, 1, 1], 32, true);
}

#[test]
fn veth_names_lead_back_to_their_address() {
    let cfg = config("carrack0", "172.30.0.0/16");
    let address = Ipv4Addr::new(172, 30, 255, 254);
    assert_eq!(cfg.veth_name(address), "carrack0.fffe");
    assert_eq!(cfg.address_of("carrack0.fffe"), Some(address));
    let foreign = [
        "carrack0",
        "carrack0.",
        "carrack0.0",
        "carrack0.1",
        "carrack0.ffff",
        "carrack0.02",
        "carrack0.+2",
        "carrack0.FFFE",
        "carrack00.2",
        "carrack.2",
        "carrack0.10002",
    ];
    for name in foreign {
        assert_eq!(cfg.address_of(name), None, "{name}");
    }
}

#[test]
fn long_bridge_names_give_links_a_hash() {
    let check = |name: &str, subnet: &str, expected: &str| {
        let cfg = config(name, subnet);
        let address = Ipv4Addr::from(u32::from(cfg.subnet.network()) + 5);
        assert_eq!(cfg.veth_name(address), expected);
        assert_eq!(cfg.address_of(expected), Some(address));
    };
    check("carrack0", "10.0.0.0/8", "carrack0.5");
    check("carrack01", "10.0.0.0/8", "va53f33.5");
    check("carrack02", "10.0.0.0/8", "va53a67.5");
    check("carrack0123", "10.0.0.0/24", "carrack0123.5");
    check("fifteen-letters", "10.0.0.0/24", "vf1fcb6.5");
}

#[test]
fn names_that_the_kernel_would_cut_are_refused() {
    let valid = |name: &str| config(name, "10.0.0.0/24").validate().is_ok();
    assert!(valid("carrack0") && valid("fifteen-letters") && valid("a-b_c"));
    for name in ["", "sixteen-letters-", "a/b", "a b", "a.b", "ä", "a\n"] {
        assert!(!valid(name), "{name:?}");
    }
}

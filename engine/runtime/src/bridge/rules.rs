//! The rules of a bridge: which packets it translates, lets pass and drops.
//!
//! In nft's language (`B` the bridge, `S` its subnet):
//!
//! ```text
//! table ip B {
//!   map open  { type inet_proto . inet_service : ipv4_addr . inet_service; }
//!   map bound { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
//!   chain guard { type filter hook prerouting priority raw;
//!     iifname != "lo" ip daddr 127.0.0.0/8 drop
//!     iifname != "lo" ip saddr 127.0.0.0/8 drop }
//!   chain incoming { type nat hook prerouting priority dstnat;
//!     fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @bound
//!     fib daddr type local dnat ip to meta l4proto . th dport map @open }
//!   chain local { type nat hook output priority -100; the same two rules }
//!   chain outgoing { type nat hook postrouting priority srcnat;
//!     ip saddr S oifname != "B" masquerade
//!     ip saddr S oifname "B" ct status dnat masquerade
//!     ip saddr 127.0.0.0/8 oifname "B" masquerade }
//!   chain forward { type filter hook forward priority filter;
//!     oifname "B" ct state established,related accept
//!     oifname "B" iifname "B" accept
//!     oifname "B" ct status dnat accept
//!     oifname "B" drop }
//! }
//! table bridge B {
//!   set peers { type ifname . ether_addr . ipv4_addr; }
//!   chain ingress { type filter hook prerouting priority -300;
//!     iifname != "B.*" accept
//!     ether type ip iifname . ether saddr . ip saddr @peers accept
//!     ether type arp iifname . arp saddr ether . arp saddr ip @peers accept
//!     drop }
//! }
//! ```
//!
//! `guard` runs before translation: route_localnet is on for the bridge (so
//! that 127.0.0.1 can be translated), and without it a neighbour's packet to
//! 127.0.0.1 would be translated before the kernel sees that it is martian.
//! Only addresses of the host are translated, so transit traffic is untouched
//! (CVE-2025-67499). The source address changes only where the answer would
//! not find back: hairpin, and loopback. `ingress` keeps a container to its
//! own addresses (CVE-2020-10749) and lets no IPv6 through.

use std::net::Ipv4Addr;

use super::{BridgeConfig, MacAddress, Subnet};
use crate::{
    nft::{
        Batch, Chain, ChainKind, DataType, Element, Expression, Family, Hook, Operator,
        PayloadBase, Register, Set, meta,
    },
    ports::Protocol,
};

/// Ports published on every address of the host.
pub(super) const OPEN: Set = Set {
    name: "open",
    id: 1,
    key: &[DataType::Protocol, DataType::Service],
    data: &[DataType::Ipv4Address, DataType::Service],
};
/// Ports published on one address of the host.
pub(super) const BOUND: Set = Set {
    name: "bound",
    id: 2,
    key: &[DataType::Ipv4Address, DataType::Protocol, DataType::Service],
    data: &[DataType::Ipv4Address, DataType::Service],
};
/// Which addresses may be used behind which link.
pub(super) const PEERS: Set = Set {
    name: "peers",
    id: 3,
    key: &[
        DataType::InterfaceName,
        DataType::EtherAddress,
        DataType::Ipv4Address,
    ],
    data: &[],
};

const GUARD: Chain = chain("guard", ChainKind::Filter, Hook::Prerouting, -300);
const INCOMING: Chain = chain("incoming", ChainKind::Nat, Hook::Prerouting, -100);
const LOCAL: Chain = chain("local", ChainKind::Nat, Hook::Output, -100);
const OUTGOING: Chain = chain("outgoing", ChainKind::Nat, Hook::Postrouting, 100);
const FORWARD: Chain = chain("forward", ChainKind::Filter, Hook::Forward, 0);
const INGRESS: Chain = chain("ingress", ChainKind::Filter, Hook::Prerouting, -300);

const R0: Register = Register(0);
/// `RTN_LOCAL`, rtnetlink(7).
const ROUTE_LOCAL: u32 = 2;
/// `IPS_DST_NAT`.
const STATUS_DNAT: u32 = 1 << 5;
/// `NF_CT_STATE_BIT` of established and related.
const STATE_KNOWN: u32 = 0b110;

const fn chain(name: &'static str, kind: ChainKind, hook: Hook, priority: i32) -> Chain {
    Chain {
        name,
        kind,
        hook,
        priority,
    }
}

/// A port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Port {
    /// Unspecified: any address of the host.
    pub(super) host_ip: Ipv4Addr,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

impl Port {
    pub(super) fn set(&self) -> &'static str {
        if self.host_ip.is_unspecified() {
            OPEN.name
        } else {
            BOUND.name
        }
    }

    /// The map element that sends the port to a container.
    pub(super) fn element(&self, address: Ipv4Addr, port: u16) -> Element {
        let mut key = Vec::with_capacity(12);
        if !self.host_ip.is_unspecified() {
            key.extend_from_slice(&self.host_ip.octets());
        }
        key.extend_from_slice(&[self.protocol.number(), 0, 0, 0]);
        key.extend_from_slice(&padded_port(self.port));
        let mut data = address.octets().to_vec();
        data.extend_from_slice(&padded_port(port));
        Element { key, data }
    }
}

fn padded_port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// The element that lets a container use its addresses.
pub(super) fn peer_element(veth: &str, mac: MacAddress, address: Ipv4Addr) -> Element {
    let mut key = interface_name(veth).to_vec();
    key.extend_from_slice(&mac.0);
    key.extend_from_slice(&[0, 0]);
    key.extend_from_slice(&address.octets());
    Element {
        key,
        data: Vec::new(),
    }
}

/// Interface names are compared with all 16 bytes of their buffer.
fn interface_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// Adds the ip table, empty of elements.
pub(super) fn add_translation(batch: &mut Batch, cfg: &BridgeConfig) {
    let (family, table) = (Family::Ipv4, cfg.table.as_str());
    batch.add_table(family, table);
    for chain in [GUARD, INCOMING, LOCAL, OUTGOING, FORWARD] {
        batch.add_chain(family, table, &chain);
    }
    batch.add_set(family, table, &OPEN);
    batch.add_set(family, table, &BOUND);
    let mut rule = |chain: Chain, parts: &[Vec<Expression>]| {
        batch.add_rule(family, table, chain.name, &parts.concat());
    };

    let not_loopback = || input(Operator::NotEqual, "lo");
    rule(
        GUARD,
        &[not_loopback(), loopback(16), vec![Expression::Drop]],
    );
    rule(
        GUARD,
        &[not_loopback(), loopback(12), vec![Expression::Drop]],
    );
    for chain in [INCOMING, LOCAL] {
        rule(chain, &[local_destination(), translate_bound()]);
        rule(chain, &[local_destination(), translate_open()]);
    }

    let to_bridge = |operator| output(operator, &cfg.name);
    let from_subnet = || source(cfg.subnet);
    let masquerade = || vec![Expression::Masquerade];
    rule(
        OUTGOING,
        &[from_subnet(), to_bridge(Operator::NotEqual), masquerade()],
    );
    rule(
        OUTGOING,
        &[
            from_subnet(),
            to_bridge(Operator::Equal),
            translated(),
            masquerade(),
        ],
    );
    rule(
        OUTGOING,
        &[loopback(12), to_bridge(Operator::Equal), masquerade()],
    );

    let accept = || vec![Expression::Accept];
    let to_bridge = || to_bridge(Operator::Equal);
    rule(FORWARD, &[to_bridge(), known_connection(), accept()]);
    rule(
        FORWARD,
        &[to_bridge(), input(Operator::Equal, &cfg.name), accept()],
    );
    rule(FORWARD, &[to_bridge(), translated(), accept()]);
    rule(FORWARD, &[to_bridge(), vec![Expression::Drop]]);
}

/// Adds the bridge table, empty of elements.
pub(super) fn add_ingress(batch: &mut Batch, cfg: &BridgeConfig) {
    let (family, table) = (Family::Bridge, cfg.table.as_str());
    batch.add_table(family, table);
    batch.add_chain(family, table, &INGRESS);
    batch.add_set(family, table, &PEERS);
    let mut rule = |parts: &[Vec<Expression>]| {
        batch.add_rule(family, table, INGRESS.name, &parts.concat());
    };
    // A value shorter than the register compares its beginning only.
    rule(&[
        vec![
            Expression::Meta {
                key: meta::INPUT_NAME,
                into: R0,
            },
            Expression::Compare {
                operator: Operator::NotEqual,
                register: R0,
                value: cfg.veth_prefix().into_bytes(),
            },
        ],
        vec![Expression::Accept],
    ]);
    rule(&[
        ether_type(0x0800),
        // Ethernet source; source of the IPv4 header.
        known_peer((PayloadBase::Link, 6), (PayloadBase::Network, 12)),
    ]);
    rule(&[
        ether_type(0x0806),
        // Sender hardware and protocol address (RFC 826).
        known_peer((PayloadBase::Network, 8), (PayloadBase::Network, 14)),
    ]);
    rule(&[vec![Expression::Drop]]);
}

fn input(operator: Operator, name: &str) -> Vec<Expression> {
    interface(meta::INPUT_NAME, operator, name)
}

fn output(operator: Operator, name: &str) -> Vec<Expression> {
    interface(meta::OUTPUT_NAME, operator, name)
}

fn interface(key: u32, operator: Operator, name: &str) -> Vec<Expression> {
    vec![
        Expression::Meta { key, into: R0 },
        Expression::Compare {
            operator,
            register: R0,
            value: interface_name(name).to_vec(),
        },
    ]
}

/// Matches 127.0.0.0/8 at an offset of the IPv4 header: 12 source, 16 destination.
fn loopback(offset: u32) -> Vec<Expression> {
    vec![
        payload(PayloadBase::Network, offset, 1, R0),
        equal(vec![127]),
    ]
}

fn source(subnet: Subnet) -> Vec<Expression> {
    vec![
        payload(PayloadBase::Network, 12, 4, R0),
        Expression::Mask {
            register: R0,
            mask: subnet.mask().to_be_bytes().to_vec(),
        },
        equal(subnet.network().octets().to_vec()),
    ]
}

fn local_destination() -> Vec<Expression> {
    vec![
        Expression::DestinationType { into: R0 },
        equal(ROUTE_LOCAL.to_ne_bytes().to_vec()),
    ]
}

fn translate_bound() -> Vec<Expression> {
    vec![
        payload(PayloadBase::Network, 16, 4, R0),
        l4_protocol(Register(1)),
        payload(PayloadBase::Transport, 2, 2, Register(2)),
        lookup(BOUND.name),
        translate(),
    ]
}

fn translate_open() -> Vec<Expression> {
    vec![
        l4_protocol(R0),
        payload(PayloadBase::Transport, 2, 2, Register(1)),
        lookup(OPEN.name),
        translate(),
    ]
}

fn l4_protocol(into: Register) -> Expression {
    Expression::Meta {
        key: meta::L4_PROTOCOL,
        into,
    }
}

fn lookup(set: &'static str) -> Expression {
    Expression::Lookup {
        set,
        key: R0,
        into: Some(R0),
    }
}

fn translate() -> Expression {
    Expression::DestinationNat {
        address: R0,
        port: Register(1),
    }
}

fn translated() -> Vec<Expression> {
    any_bit(Expression::ConnectionStatus { into: R0 }, STATUS_DNAT)
}

fn known_connection() -> Vec<Expression> {
    any_bit(Expression::ConnectionState { into: R0 }, STATE_KNOWN)
}

fn any_bit(load: Expression, bits: u32) -> Vec<Expression> {
    vec![
        load,
        Expression::Mask {
            register: R0,
            mask: bits.to_ne_bytes().to_vec(),
        },
        Expression::Compare {
            operator: Operator::NotEqual,
            register: R0,
            value: vec![0; 4],
        },
    ]
}

fn ether_type(number: u16) -> Vec<Expression> {
    vec![
        payload(PayloadBase::Link, 12, 2, R0),
        equal(number.to_be_bytes().to_vec()),
    ]
}

fn known_peer(mac: (PayloadBase, u32), address: (PayloadBase, u32)) -> Vec<Expression> {
    vec![
        Expression::Meta {
            key: meta::INPUT_NAME,
            into: R0,
        },
        payload(mac.0, mac.1, 6, Register(4)),
        payload(address.0, address.1, 4, Register(6)),
        Expression::Lookup {
            set: PEERS.name,
            key: R0,
            into: None,
        },
        Expression::Accept,
    ]
}

fn payload(base: PayloadBase, offset: u32, length: u32, into: Register) -> Expression {
    Expression::Payload {
        base,
        offset,
        length,
        into,
    }
}

fn equal(value: Vec<u8>) -> Expression {
    Expression::Compare {
        operator: Operator::Equal,
        register: R0,
        value,
    }
}

//! nf_tables over netlink: transactions of tables, chains, rules, maps and
//! elements, and reading them back.
//!
//! Owner of no state; the kernel's rule set is. Every change is one
//! transaction: after a crash either all of it is there or none.
//!
//! Source: `linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h`; the
//! encodings were compared with what nft(8) 1.0.6 sends for the same rules.

mod batch;
mod dump;
mod expression;

pub(crate) use batch::{Batch, Chain, ChainKind, DataType, Element, Hook, Set};
pub(crate) use dump::{Tables, table_of_event};
pub(crate) use expression::{Expression, Operator, PayloadBase, Register, meta};

/// Bit of the multicast group that announces changes (`NFNLGRP_NFTABLES` is group 7).
pub(crate) const EVENT_GROUP: u32 = 1 << 6;

/// Address family of a table (`NFPROTO_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    Ipv4 = 2,
    Bridge = 7,
}

/// Message type of nf_tables: subsystem 10 in the high byte.
const fn message_kind(operation: u8) -> u16 {
    (10 << 8) | operation as u16
}

/// `struct nfgenmsg`: family, version 0, resource id in network order.
const fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

#[cfg(test)]
#[path = "nft/tests.rs"]
mod tests;

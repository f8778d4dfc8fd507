//! Netlink without a helper program: a message encoder and decoder, a
//! request socket, and the few rtnetlink requests that a bridge needs.
//!
//! Owner of no state: a [`Socket`] belongs to the network namespace of the
//! thread that opened it, for good. The kernel handles a request before the
//! send returns, so a crash leaves either the whole effect of a message or
//! none of it.
//!
//! Source: netlink(7), rtnetlink(7), `linux/netlink.h`, `linux/rtnetlink.h`.

mod address;
mod attribute;
mod conntrack;
mod link;
mod message;
mod socket;

pub(crate) use address::Route;
pub(crate) use attribute::{Attributes, find, read_be_u32};
pub(crate) use conntrack::forget_udp;
pub(crate) use link::{Link, Veth};
pub(crate) use message::{DecodeError, Message, flags};
pub(crate) use socket::{NetlinkError, Protocol, Socket};

#[cfg(test)]
#[path = "netlink/tests.rs"]
mod tests;

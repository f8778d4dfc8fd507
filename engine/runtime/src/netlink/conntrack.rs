//! Forgetting connections.
//!
//! Address translation is decided once per connection. A UDP "connection" is
//! whatever comes from the same client port within minutes, so after a port
//! leads elsewhere, old clients would keep reaching the old container.
//!
//! Source: `linux/netfilter/nfnetlink_conntrack.h`.

use std::net::Ipv4Addr;

use super::{
    NetlinkError, Socket,
    message::{Message, flags},
};

/// Subsystem 1 in the high byte, `IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = (1 << 8) | 2;
const AF_INET: u8 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_DST: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// Which parts of the tuple must match (`CTA_FILTER_F_CTA_*`).
const MATCH_DESTINATION: u32 = 1 << 1;
const MATCH_PROTOCOL: u32 = 1 << 3;
const MATCH_DESTINATION_PORT: u32 = 1 << 5;
const UDP: u8 = 17;

/// Forgets all UDP connections to a port of one address, or of any when it is
/// unspecified.
///
/// # Errors
/// When the kernel has no connection tracking over netlink, among others.
pub(crate) fn forget_udp(
    socket: &mut Socket,
    address: Ipv4Addr,
    port: u16,
) -> Result<(), NetlinkError> {
    socket.request(vec![forget_message(address, port)])
}

pub(super) fn forget_message(address: Ipv4Addr, port: u16) -> Message {
    let mut message = Message::new(DELETE, flags::REQUEST, &[AF_INET, 0, 0, 0]);
    let mut matched = MATCH_PROTOCOL | MATCH_DESTINATION_PORT;
    message.nest(CTA_TUPLE_ORIG, |tuple| {
        if !address.is_unspecified() {
            matched |= MATCH_DESTINATION;
            tuple.nest(CTA_TUPLE_IP, |ip| ip.put(CTA_IP_V4_DST, &address.octets()));
        }
        tuple.nest(CTA_TUPLE_PROTO, |protocol| {
            protocol.put_u8(CTA_PROTO_NUM, UDP);
            protocol.put(CTA_PROTO_DST_PORT, &port.to_be_bytes());
        });
    });
    // Host byte order, unlike the rest.
    message.nest(CTA_FILTER, |filter| {
        filter.put_u32(CTA_FILTER_ORIG_FLAGS, matched);
        filter.put_u32(CTA_FILTER_REPLY_FLAGS, 0);
    });
    message
}

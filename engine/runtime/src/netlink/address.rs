//! Addresses and routes, and the rtnetlink socket that all of them share.

use std::net::Ipv4Addr;

use rustix::io::Errno;

use super::{
    NetlinkError, Protocol, Socket,
    attribute::{Attributes, find, read_u32},
    link::up,
    message::{Message, flags},
};

const AF_INET: u8 = 2;
/// Bytes of `struct ifaddrmsg`.
const IFADDR_BYTES: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_BOOT: u8 = 3;
const TYPE_UNICAST: u8 = 1;

/// rtnetlink of one network namespace.
#[derive(Debug)]
pub(crate) struct Route {
    pub(super) socket: Socket,
}

impl Route {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: Socket::open(Protocol::Route)?,
        })
    }

    /// Gives a link an address; one that is there already is no error.
    pub(crate) fn add_address(
        &mut self,
        link: u32,
        address: Ipv4Addr,
        prefix_len: u8,
    ) -> Result<(), NetlinkError> {
        let message = address_message(link, address, prefix_len);
        match self.socket.request(vec![message]) {
            Err(error) if error.errno() == Some(Errno::EXIST) => Ok(()),
            other => other,
        }
    }

    /// All IPv4 addresses of the namespace: link index, address, prefix length.
    pub(crate) fn addresses(&mut self) -> Result<Vec<(u32, Ipv4Addr, u8)>, NetlinkError> {
        let message = Message::new(
            libc::RTM_GETADDR,
            flags::REQUEST | flags::DUMP,
            &[AF_INET, 0, 0, 0, 0, 0, 0, 0],
        );
        let mut addresses = Vec::new();
        self.socket.dump(message, |_, payload| {
            let [family, prefix_len, ..] = *payload else {
                return Ok(());
            };
            let link = payload.get(4..8).and_then(read_u32);
            let address = find(Attributes::after(payload, IFADDR_BYTES), IFA_LOCAL)?;
            let address = address.and_then(|value| <[u8; 4]>::try_from(value).ok());
            if let (AF_INET, Some(link), Some(address)) = (family, link, address) {
                addresses.push((link, address.into(), prefix_len));
            }
            Ok(())
        })?;
        Ok(addresses)
    }

    /// Sets a link up, gives it an address and makes `gateway` the default
    /// route, in one exchange.
    pub(crate) fn configure(
        &mut self,
        link: u32,
        address: Ipv4Addr,
        prefix_len: u8,
        gateway: Ipv4Addr,
    ) -> Result<(), NetlinkError> {
        let mut route = Message::new(
            libc::RTM_NEWROUTE,
            flags::REQUEST | flags::CREATE | flags::REPLACE,
            // family, dst_len, src_len, tos, table, protocol, scope, type, flags
            &[
                AF_INET,
                0,
                0,
                0,
                TABLE_MAIN,
                PROTOCOL_BOOT,
                0,
                TYPE_UNICAST,
                0,
                0,
                0,
                0,
            ],
        );
        route.put(RTA_GATEWAY, &gateway.octets());
        route.put_u32(RTA_OIF, link);
        self.socket.request(vec![
            up(link),
            address_message(link, address, prefix_len),
            route,
        ])
    }
}

fn address_message(link: u32, address: Ipv4Addr, prefix_len: u8) -> Message {
    let mut header = [AF_INET, prefix_len, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    let mut message = Message::new(
        libc::RTM_NEWADDR,
        flags::REQUEST | flags::CREATE | flags::EXCL,
        &header,
    );
    let host_mask = u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
    message.put(IFA_LOCAL, &address.octets());
    message.put(IFA_ADDRESS, &address.octets());
    message.put(
        IFA_BROADCAST,
        &(u32::from(address) | host_mask).to_be_bytes(),
    );
    message
}

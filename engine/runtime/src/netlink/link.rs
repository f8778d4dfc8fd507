//! Links: bridges, veth pairs, what is enslaved to what.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::{
    NetlinkError, Route,
    attribute::{Attributes, find, read_text, read_u32},
    message::{DecodeError, Message, flags},
    socket::Completeness,
};

/// Bytes of `struct ifinfomsg`.
pub(crate) const IFINFO_BYTES: usize = 16;
/// Interface flag "up", netdevice(7).
const IFF_UP: u32 = 0x1;
const AF_BRIDGE: u8 = 7;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
/// Hairpin mode of a bridge port.
const IFLA_BRPORT_MODE: u16 = 4;

/// A link as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// Index of the bridge that it is a port of.
    pub(crate) master: Option<u32>,
    /// `bridge`, `veth`, …; absent for hardware and loopback.
    pub(crate) kind: Option<String>,
}

impl Link {
    /// Reads the payload of an `RTM_NEWLINK` or `RTM_DELLINK` message.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, DecodeError> {
        let index = payload
            .get(4..8)
            .and_then(read_u32)
            .ok_or(DecodeError::Short {
                have: payload.len(),
                want: IFINFO_BYTES,
            })?;
        let mut link = Self {
            index,
            name: String::new(),
            master: None,
            kind: None,
        };
        for attribute in Attributes::after(payload, IFINFO_BYTES) {
            match attribute? {
                (IFLA_IFNAME, value) => {
                    link.name = read_text(value).unwrap_or_default().to_owned();
                }
                (IFLA_MASTER, value) => link.master = read_u32(value),
                (IFLA_LINKINFO, value) => {
                    link.kind = find(Attributes::new(value), IFLA_INFO_KIND)?
                        .and_then(read_text)
                        .map(str::to_owned);
                }
                _ => {}
            }
        }
        Ok(link)
    }
}

/// A veth pair to be made: one end on a bridge here, the other in `peer_netns`.
#[derive(Debug)]
pub(crate) struct Veth<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_netns: BorrowedFd<'a>,
    pub(crate) peer_mac: [u8; 6],
}

impl Route {
    /// The link of that name, if there is one.
    pub(crate) fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut message = Message::new(libc::RTM_GETLINK, flags::REQUEST, &ifinfo(0, 0, 0));
        message.put_text(IFLA_IFNAME, name);
        match self.socket.get(message, Link::parse) {
            Ok(link) => Ok(Some(link)),
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links of the namespace.
    pub(crate) fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        loop {
            let message = Message::new(
                libc::RTM_GETLINK,
                flags::REQUEST | flags::DUMP,
                &ifinfo(0, 0, 0),
            );
            let mut links = Vec::new();
            let completeness = self.socket.dump(message, |_, payload| {
                links.push(Link::parse(payload)?);
                Ok(())
            })?;
            if completeness == Completeness::Whole {
                return Ok(links);
            }
        }
    }

    /// Makes a bridge, up, with a fixed MAC address (a bridge without one
    /// takes the lowest of its ports and changes it as containers come and go).
    pub(crate) fn add_bridge(
        &mut self,
        name: &str,
        mac: [u8; 6],
        mtu: u32,
    ) -> Result<(), NetlinkError> {
        let mut message = Message::new(
            libc::RTM_NEWLINK,
            flags::REQUEST | flags::CREATE | flags::EXCL,
            &ifinfo(0, IFF_UP, IFF_UP),
        );
        message.put_text(IFLA_IFNAME, name);
        message.put(IFLA_ADDRESS, &mac);
        message.put_u32(IFLA_MTU, mtu);
        message.nest(IFLA_LINKINFO, |info| {
            info.put_text(IFLA_INFO_KIND, "bridge")
        });
        self.socket.request(vec![message])
    }

    /// Makes a veth pair in one step: the host end enslaved and up, the peer
    /// in its namespace under its final name, down (the kernel cannot open it
    /// before the pair is complete).
    pub(crate) fn add_veth(&mut self, veth: &Veth<'_>) -> Result<(), NetlinkError> {
        let mut message = Message::new(
            libc::RTM_NEWLINK,
            flags::REQUEST | flags::CREATE | flags::EXCL,
            &ifinfo(0, IFF_UP, IFF_UP),
        );
        message.put_text(IFLA_IFNAME, veth.host_name);
        message.put_u32(IFLA_MTU, veth.mtu);
        message.put_u32(IFLA_MASTER, veth.bridge);
        message.nest(IFLA_LINKINFO, |info| {
            info.put_text(IFLA_INFO_KIND, "veth");
            info.nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.put_raw(&ifinfo(0, 0, 0));
                    peer.put_text(IFLA_IFNAME, veth.peer_name);
                    peer.put(IFLA_ADDRESS, &veth.peer_mac);
                    peer.put_u32(IFLA_MTU, veth.mtu);
                    peer.put(IFLA_NET_NS_FD, &veth.peer_netns.as_raw_fd().to_ne_bytes());
                });
            });
        });
        self.socket.request(vec![message])
    }

    /// Lets a bridge port send a frame back where it came from. Needed for
    /// container → own published port where br_netfilter rewrites on layer 2.
    pub(crate) fn set_hairpin(&mut self, port: u32) -> Result<(), NetlinkError> {
        let mut header = ifinfo(port, 0, 0);
        header[0] = AF_BRIDGE;
        let mut message = Message::new(libc::RTM_SETLINK, flags::REQUEST, &header);
        message.nest(IFLA_PROTINFO, |port| port.put_u8(IFLA_BRPORT_MODE, 1));
        self.socket.request(vec![message])
    }

    pub(crate) fn set_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.socket.request(vec![up(index)])
    }

    /// Removes links; those already gone are no error.
    pub(crate) fn delete_links(&mut self, indexes: &[u32]) -> Result<(), NetlinkError> {
        for &index in indexes {
            let message = Message::new(libc::RTM_DELLINK, flags::REQUEST, &ifinfo(index, 0, 0));
            match self.socket.request(vec![message]) {
                Err(error) if error.errno() != Some(Errno::NODEV) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

pub(super) fn up(index: u32) -> Message {
    Message::new(
        libc::RTM_NEWLINK,
        flags::REQUEST,
        &ifinfo(index, IFF_UP, IFF_UP),
    )
}

/// `struct ifinfomsg`; `change` is the mask of the flags that are set.
fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; IFINFO_BYTES] {
    let mut bytes = [0; IFINFO_BYTES];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

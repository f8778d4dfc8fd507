//! Published ports: what maps to what, and reserving a port on the host.
//!
//! A published port is served by address translation, not by a socket. The
//! socket that is bound here only keeps the port from others: another
//! container, another instance, a process of the host. It goes with the
//! process, and is taken again at adoption.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
    },
};
use serde::{Deserialize, Serialize};

/// Transport protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// IP protocol number (IANA "Protocol Numbers").
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the host that leads to a port of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortMapping {
    /// Address of the host; unspecified (0.0.0.0) means all of them.
    pub host_ip: IpAddr,
    /// 0 lets the host pick a free one.
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
}

/// Why a port of the host cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Docker's text, which clients match.
    #[error("Bind for {0} failed: port is already allocated")]
    InUse(SocketAddr),
    #[error("cannot publish on {0}: the host has no such address")]
    NoSuchAddress(IpAddr),
    #[error("cannot publish on {0}: this network is IPv4 only, give an IPv4 address of the host")]
    NotIpv4(IpAddr),
    #[error("cannot publish container port 0: give a port from 1 to 65535")]
    ContainerPortZero,
    #[error("cannot reserve {address}/{protocol}")]
    System {
        address: SocketAddr,
        protocol: Protocol,
        source: io::Error,
    },
}

/// A port of the host held for a container.
#[derive(Debug)]
pub(crate) struct Reservation {
    /// With the host port that was really taken.
    pub(crate) mapping: PortMapping,
    pub(crate) host_ip: Ipv4Addr,
    /// Absent when somebody took the port while the daemon was not running;
    /// packets to it go to the container all the same.
    _socket: Option<OwnedFd>,
}

impl Reservation {
    /// Takes the port, or any free one when `host_port` is 0.
    ///
    /// # Errors
    /// When somebody has the port, the address is not the host's, or not IPv4.
    pub(crate) fn take(mapping: PortMapping) -> Result<Self, PortError> {
        let IpAddr::V4(host_ip) = mapping.host_ip else {
            return Err(PortError::NotIpv4(mapping.host_ip));
        };
        if mapping.container_port == 0 {
            return Err(PortError::ContainerPortZero);
        }
        let address = SocketAddrV4::new(host_ip, mapping.host_port);
        let (socket, port) = reserve(address, mapping.protocol).map_err(|errno| match errno {
            Errno::ADDRINUSE => PortError::InUse(address.into()),
            Errno::ADDRNOTAVAIL => PortError::NoSuchAddress(mapping.host_ip),
            errno => PortError::System {
                address: address.into(),
                protocol: mapping.protocol,
                source: errno.into(),
            },
        })?;
        Ok(Self {
            mapping: PortMapping {
                host_port: port,
                ..mapping
            },
            host_ip,
            _socket: Some(socket),
        })
    }

    /// Takes the port of a container that runs already; that somebody else
    /// has it is only worth a warning, since the container has it longer.
    pub(crate) fn renew(mapping: PortMapping) -> Result<Self, PortError> {
        match Self::take(mapping) {
            Err(error @ (PortError::InUse(_) | PortError::NoSuchAddress(_))) => {
                let IpAddr::V4(host_ip) = mapping.host_ip else {
                    return Err(error);
                };
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot reserve the port of a running container"
                );
                Ok(Self {
                    mapping,
                    host_ip,
                    _socket: None,
                })
            }
            other => other,
        }
    }
}

fn reserve(address: SocketAddrV4, protocol: Protocol) -> rustix::io::Result<(OwnedFd, u16)> {
    let socket = open(protocol)?;
    let socket = match bind(&socket, &address) {
        Ok(()) => socket,
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp => listener(address)?,
        Err(errno) => return Err(errno),
    };
    let bound = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok((socket, bound.port()))
}

/// A port is also "in use" when only connections in TIME_WAIT are left on it,
/// which would refuse a restarted server for a minute. Binding with
/// SO_REUSEADDR passes those; listening then makes the port ours alone.
fn listener(address: SocketAddrV4) -> rustix::io::Result<OwnedFd> {
    let socket = open(Protocol::Tcp)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, 1)?;
    Ok(socket)
}

fn open(protocol: Protocol) -> rustix::io::Result<OwnedFd> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)
}

#[cfg(test)]
#[path = "ports/tests.rs"]
mod tests;

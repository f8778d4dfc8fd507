//! Why an operation on a bridge failed.

use std::{io, net::Ipv4Addr, sync::Arc};

use super::Subnet;
use crate::{netlink::NetlinkError, netns::NetnsError, ports::PortError};

/// Why an operation on a bridge failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("{0}")]
    Config(String),
    #[error("bridge {0} is in use by another running instance: choose another bridge name")]
    InUse(String),
    #[error("interface {0} exists and is not a bridge: remove it or choose another bridge name")]
    NotABridge(String),
    #[error(
        "subnet {subnet} overlaps {address}/{prefix_len} of another interface: choose another subnet"
    )]
    SubnetInUse {
        subnet: Subnet,
        address: Ipv4Addr,
        prefix_len: u8,
    },
    #[error(
        "bridge {bridge} has address {address}/{prefix_len}, not the configured one: remove the bridge or restore the old subnet"
    )]
    SubnetChanged {
        bridge: String,
        address: Ipv4Addr,
        prefix_len: u8,
    },
    #[error("no free address left in {0}: remove containers or use a larger subnet")]
    NoAddressLeft(Subnet),
    #[error("address {0} is already in use")]
    AddressInUse(Ipv4Addr),
    #[error("address {address} is not one for containers in {subnet}")]
    AddressOutside { address: Ipv4Addr, subnet: Subnet },
    #[error("no container has address {0} on this bridge")]
    NotAttached(Ipv4Addr),
    /// The container's network namespace, and with it the link, is gone.
    #[error("link {0} of the container is gone")]
    LinkGone(String),
    /// The text is Docker's: `Bind for 0.0.0.0:8080 failed: port is already allocated`.
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("the bridge is shutting down")]
    Stopped,
    #[error("{links} links of {bridge} did not go away in time")]
    StillThere { bridge: String, links: usize },
    /// A background worker failed while making a namespace.
    #[error("make network namespace")]
    Pool(#[source] Arc<NetError>),
    #[error("{action}")]
    System {
        action: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl NetError {
    /// Whether a wanted port is taken, the one failure that users meet daily.
    pub fn is_port_in_use(&self) -> bool {
        matches!(self, Self::Port(PortError::InUse(_)))
    }

    pub(super) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::System {
            action: action.into(),
            source: source.into(),
        }
    }
}

impl From<NetnsError> for NetError {
    fn from(source: NetnsError) -> Self {
        Self::System {
            action: "prepare network namespace".into(),
            source: source.into(),
        }
    }
}

/// Names what was being done to the kernel.
pub(super) fn during(action: &'static str) -> impl FnOnce(NetlinkError) -> NetError {
    move |source| NetError::System {
        action: action.into(),
        source: source.into(),
    }
}

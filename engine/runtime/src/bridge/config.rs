//! What a bridge is called and which addresses it has.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use super::NetError;

/// Longest interface name: `IFNAMSIZ` is 16 with its NUL.
const NAME_BYTES_MAX: usize = 15;

/// An IPv4 network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    network: Ipv4Addr,
    prefix_len: u8,
}

impl Subnet {
    /// Makes a subnet that has room for a gateway and at least one container.
    ///
    /// # Errors
    /// When host bits are set, or the prefix is not between 8 and 29.
    pub fn new(network: Ipv4Addr, prefix_len: u8) -> Result<Self, NetError> {
        if !(8..=29).contains(&prefix_len) {
            return Err(NetError::Config(format!(
                "subnet {network}/{prefix_len}: the prefix must be from 8 to 29"
            )));
        }
        let subnet = Self {
            network,
            prefix_len,
        };
        let first = Ipv4Addr::from(u32::from(network) & subnet.mask());
        if first != network {
            return Err(NetError::Config(format!(
                "subnet {network}/{prefix_len} has host bits set: write {first}/{prefix_len}"
            )));
        }
        Ok(subnet)
    }

    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    pub fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// The bridge's own address: the first of the subnet.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + 1)
    }

    /// Whether a container may have the address: inside, and neither the
    /// network's, the gateway's nor the broadcast address.
    pub fn is_host(self, address: Ipv4Addr) -> bool {
        let host = self.host_part(address);
        self.contains(address) && host > 1 && host < !self.mask()
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.network)
    }

    pub fn overlaps(self, other: Ipv4Addr, prefix_len: u8) -> bool {
        let mask = self.mask() & mask(prefix_len);
        u32::from(other) & mask == u32::from(self.network) & mask
    }

    pub(super) fn mask(self) -> u32 {
        mask(self.prefix_len)
    }

    pub(super) fn host_part(self, address: Ipv4Addr) -> u32 {
        u32::from(address) & !self.mask()
    }
}

fn mask(prefix_len: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(prefix_len.min(32)))
        .unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_len)
    }
}

impl FromStr for Subnet {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let bad = || NetError::Config(format!("{text:?} is not a subnet like 172.30.0.0/16"));
        let (network, prefix_len) = text.split_once('/').ok_or_else(bad)?;
        Self::new(
            network.parse().map_err(|_| bad())?,
            prefix_len.parse().map_err(|_| bad())?,
        )
    }
}

/// A link-layer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address that goes with an IP address, as Docker derives it. An IP
    /// address that is used again then has the same MAC address, so that no
    /// neighbour's ARP cache is ever wrong.
    pub(super) fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What distinguishes one bridge from the others of a host.
#[derive(Debug, Clone)]
pub struct BridgeConfig {
    /// Interface name, for example `carrack0`. The host ends of the containers'
    /// links are `<name>.<host part of the address in hex>`, or begin with a
    /// hash of the name where that would be too long.
    pub name: String,
    pub subnet: Subnet,
    pub mtu: u32,
    /// Name of the nft tables (families ip and bridge).
    pub table: String,
    /// How many network namespaces are kept ready; 0 makes each on demand.
    pub pool: usize,
}

impl BridgeConfig {
    /// A bridge with its table named alike, Ethernet's MTU and a small pool.
    pub fn new(name: impl Into<String>, subnet: Subnet) -> Self {
        let name = name.into();
        Self {
            table: name.clone(),
            name,
            subnet,
            mtu: 1500,
            pool: 4,
        }
    }

    /// Checks what the kernel would refuse later or read differently.
    pub(super) fn validate(&self) -> Result<(), NetError> {
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !plain(&self.name) {
            return Err(NetError::Config(format!(
                "bridge name {:?}: use 1 to {NAME_BYTES_MAX} letters, digits, - and _",
                self.name
            )));
        }
        if self.table.is_empty() || self.table.len() > 200 || !plain(&self.table) {
            return Err(NetError::Config(format!(
                "nft table name {:?}: use 1 to 200 letters, digits, - and _",
                self.table
            )));
        }
        if !(68..=65535).contains(&self.mtu) {
            return Err(NetError::Config(format!(
                "mtu {}: use 68 to 65535",
                self.mtu
            )));
        }
        Ok(())
    }

    /// What the names of all host ends begin with.
    pub(super) fn veth_prefix(&self) -> String {
        let digits = format!("{:x}", !self.subnet.mask()).len();
        if self.name.len() + 1 + digits <= NAME_BYTES_MAX {
            return format!("{}.", self.name);
        }
        // FNV-1a, folded to 24 bits: the same in every run and build.
        let hash = self.name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        format!("v{:06x}.", (hash ^ (hash >> 24)) & 0x00ff_ffff)
    }

    /// Name of the host end of the link of the container with that address.
    pub(super) fn veth_name(&self, address: Ipv4Addr) -> String {
        format!("{}{:x}", self.veth_prefix(), self.subnet.host_part(address))
    }

    /// The inverse of [`BridgeConfig::veth_name`]; `None` for foreign links.
    pub(super) fn address_of(&self, veth: &str) -> Option<Ipv4Addr> {
        let suffix = veth.strip_prefix(&self.veth_prefix())?;
        let host = u32::from_str_radix(suffix, 16).ok()?;
        let address = Ipv4Addr::from(u32::from(self.subnet.network) | host);
        (self.subnet.is_host(address) && self.veth_name(address) == veth).then_some(address)
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;

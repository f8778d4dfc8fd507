//! Exposed and published ports, read from Docker's texts. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use engine_api::{ContainerConfig, HostConfig};

use crate::error::{EngineError, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl From<Protocol> for runtime::ports::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

impl From<runtime::ports::Protocol> for Protocol {
    fn from(protocol: runtime::ports::Protocol) -> Self {
        match protocol {
            runtime::ports::Protocol::Tcp => Self::Tcp,
            runtime::ports::Protocol::Udp => Self::Udp,
        }
    }
}

/// A port of the container: `80/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol.as_str())
    }
}

/// One host side of a published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) port: Port,
    /// `None` is every address.
    pub(crate) host_ip: Option<IpAddr>,
    /// First and last host port to try; `0..=0` picks a free one.
    pub(crate) host_ports: (u16, u16),
}

/// What a container exposes and publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortPlan {
    pub(crate) exposed: BTreeSet<Port>,
    pub(crate) published: Vec<Publish>,
}

/// # Errors
/// A port, address or protocol that cannot be read or honoured.
pub(crate) fn plan(config: &ContainerConfig, host: &HostConfig) -> Result<PortPlan> {
    let mut plan = PortPlan::default();
    for text in config.exposed_ports.keys() {
        plan.exposed.insert(parse_port(text)?);
    }
    for (text, bindings) in &host.port_bindings {
        let port = parse_port(text)?;
        plan.exposed.insert(port);
        let bindings = bindings.as_deref().unwrap_or(&[]);
        // A port with no binding at all asks for a free one, as an empty binding does.
        let none = [engine_api::PortBinding::default()];
        for binding in if bindings.is_empty() { &none } else { bindings } {
            plan.published.push(Publish {
                port,
                host_ip: parse_address(&binding.host_ip)?,
                host_ports: parse_range(&binding.host_port)?,
            });
        }
    }
    if host.publish_all_ports {
        let bound: BTreeSet<Port> = plan.published.iter().map(|p| p.port).collect();
        for port in plan.exposed.difference(&bound) {
            plan.published.push(Publish {
                port: *port,
                host_ip: None,
                host_ports: (0, 0),
            });
        }
    }
    Ok(plan)
}

fn parse_port(text: &str) -> Result<Port> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => {
            return Err(EngineError::NotImplemented(format!(
                "port {text}: publishing SCTP is not supported by Carrack yet"
            )));
        }
        _ => return Err(EngineError::bad(format!("invalid proto: {protocol}"))),
    };
    let number = number
        .parse::<u16>()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| EngineError::bad(format!("invalid port specification: \"{text}\"")))?;
    Ok(Port { number, protocol })
}

fn parse_address(text: &str) -> Result<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = text
        .parse()
        .map_err(|_| EngineError::bad(format!("invalid IP address: {text}")))?;
    Ok((!address.is_unspecified() || address.is_ipv6()).then_some(address))
}

fn parse_range(text: &str) -> Result<(u16, u16)> {
    let invalid = || EngineError::bad(format!("invalid port specification: \"{text}\""));
    if text.is_empty() {
        return Ok((0, 0));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: u16 = first.parse().map_err(|_| invalid())?;
    let last: u16 = last.parse().map_err(|_| invalid())?;
    if first > last {
        return Err(invalid());
    }
    Ok((first, last))
}

#[cfg(test)]
#[path = "ports/tests.rs"]
mod tests;

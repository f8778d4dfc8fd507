//! Networks, addresses, published ports and name resolution.

use std::collections::BTreeMap;

use clap::Args;
use engine_api::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};

use super::request::some;
use crate::{
    error::CliError,
    flags::{self, NetworkFlag},
};

/// Options below the heading "Network".
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network")]
pub struct NetworkOptions {
    /// Network to join: bridge, none, host, container:NAME or a network's name
    #[arg(long, visible_alias = "net", value_name = "NETWORK", value_parser = flags::network)]
    pub network: Vec<NetworkFlag>,
    /// Another name for the container on its network
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// IPv4 address of the container
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// IPv6 address of the container
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// MAC address of the container
    #[arg(long, value_name = "ADDRESS")]
    pub mac_address: Option<String>,
    /// Link to another container (legacy)
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    pub link: Vec<String>,
    /// Publish a port ([address:][host port:]container port[/protocol])
    #[arg(short, long, value_name = "PORT", value_parser = parse_publish)]
    pub publish: Vec<Published>,
    /// Publish all exposed ports on ports that are free
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "PORT", value_parser = parse_expose)]
    pub expose: Vec<Exposed>,
    /// DNS server
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// DNS option
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// DNS search domain
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Add a line to /etc/hosts (name:address)
    #[arg(long, value_name = "HOST", value_parser = flags::extra_host)]
    pub add_host: Vec<String>,
}

impl NetworkOptions {
    /// Endpoints: the first network takes the plain flags (`--ip`, …).
    pub(super) fn endpoints(&self) -> Result<Option<NetworkingConfig>, CliError> {
        let plain = !self.network_alias.is_empty()
            || [&self.ip, &self.ip6, &self.mac_address]
                .into_iter()
                .flatten()
                .any(|text| !text.is_empty());
        let mut networks = self.network.clone();
        if networks.is_empty() && plain {
            networks.push(NetworkFlag {
                name: "default".to_owned(),
                ..NetworkFlag::default()
            });
        }
        if let Some(first) = networks.first_mut() {
            first.aliases.extend(self.network_alias.iter().cloned());
            for (slot, flag) in [
                (&mut first.ipv4, &self.ip),
                (&mut first.ipv6, &self.ip6),
                (&mut first.mac_address, &self.mac_address),
            ] {
                if let Some(flag) = flag.as_ref().filter(|flag| !flag.is_empty()) {
                    slot.clone_from(flag);
                }
            }
        }
        let mut endpoints = BTreeMap::new();
        for network in &networks {
            if endpoints.contains_key(&network.name) {
                return Err(CliError::usage(format!(
                    "network '{}' is specified multiple times",
                    network.name
                )));
            }
            let bare = NetworkFlag {
                name: network.name.clone(),
                ..NetworkFlag::default()
            };
            if networks.len() > 1 || *network != bare {
                endpoints.insert(network.name.clone(), Some(endpoint(network)));
            }
        }
        Ok((!endpoints.is_empty()).then_some(NetworkingConfig {
            endpoints_config: endpoints,
        }))
    }
}

fn endpoint(network: &NetworkFlag) -> EndpointSettings {
    let fixed =
        !network.ipv4.is_empty() || !network.ipv6.is_empty() || !network.link_local_ips.is_empty();
    EndpointSettings {
        ipam_config: fixed.then(|| EndpointIpamConfig {
            ipv4_address: network.ipv4.clone(),
            ipv6_address: network.ipv6.clone(),
            link_local_ips: network.link_local_ips.clone(),
        }),
        aliases: some(&network.aliases),
        mac_address: network.mac_address.clone(),
        driver_opts: (!network.driver_opts.is_empty()).then(|| network.driver_opts.clone()),
        gw_priority: network.gw_priority,
        ..EndpointSettings::default()
    }
}

/// The ports of one `-p`.
#[derive(Clone, Debug)]
pub struct Published(pub Vec<(String, engine_api::PortBinding)>);

/// The ports of one `--expose`.
#[derive(Clone, Debug)]
pub struct Exposed(pub Vec<String>);

fn parse_publish(text: &str) -> Result<Published, String> {
    flags::published(text).map(Published)
}

fn parse_expose(text: &str) -> Result<Exposed, String> {
    flags::exposed(text).map(Exposed)
}

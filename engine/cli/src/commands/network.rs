//! `carrack network …`

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use engine_api::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamPool, Network, NetworkCreateRequest,
    NetworkCreateResponse,
};
use http::Method;
use serde_json::json;

use super::{
    Context, each,
    inspect::{Inspect, Kind},
    system::Prune,
};
use crate::{
    client::{Call, Filters, Query, segment},
    error::CliError,
    flags,
    format::{self, Listing, join_labels, short_id},
    output,
    template::Map,
    units::{go_time, unix_of_rfc3339},
};

const NETWORKS: Listing = Listing {
    type_name: "network",
    heads: &[
        ("CreatedAt", "CREATED AT"),
        ("Driver", "DRIVER"),
        ("ID", "NETWORK ID"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Scope", "SCOPE"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
};

/// Commands on networks.
#[derive(Subcommand, Debug)]
pub enum NetworkCommand {
    /// Connect a container to a network
    Connect(Connect),
    /// Create a network
    Create(Box<Create>),
    /// Disconnect a container from a network
    Disconnect(Disconnect),
    /// Show details of networks as JSON
    Inspect(Inspect),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Remove networks that no container uses
    Prune(Prune),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Rm),
}

/// Create a network.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    carrack network create web\n  \
    carrack network create --subnet 10.9.0.0/24 --gateway 10.9.0.1 lab")]
pub struct Create {
    /// Network driver
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    driver: String,
    /// Option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// No way out of the network
    #[arg(long)]
    internal: bool,
    /// Also IPv6
    #[arg(long)]
    ipv6: bool,
    /// Let containers join by hand (accepted for compatibility)
    #[arg(long)]
    attachable: bool,
    /// Subnet (10.9.0.0/24)
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<String>,
    /// Gateway of the subnet of the same position
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// Addresses of containers come from this part of the subnet
    #[arg(long, value_name = "CIDR")]
    ip_range: Vec<String>,
    /// Address that is in use otherwise (name=address)
    #[arg(long, value_name = "NAME=ADDRESS")]
    aux_address: Vec<String>,
    /// Driver of the address management
    #[arg(long, value_name = "DRIVER", default_value = "default")]
    ipam_driver: String,
    /// Option of the address management
    #[arg(long, value_name = "KEY=VALUE")]
    ipam_opt: Vec<String>,
    /// Name of the network
    name: String,
}

/// Connect a container to a network.
#[derive(Args, Clone, Debug)]
pub struct Connect {
    /// Another name for the container on the network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// IPv4 address
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    ip: String,
    /// IPv6 address
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    ip6: String,
    /// Link to another container (legacy)
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    link: Vec<String>,
    /// Option of the driver
    #[arg(long, value_name = "KEY=VALUE")]
    driver_opt: Vec<String>,
    /// Name or id of the network
    network: String,
    /// Name or id of the container
    container: String,
}

/// Disconnect a container from a network.
#[derive(Args, Clone, Debug)]
pub struct Disconnect {
    /// Also when the container is gone
    #[arg(short, long)]
    force: bool,
    /// Name or id of the network
    network: String,
    /// Name or id of the container
    container: String,
}

/// List networks.
#[derive(Args, Clone, Debug)]
pub struct Ls {
    /// Show only networks that match: dangling, driver, id, label, name, scope, type
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Print as 'table', 'table TEMPLATE', 'json' or by a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
}

/// Remove networks.
#[derive(Args, Clone, Debug)]
pub struct Rm {
    /// Do not fail for networks that are not there
    #[arg(short, long)]
    force: bool,
    /// Names or ids of networks
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

impl NetworkCommand {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        match self {
            Self::Connect(command) => command.run(ctx).await,
            Self::Create(command) => command.run(ctx).await,
            Self::Disconnect(command) => command.run(ctx).await,
            Self::Inspect(command) => command.run(ctx, Some(Kind::Network)).await,
            Self::Ls(command) => command.run(ctx).await,
            Self::Prune(command) => command.networks(ctx).await,
            Self::Rm(command) => command.run(ctx).await,
        }
    }
}

impl Create {
    async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        if self.subnet.is_empty() && !(self.gateway.is_empty() && self.ip_range.is_empty()) {
            return Err(CliError::usage(
                "every ip-range or gateway must have a corresponding subnet: add --subnet",
            ));
        }
        let at = |list: &[String], at: usize| list.get(at).cloned().unwrap_or_default();
        let pools: Vec<_> = self
            .subnet
            .iter()
            .enumerate()
            .map(|(index, subnet)| IpamPool {
                subnet: subnet.clone(),
                ip_range: at(&self.ip_range, index),
                gateway: at(&self.gateway, index),
                auxiliary_addresses: if index == 0 {
                    flags::option_map(&self.aux_address)
                } else {
                    BTreeMap::new()
                },
            })
            .collect();
        let request = NetworkCreateRequest {
            name: self.name,
            driver: self.driver,
            internal: self.internal,
            enable_ipv6: self.ipv6,
            ipam: Some(Ipam {
                driver: self.ipam_driver,
                options: Some(flags::option_map(&self.ipam_opt)),
                config: Some(pools),
            }),
            options: flags::option_map(&self.opt),
            labels: flags::option_map(&self.label),
        };
        let call = Call::default().json(&request);
        let created: NetworkCreateResponse = ctx
            .engine
            .json(Method::POST, "/networks/create", call)
            .await?;
        if !created.warning.is_empty() {
            output::note(format!("WARNING: {}", created.warning));
        }
        output::line(created.id)?;
        Ok(0)
    }
}

impl Connect {
    async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let fixed = !self.ip.is_empty() || !self.ip6.is_empty();
        let endpoint = EndpointSettings {
            ipam_config: fixed.then(|| EndpointIpamConfig {
                ipv4_address: self.ip.clone(),
                ipv6_address: self.ip6.clone(),
                ..EndpointIpamConfig::default()
            }),
            aliases: Some(self.alias),
            links: Some(self.link),
            driver_opts: Some(flags::option_map(&self.driver_opt)),
            ..EndpointSettings::default()
        };
        let path = format!("/networks/{}/connect", segment(&self.network));
        let body = json!({"Container": self.container, "EndpointConfig": endpoint});
        ctx.engine
            .command(Method::POST, &path, Call::default().json(&body))
            .await?;
        Ok(0)
    }
}

impl Disconnect {
    async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let path = format!("/networks/{}/disconnect", segment(&self.network));
        let body = json!({"Container": self.container, "Force": self.force});
        ctx.engine
            .command(Method::POST, &path, Call::default().json(&body))
            .await?;
        Ok(0)
    }
}

impl Ls {
    async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let query = Query::new().filters(&Filters::parse(&self.filter)?);
        let mut networks: Vec<Network> = ctx.engine.get("/networks", query).await?;
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        let id = |network: &Network| {
            if self.no_trunc {
                network.id.clone()
            } else {
                short_id(&network.id).to_owned()
            }
        };
        if self.quiet && self.format.is_none() {
            let ids: String = networks.iter().map(|n| format!("{}\n", id(n))).collect();
            output::print(ids)?;
            return Ok(0);
        }
        let rows = networks
            .iter()
            .map(|network| row(network, id(network)))
            .collect();
        let format = self
            .format
            .as_deref()
            .or_else(|| ctx.settings.config.text("networksFormat"));
        output::print(NETWORKS.render(format, rows)?)?;
        Ok(0)
    }
}

fn row(network: &Network, id: String) -> Map {
    let mut row = NETWORKS.row();
    row.push("CreatedAt", go_time(unix_of_rfc3339(&network.created)));
    row.push("Driver", network.driver.as_str());
    row.push("ID", id);
    row.push("IPv4", network.enable_ipv4.to_string());
    row.push("IPv6", network.enable_ipv6.to_string());
    row.push("Internal", network.internal.to_string());
    row.push("Labels", join_labels(&network.labels));
    row.push("Name", network.name.as_str());
    row.push("Scope", network.scope.as_str());
    format::push_label_method(&mut row, network.labels.clone());
    row
}

impl Rm {
    async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let force = self.force;
        each(ctx, &self.networks, |name| async move {
            let path = format!("/networks/{}", segment(&name));
            match ctx
                .engine
                .command(Method::DELETE, &path, Call::default())
                .await
            {
                Ok(_) => Ok(Some(name)),
                Err(error) if force && error.status() == Some(404) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }
}

#[cfg(test)]
#[path = "network/tests.rs"]
mod tests;

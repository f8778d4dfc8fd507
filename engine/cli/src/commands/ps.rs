//! `ps`.

use clap::Args;
use engine_api::{ContainerSummary, ListPort};
use time::OffsetDateTime;

use super::Context;
use crate::{
    client::{Filters, Query},
    error::CliError,
    format::{self, Listing, ellipsis, join_labels, short_id},
    output,
    template::Map,
    units::{ago, go_time, human_size},
};

/// Characters of a command or a mount that the table shows.
const COMMAND_CHARS: usize = 20;
const MOUNT_CHARS: usize = 15;

const HEADS: &[(&str, &str)] = &[
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Names", "NAMES"),
    ("Networks", "NETWORKS"),
    ("Ports", "PORTS"),
    ("RunningFor", "CREATED"),
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("Status", "STATUS"),
];
const CONTAINERS: Listing = Listing {
    type_name: "container",
    heads: HEADS,
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
};
const CONTAINERS_WITH_SIZE: Listing = Listing {
    type_name: "container",
    heads: HEADS,
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
};

/// List containers.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Filters (-f key=value):\n  \
    id, name, label, status (created, running, paused, exited, dead), exited (code),\n  \
    ancestor (image), before, since, volume, network, publish, expose, health\n\n\
    Examples:\n  \
    carrack ps -a                                       also stopped ones\n  \
    carrack ps -q -f label=stage=test                   only ids\n  \
    carrack ps --format 'table {{.Names}}\\t{{.Ports}}'   chosen columns\n  \
    carrack ps --format json                            one object per line")]
pub struct Ps {
    /// Show stopped containers too
    #[arg(short, long)]
    all: bool,
    /// Show only containers that match (key=value)
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Print as 'table', 'table TEMPLATE', 'json' or by a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show the last n containers, whatever their state
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = -1, hide_default_value = true, allow_hyphen_values = true)]
    last: i64,
    /// Show the newest container, whatever its state
    #[arg(short, long)]
    latest: bool,
    /// Do not cut anything
    #[arg(long)]
    no_trunc: bool,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
    /// Show file sizes
    #[arg(short, long)]
    size: bool,
}

impl Ps {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let format = self
            .format
            .as_deref()
            .or_else(|| ctx.settings.config.text("psFormat").filter(|_| !self.quiet));
        let wants_size = match format {
            Some(text) if !matches!(text, "table" | "json") => {
                format::parse(text)?.mentions("Size")
            }
            _ => false,
        };
        let limit = if self.latest { 1 } else { self.last };
        let query = Query::new()
            .flag("all", self.all)
            .flag("size", self.size || wants_size)
            .maybe("limit", (limit > 0).then_some(limit))
            .filters(&Filters::parse(&self.filter)?);
        let containers: Vec<ContainerSummary> = ctx.engine.get("/containers/json", query).await?;
        if self.quiet && self.format.is_none() {
            let ids: String = containers
                .iter()
                .map(|c| {
                    if self.no_trunc {
                        c.id.as_str()
                    } else {
                        short_id(&c.id)
                    }
                })
                .flat_map(|id| [id, "\n"])
                .collect();
            output::print(ids)?;
            return Ok(0);
        }
        let now = OffsetDateTime::now_utc();
        let rows = containers
            .iter()
            .map(|container| row(container, !self.no_trunc, now))
            .collect();
        let listing = if self.size {
            CONTAINERS_WITH_SIZE
        } else {
            CONTAINERS
        };
        output::print(listing.render(format, rows)?)?;
        Ok(0)
    }
}

fn row(container: &ContainerSummary, cut: bool, now: OffsetDateTime) -> Map {
    let mut row = CONTAINERS.row();
    let command = if cut {
        ellipsis(&container.command, COMMAND_CHARS)
    } else {
        container.command.clone()
    };
    let mounts: Vec<_> = container
        .mounts
        .iter()
        .map(|mount| {
            if mount.name.is_empty() {
                &mount.source
            } else {
                &mount.name
            }
        })
        .map(|name| {
            if cut {
                ellipsis(name, MOUNT_CHARS)
            } else {
                name.clone()
            }
        })
        .collect();
    let volumes = container
        .mounts
        .iter()
        .filter(|mount| mount.driver == "local")
        .count();
    let networks: Vec<_> = container
        .network_settings
        .networks
        .keys()
        .map(String::as_str)
        .collect();
    let id = if cut {
        short_id(&container.id)
    } else {
        &container.id
    };
    row.push("Command", oci::quote(&command));
    row.push("CreatedAt", go_time(container.created));
    row.push("ID", id);
    row.push("Image", image(container, cut));
    row.push("Labels", join_labels(&container.labels));
    row.push("LocalVolumes", volumes.to_string());
    row.push("Mounts", mounts.join(","));
    row.push("Names", names(&container.names, cut));
    row.push("Networks", networks.join(","));
    row.push("Ports", ports(&container.ports));
    row.push("RunningFor", ago(container.created, now));
    row.push("Size", size(container));
    row.push("State", container.state.as_str());
    row.push("Status", container.status.as_str());
    format::push_label_method(&mut row, container.labels.clone());
    row
}

fn size(container: &ContainerSummary) -> String {
    let own = human_size(container.size_rw.unwrap_or(0), 3);
    match container.size_root_fs {
        Some(all) if all > 0 => format!("{own} (virtual {})", human_size(all, 3)),
        _ => own,
    }
}

fn image(container: &ContainerSummary, cut: bool) -> String {
    let image = container.image.as_str();
    if image.is_empty() {
        return "<no image>".to_owned();
    }
    if !cut {
        return image.to_owned();
    }
    if !container.image_id.is_empty() && short_id(image) == short_id(&container.image_id) {
        return short_id(image).to_owned();
    }
    match image.split_once('@') {
        Some((name, _)) if !name.is_empty() => name.to_owned(),
        _ => image.to_owned(),
    }
}

/// Names without their slash; links to other containers only when uncut.
fn names(names: &[String], cut: bool) -> String {
    let names: Vec<_> = names
        .iter()
        .map(|name| name.strip_prefix('/').unwrap_or(name))
        .filter(|name| !cut || !name.contains('/'))
        .collect();
    names.join(",")
}

/// The PORTS column: ports in a row are one range, as long as they are
/// published on the same number or not at all; others stand alone, last.
pub(super) fn ports(ports: &[ListPort]) -> String {
    let mut ports = ports.to_vec();
    ports.sort_by(|a, b| {
        (a.private_port, &a.ip, a.public_port, &a.kind).cmp(&(
            b.private_port,
            &b.ip,
            b.public_port,
            &b.kind,
        ))
    });
    let mut ranges: Vec<(String, u16, u16)> = Vec::new();
    let mut mapped = Vec::new();
    for port in &ports {
        let address = if port.ip.contains(':') {
            format!("[{}]", port.ip)
        } else {
            port.ip.clone()
        };
        let key = if port.public_port == 0 {
            format!("/{}", port.kind)
        } else if port.public_port != port.private_port {
            mapped.push(format!(
                "{address}:{}->{}/{}",
                port.public_port, port.private_port, port.kind
            ));
            continue;
        } else {
            format!("{address}/{}", port.kind)
        };
        let open = ranges.iter_mut().rev().find(|(known, _, _)| *known == key);
        match open {
            Some((_, _, last)) if *last == port.private_port => {}
            Some((_, _, last)) if last.checked_add(1) == Some(port.private_port) => {
                *last = port.private_port;
            }
            _ => ranges.push((key, port.private_port, port.private_port)),
        }
    }
    let shown = ranges.into_iter().map(|(key, first, last)| {
        let (address, kind) = key.rsplit_once('/').unwrap_or(("", &key));
        let range = if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        };
        if address.is_empty() {
            format!("{range}/{kind}")
        } else {
            format!("{address}:{range}->{range}/{kind}")
        }
    });
    shown.chain(mapped).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "ps/tests.rs"]
mod tests;

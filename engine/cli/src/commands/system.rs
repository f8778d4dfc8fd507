//! `carrack system …` and the prune commands.

use clap::{Args, Subcommand};
use engine_api::{
    ContainerPruneReport, DiskUsage, ImagePruneReport, NetworkPruneReport, VolumePruneReport,
};
use http::Method;

use super::{Context, events::Events, images::removed_line, info::Info};
use crate::{
    client::{Call, Filters, Query},
    error::CliError,
    format::Listing,
    output,
    template::Map,
    units::human_size,
};

const USAGE: Listing = Listing {
    type_name: "usage",
    heads: &[
        ("Active", "ACTIVE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("TotalCount", "TOTAL"),
        ("Type", "TYPE"),
    ],
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
};

/// Commands on the engine.
#[derive(Subcommand, Debug)]
pub enum SystemCommand {
    /// Show what uses the disk
    Df(Df),
    /// Show what happens in the engine
    Events(Events),
    /// Show the engine's state and configuration
    Info(Info),
    /// Remove stopped containers, unused networks and images
    Prune(Prune),
}

/// Show what uses the disk.
#[derive(Args, Clone, Debug)]
pub struct Df {
    /// Print as 'table', 'table TEMPLATE', 'json' or by a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Remove what nothing uses.
#[derive(Args, Clone, Debug)]
pub struct Prune {
    /// Also images with a name, and volumes with a name
    #[arg(short, long)]
    all: bool,
    /// Also volumes (system prune)
    #[arg(long)]
    volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Remove only what matches: until, label
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

impl SystemCommand {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        match self {
            Self::Df(command) => command.run(ctx).await,
            Self::Events(command) => command.run(ctx).await,
            Self::Info(command) => command.run(ctx).await,
            Self::Prune(command) => command.everything(ctx).await,
        }
    }
}

impl Df {
    async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let usage: DiskUsage = ctx.engine.get("/system/df", Query::new()).await?;
        output::print(USAGE.render(self.format.as_deref(), rows(&usage))?)?;
        Ok(0)
    }
}

fn rows(usage: &DiskUsage) -> Vec<Map> {
    let images: Vec<_> = usage.images.iter().flatten().collect();
    let containers: Vec<_> = usage.containers.iter().flatten().collect();
    let volumes: Vec<_> = usage.volumes.iter().flatten().collect();
    let running = |state: &str| matches!(state, "running" | "paused" | "restarting");
    let used_layers: i64 = images
        .iter()
        .filter(|image| image.containers > 0)
        .map(|image| image.size - image.shared_size.max(0))
        .sum();
    let writable = |only_stopped: bool| -> i64 {
        containers
            .iter()
            .filter(|container| !only_stopped || !running(&container.state))
            .map(|container| container.size_rw.unwrap_or(0))
            .sum()
    };
    let volume_bytes = |only_unused: bool| -> i64 {
        volumes
            .iter()
            .filter_map(|volume| volume.usage_data.as_ref())
            .filter(|usage| !only_unused || usage.ref_count == 0)
            .map(|usage| usage.size.max(0))
            .sum()
    };
    let used_volumes = volumes
        .iter()
        .filter(|volume| volume.usage_data.as_ref().is_some_and(|u| u.ref_count > 0))
        .count();
    let cache = usage.build_cache.iter().flatten();
    let (mut cache_count, mut cache_used, mut cache_bytes, mut cache_free) = (0, 0, 0, 0);
    for record in cache {
        let size = record["Size"].as_i64().unwrap_or(0);
        let in_use = record["InUse"].as_bool().unwrap_or(false);
        let shared = record["Shared"].as_bool().unwrap_or(false);
        cache_count += 1;
        cache_used += usize::from(in_use);
        cache_bytes += if shared { 0 } else { size };
        cache_free += if in_use || shared { 0 } else { size };
    }
    vec![
        row(
            "Images",
            images.len(),
            images.iter().filter(|image| image.containers > 0).count(),
            usage.layers_size,
            (usage.layers_size - used_layers).max(0),
        ),
        row(
            "Containers",
            containers.len(),
            containers.iter().filter(|c| running(&c.state)).count(),
            writable(false),
            writable(true),
        ),
        row(
            "Local Volumes",
            volumes.len(),
            used_volumes,
            volume_bytes(false),
            volume_bytes(true),
        ),
        row(
            "Build Cache",
            cache_count,
            cache_used,
            cache_bytes,
            cache_free,
        ),
    ]
}

fn row(kind: &str, count: usize, active: usize, size: i64, reclaimable: i64) -> Map {
    let mut row = USAGE.row();
    let free = human_size(reclaimable, 4);
    let free = if size > 0 && kind != "Build Cache" {
        format!("{free} ({}%)", reclaimable * 100 / size)
    } else {
        free
    };
    row.push("Active", active.to_string());
    row.push("Reclaimable", free);
    row.push("Size", human_size(size, 4));
    row.push("TotalCount", count.to_string());
    row.push("Type", kind);
    row
}

impl Prune {
    pub(super) async fn containers(self, ctx: &Context) -> Result<u8, CliError> {
        if !self.agreed("This will remove all stopped containers.")? {
            return Ok(0);
        }
        let freed = self.prune_containers(ctx).await?;
        total(freed)
    }

    pub(super) async fn images(self, ctx: &Context) -> Result<u8, CliError> {
        let warning = if self.all {
            "This will remove all images without at least one container associated to them."
        } else {
            "This will remove all dangling images."
        };
        if !self.agreed(warning)? {
            return Ok(0);
        }
        let freed = self.prune_images(ctx).await?;
        total(freed)
    }

    pub(super) async fn volumes(self, ctx: &Context) -> Result<u8, CliError> {
        let warning = if self.all {
            "This will remove all volumes not used by at least one container."
        } else {
            "This will remove anonymous volumes not used by at least one container."
        };
        if !self.agreed(warning)? {
            return Ok(0);
        }
        let freed = self.prune_volumes(ctx).await?;
        total(freed)
    }

    pub(super) async fn networks(self, ctx: &Context) -> Result<u8, CliError> {
        if !self
            .agreed("This will remove all custom networks not used by at least one container.")?
        {
            return Ok(0);
        }
        self.prune_networks(ctx).await?;
        Ok(0)
    }

    async fn everything(self, ctx: &Context) -> Result<u8, CliError> {
        let mut warning = "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n".to_owned();
        if self.volumes {
            warning.push_str("  - all anonymous volumes not used by at least one container\n");
        }
        warning.push_str(if self.all {
            "  - all images without at least one container associated to them\n"
        } else {
            "  - all dangling images\n"
        });
        if !self.agreed(&warning)? {
            return Ok(0);
        }
        let mut freed = self.prune_containers(ctx).await?;
        self.prune_networks(ctx).await?;
        if self.volumes {
            freed += self.prune_volumes(ctx).await?;
        }
        freed += self.prune_images(ctx).await?;
        total(freed)
    }

    fn agreed(&self, warning: &str) -> Result<bool, CliError> {
        if self.force {
            return Ok(true);
        }
        output::confirm(&format!(
            "WARNING! {warning}\nAre you sure you want to continue?"
        ))
    }

    fn call(&self, more: &[(&str, &str)]) -> Result<Call, CliError> {
        let mut filters = Filters::parse(&self.filter)?;
        for (key, value) in more {
            filters.add(*key, *value);
        }
        Ok(Call::query(Query::new().filters(&filters)))
    }

    async fn prune_containers(&self, ctx: &Context) -> Result<u64, CliError> {
        let report: ContainerPruneReport = ctx
            .engine
            .json(Method::POST, "/containers/prune", self.call(&[])?)
            .await?;
        section("Deleted Containers:", report.containers_deleted.as_deref())?;
        Ok(report.space_reclaimed)
    }

    async fn prune_images(&self, ctx: &Context) -> Result<u64, CliError> {
        let dangling = if self.all { "false" } else { "true" };
        let report: ImagePruneReport = ctx
            .engine
            .json(
                Method::POST,
                "/images/prune",
                self.call(&[("dangling", dangling)])?,
            )
            .await?;
        let lines: Vec<_> = report
            .images_deleted
            .iter()
            .flatten()
            .map(removed_line)
            .map(|line| line.replacen('U', "u", 1).replacen('D', "d", 1))
            .collect();
        section("Deleted Images:", Some(&lines))?;
        Ok(report.space_reclaimed)
    }

    async fn prune_volumes(&self, ctx: &Context) -> Result<u64, CliError> {
        let all: &[(&str, &str)] = if self.all { &[("all", "true")] } else { &[] };
        let report: VolumePruneReport = ctx
            .engine
            .json(Method::POST, "/volumes/prune", self.call(all)?)
            .await?;
        section("Deleted Volumes:", report.volumes_deleted.as_deref())?;
        Ok(report.space_reclaimed)
    }

    async fn prune_networks(&self, ctx: &Context) -> Result<(), CliError> {
        let report: NetworkPruneReport = ctx
            .engine
            .json(Method::POST, "/networks/prune", self.call(&[])?)
            .await?;
        section("Deleted Networks:", report.networks_deleted.as_deref())
    }
}

fn section(head: &str, lines: Option<&[String]>) -> Result<(), CliError> {
    match lines {
        Some(lines) if !lines.is_empty() => {
            output::print(format!("{head}\n{}\n\n", lines.join("\n")))
        }
        _ => Ok(()),
    }
}

fn total(freed: u64) -> Result<u8, CliError> {
    let bytes = i64::try_from(freed).unwrap_or(i64::MAX);
    output::line(format!("Total reclaimed space: {}", human_size(bytes, 4)))?;
    Ok(0)
}

#[cfg(test)]
#[path = "system/tests.rs"]
mod tests;

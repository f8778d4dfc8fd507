//! `carrack volume …`

use clap::{Args, Subcommand};
use engine_api::{Volume, VolumeCreateRequest, VolumeList};
use http::Method;

use super::{
    Context, each,
    inspect::{Inspect, Kind},
    system::Prune,
};
use crate::{
    client::{Call, Filters, Query, segment},
    error::CliError,
    flags,
    format::{self, Listing, join_labels},
    output,
    template::Map,
    units::human_size,
};

const VOLUMES: Listing = Listing {
    type_name: "volume",
    heads: &[
        ("Driver", "DRIVER"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Size", "SIZE"),
    ],
    table: "{{.Driver}}\t{{.Name}}",
};

/// Commands on volumes.
#[derive(Subcommand, Debug)]
pub enum VolumeCommand {
    /// Create a volume
    Create(Create),
    /// Show details of volumes as JSON
    Inspect(Inspect),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Remove volumes that no container uses
    Prune(Prune),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(Rm),
}

/// Create a volume.
#[derive(Args, Clone, Debug)]
pub struct Create {
    /// Volume driver
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    driver: String,
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Name; one is made up when left out
    name: Option<String>,
}

/// List volumes.
#[derive(Args, Clone, Debug)]
pub struct Ls {
    /// Show only volumes that match: dangling, driver, label, name
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Print as 'table', 'table TEMPLATE', 'json' or by a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print only names
    #[arg(short, long)]
    quiet: bool,
}

/// Remove volumes.
#[derive(Args, Clone, Debug)]
pub struct Rm {
    /// Do not fail for volumes that are not there
    #[arg(short, long)]
    force: bool,
    /// Names of volumes
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

impl VolumeCommand {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        match self {
            Self::Create(command) => command.run(ctx).await,
            Self::Inspect(command) => command.run(ctx, Some(Kind::Volume)).await,
            Self::Ls(command) => command.run(ctx).await,
            Self::Prune(command) => command.volumes(ctx).await,
            Self::Rm(command) => command.run(ctx).await,
        }
    }
}

impl Create {
    async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let request = VolumeCreateRequest {
            driver: self.driver,
            driver_opts: flags::option_map(&self.opt),
            labels: flags::option_map(&self.label),
            name: self.name.unwrap_or_default(),
            ..VolumeCreateRequest::default()
        };
        let call = Call::default().json(&request);
        let volume: Volume = ctx
            .engine
            .json(Method::POST, "/volumes/create", call)
            .await?;
        output::line(volume.name)?;
        Ok(0)
    }
}

impl Ls {
    async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let query = Query::new().filters(&Filters::parse(&self.filter)?);
        let list: VolumeList = ctx.engine.get("/volumes", query).await?;
        for warning in list.warnings.iter().flatten() {
            output::note(warning);
        }
        let mut volumes = list.volumes;
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        if self.quiet && self.format.is_none() {
            let names: String = volumes.iter().map(|v| format!("{}\n", v.name)).collect();
            output::print(names)?;
            return Ok(0);
        }
        let format = self
            .format
            .as_deref()
            .or_else(|| ctx.settings.config.text("volumesFormat"));
        let rows = volumes.iter().map(row).collect();
        output::print(VOLUMES.render(format, rows)?)?;
        Ok(0)
    }
}

fn row(volume: &Volume) -> Map {
    let labels = volume.labels.clone().unwrap_or_default();
    let (size, links) = match &volume.usage_data {
        Some(usage) if usage.size >= 0 => (human_size(usage.size, 3), usage.ref_count.to_string()),
        _ => ("N/A".to_owned(), "N/A".to_owned()),
    };
    let mut row = VOLUMES.row();
    row.push("Driver", volume.driver.as_str());
    row.push("Labels", join_labels(&labels));
    row.push("Links", links);
    row.push("Mountpoint", volume.mountpoint.as_str());
    row.push("Name", volume.name.as_str());
    row.push("Scope", volume.scope.as_str());
    row.push("Size", size);
    format::push_label_method(&mut row, labels);
    row
}

impl Rm {
    async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let force = self.force;
        each(ctx, &self.volumes, |name| async move {
            let path = format!("/volumes/{}", segment(&name));
            let query = Query::new().flag("force", force);
            ctx.engine
                .command(Method::DELETE, &path, Call::query(query))
                .await?;
            Ok(Some(name))
        })
        .await
    }
}

#[cfg(test)]
#[path = "volume/tests.rs"]
mod tests;

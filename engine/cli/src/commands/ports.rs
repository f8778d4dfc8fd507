//! `port` and `top`.

use clap::Args;
use engine_api::{ContainerInspect, ContainerTop};

use super::Context;
use crate::{
    client::{Query, segment},
    error::CliError,
    output, table,
};

/// Docker's `top` has wider columns than its other tables.
const TOP_WIDTH_MIN: usize = 20;

/// Show where a container's ports are published.
#[derive(Args, Clone, Debug)]
pub struct Port {
    /// Name or id of the container
    container: String,
    /// Only this port of the container
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

/// List the processes of a container.
#[derive(Args, Clone, Debug)]
#[command(override_usage = "carrack top CONTAINER [ps OPTIONS]")]
pub struct Top {
    /// Container, and options of ps(1)
    #[arg(required = true, trailing_var_arg = true, value_name = "CONTAINER")]
    words: Vec<String>,
}

impl Port {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let path = format!("/containers/{}/json", segment(&self.container));
        let container: ContainerInspect = ctx.engine.get(&path, Query::new()).await?;
        let mut ports: Vec<_> = container.network_settings.ports.iter().collect();
        ports.sort_by_key(|(port, _)| {
            let (number, kind) = port.split_once('/').unwrap_or((port, ""));
            (number.parse::<u16>().unwrap_or(0), kind.to_owned())
        });
        let address = |ip: &str, port: &str| {
            if ip.contains(':') {
                format!("[{ip}]:{port}")
            } else {
                format!("{ip}:{port}")
            }
        };
        let Some(wanted) = &self.port else {
            for (port, bindings) in ports {
                for binding in bindings.iter().flatten() {
                    let to = address(&binding.host_ip, &binding.host_port);
                    output::line(format!("{port} -> {to}"))?;
                }
            }
            return Ok(0);
        };
        let wanted = if wanted.contains('/') {
            wanted.to_ascii_lowercase()
        } else {
            format!("{wanted}/tcp")
        };
        let found = ports.into_iter().find(|(port, _)| **port == wanted);
        match found {
            Some((_, Some(bindings))) if !bindings.is_empty() => {
                for binding in bindings {
                    output::line(address(&binding.host_ip, &binding.host_port))?;
                }
                Ok(0)
            }
            _ => Err(CliError::usage(format!(
                "Error: No public port '{wanted}' published for {}",
                self.container
            ))),
        }
    }
}

impl Top {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        let (container, options) = self
            .words
            .split_first()
            .ok_or_else(|| CliError::usage("name a container"))?;
        let query = Query::new().maybe("ps_args", (!options.is_empty()).then(|| options.join(" ")));
        let path = format!("/containers/{}/top", segment(container));
        let top: ContainerTop = ctx.engine.get(&path, query).await?;
        let mut rows = vec![top.titles.join("\t")];
        rows.extend(top.processes.iter().map(|process| process.join("\t")));
        output::print(table::align_from(&rows, TOP_WIDTH_MIN))?;
        Ok(0)
    }
}

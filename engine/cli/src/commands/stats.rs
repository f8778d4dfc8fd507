//! `stats`.

use clap::Args;
use engine_api::{ContainerSummary, Stats as Sample};
use tokio::task::JoinSet;

use super::Context;
use crate::{
    client::{Engine, Query, segment},
    error::CliError,
    format::{Listing, short_id},
    output,
    template::Map,
    units::{binary_size, human_size},
};

const STATS: Listing = Listing {
    type_name: "stats",
    heads: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
};

/// Show what containers use of the host.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    carrack stats --no-stream                      once\n  \
    carrack stats --format '{{.Name}} {{.CPUPerc}}' web")]
pub struct Stats {
    /// Show stopped containers too
    #[arg(short, long)]
    all: bool,
    /// Print once and end
    #[arg(long)]
    no_stream: bool,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
    /// Print as 'table', 'table TEMPLATE', 'json' or by a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names or ids; all running containers when left out
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Stats {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        loop {
            let names = self.names(ctx).await?;
            // Each sample takes a second, because CPU use is a difference.
            let rows = samples(&ctx.engine, names, !self.no_trunc).await?;
            let text = STATS.render(self.format.as_deref(), rows)?;
            if self.no_stream {
                output::print(text)?;
                return Ok(0);
            }
            if output::stdout_is_terminal() && self.format.is_none() {
                // Home, then clear what is below: no flicker.
                output::print(format!("\x1b[H\x1b[J{text}"))?;
            } else {
                output::print(text)?;
            }
        }
    }

    async fn names(&self, ctx: &Context) -> Result<Vec<String>, CliError> {
        if !self.containers.is_empty() {
            return Ok(self.containers.clone());
        }
        let query = Query::new().flag("all", self.all);
        let all: Vec<ContainerSummary> = ctx.engine.get("/containers/json", query).await?;
        Ok(all.into_iter().map(|container| container.id).collect())
    }
}

/// One row for each name, in order. A container that went away in between is
/// left out unless it is the only one.
async fn samples(engine: &Engine, names: Vec<String>, cut: bool) -> Result<Vec<Map>, CliError> {
    let count = names.len();
    let mut tasks = JoinSet::new();
    for (at, name) in names.into_iter().enumerate() {
        let engine = engine.clone();
        tasks.spawn(async move {
            let path = format!("/containers/{}/stats", segment(&name));
            let query = Query::new().with("stream", 0);
            (at, name.clone(), engine.get::<Sample>(&path, query).await)
        });
    }
    let mut rows = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let Ok((at, name, sample)) = done else {
            continue;
        };
        match sample {
            Ok(sample) => rows.push((at, row(&name, &sample, cut))),
            Err(error) if count == 1 => return Err(error),
            Err(error) => output::note(error.to_string()),
        }
    }
    rows.sort_by_key(|(at, _)| *at);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn row(name: &str, sample: &Sample, cut: bool) -> Map {
    let bytes = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let used = memory_used(sample);
    let limit = sample.memory_stats.limit;
    let share = if limit == 0 {
        0.0
    } else {
        used as f64 / limit as f64 * 100.0
    };
    let (received, sent) = sample.networks.values().fold((0, 0), |(rx, tx), net| {
        (rx + net.rx_bytes, tx + net.tx_bytes)
    });
    let (read, written) = block_io(sample);
    let mut row = STATS.row();
    row.push("BlockIO", pair(read, written));
    row.push("CPUPerc", format!("{:.2}%", cpu_percent(sample)));
    row.push("Container", name);
    row.push(
        "ID",
        if cut {
            short_id(&sample.id)
        } else {
            &sample.id
        },
    );
    row.push("MemPerc", format!("{share:.2}%"));
    row.push(
        "MemUsage",
        format!(
            "{} / {}",
            binary_size(bytes(used)),
            binary_size(bytes(limit))
        ),
    );
    row.push("Name", sample.name.trim_start_matches('/'));
    row.push("NetIO", pair(received, sent));
    row.push("PIDs", sample.pids_stats.current.to_string());
    row
}

fn pair(a: u64, b: u64) -> String {
    let size = |bytes: u64| human_size(i64::try_from(bytes).unwrap_or(i64::MAX), 3);
    format!("{} / {}", size(a), size(b))
}

/// Page cache that the kernel may drop at any time is not counted:
/// `total_inactive_file` of cgroup v1, `inactive_file` of v2.
fn memory_used(sample: &Sample) -> u64 {
    let memory = &sample.memory_stats;
    let cache = memory
        .stats
        .get("total_inactive_file")
        .or_else(|| memory.stats.get("inactive_file"))
        .copied()
        .unwrap_or(0);
    if cache < memory.usage {
        memory.usage - cache
    } else {
        memory.usage
    }
}

/// Share of one CPU between the two samples: 200 % is two CPUs.
fn cpu_percent(sample: &Sample) -> f64 {
    let (now, before) = (&sample.cpu_stats, &sample.precpu_stats);
    let used = now
        .cpu_usage
        .total_usage
        .saturating_sub(before.cpu_usage.total_usage);
    let passed = now.system_cpu_usage.saturating_sub(before.system_cpu_usage);
    if used == 0 || passed == 0 || before.system_cpu_usage == 0 {
        return 0.0;
    }
    let cpus = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.as_ref().map_or(1, Vec::len) as f64,
        cpus => f64::from(cpus),
    };
    used as f64 / passed as f64 * cpus * 100.0
}

fn block_io(sample: &Sample) -> (u64, u64) {
    let mut total = (0, 0);
    for entry in sample
        .blkio_stats
        .io_service_bytes_recursive
        .iter()
        .flatten()
    {
        match entry.op.to_ascii_lowercase().as_str() {
            "read" => total.0 += entry.value,
            "write" => total.1 += entry.value,
            _ => {}
        }
    }
    total
}

#[cfg(test)]
#[path = "stats/tests.rs"]
mod tests;

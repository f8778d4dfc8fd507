//! `GET /containers/{id}/stats`, and the lines of `top`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine_api::{CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, ThrottlingData};
use tokio::sync::mpsc;

use super::answer::{self, Answer};
use super::request::Request;
use crate::blocking::blocking;
use crate::clock;
use crate::container::Container;
use crate::core::Core;
use crate::error::Result;

/// Between two samples of a stream.
const PERIOD: Duration = Duration::from_secs(1);
/// Clock ticks per second in /proc; fixed by the kernel's ABI (proc(5)).
pub(super) const TICKS: u64 = 100;

pub(super) fn stats(
    core: &Arc<Core>,
    container: Arc<Container>,
    request: &Request,
) -> Result<Answer> {
    let streaming = request.query.flag_or("stream", true);
    let one_shot = request.query.flag("one-shot");
    let (sender, lines) = mpsc::channel(1);
    let closing = core.closing.clone();
    tokio::spawn(async move {
        let mut last = CpuStats::default();
        let mut last_read = clock::NEVER.to_owned();
        let mut first = true;
        loop {
            let mut sample = sample(&container).await;
            sample.precpu_stats = std::mem::replace(&mut last, sample.cpu_stats.clone());
            sample.preread = std::mem::replace(&mut last_read, sample.read.clone());
            // Without a stream the second sample is the answer: its rates mean something.
            let prime = first && !streaming && !one_shot;
            first = false;
            if !prime && sender.send(sample).await.is_err() {
                return;
            }
            if (!prime && !streaming) || container.view().removed {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = sender.closed() => return,
                () = closing.cancelled() => return,
            }
        }
    });
    Ok(answer::lines(lines))
}

async fn sample(container: &Container) -> Stats {
    let view = container.view();
    let mut stats = Stats {
        name: format!("/{}", view.name),
        id: container.id.to_string(),
        read: clock::rfc3339_nanos(clock::now()),
        ..Default::default()
    };
    if !view.state.is_up() {
        return stats;
    }
    // The host's traffic is not the container's.
    if view.host_config.network_mode != "host" {
        stats.networks = networks(view.state.pid());
    }
    let path = container.cgroup.clone();
    let Ok(found) = blocking(move || runtime::cgroup::stats(&path)).await else {
        return stats;
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    stats.cpu_stats = CpuStats {
        cpu_usage: CpuUsage {
            total_usage: found.cpu_total_ns,
            percpu_usage: None,
            usage_in_kernelmode: found.cpu_system_ns,
            usage_in_usermode: found.cpu_user_ns,
        },
        system_cpu_usage: host_cpu_ns(),
        online_cpus: u32::try_from(cpus).unwrap_or(1),
        throttling_data: ThrottlingData {
            periods: found.cpu_periods,
            throttled_periods: found.cpu_throttled_periods,
            throttled_time: found.cpu_throttled_ns,
        },
    };
    stats.memory_stats = MemoryStats {
        usage: found.memory_usage_bytes,
        stats: [
            ("inactive_file".to_owned(), found.memory_inactive_file_bytes),
            (
                "total_inactive_file".to_owned(),
                found.memory_inactive_file_bytes,
            ),
        ]
        .into(),
        limit: found
            .memory_limit_bytes
            .unwrap_or_else(super::system::memory_total),
        ..Default::default()
    };
    stats.pids_stats = PidsStats {
        current: found.pids,
        limit: found.pids_limit.unwrap_or(0),
    };
    stats
}

/// Traffic per interface of the network that a process is in, without the
/// loopback: /proc/pid/net/dev, see proc_pid_net(5).
fn networks(pid: u32) -> BTreeMap<String, NetworkStats> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, counters)| (name.trim(), counters))
        .filter(|(name, _)| *name != "lo")
        .map(|(name, counters)| (name.to_owned(), traffic(counters)))
        .collect()
}

/// Eight counters of what came in, then eight of what went out.
fn traffic(counters: &str) -> NetworkStats {
    let numbers: Vec<u64> = counters
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
    NetworkStats {
        rx_bytes: at(0),
        rx_packets: at(1),
        rx_errors: at(2),
        rx_dropped: at(3),
        tx_bytes: at(8),
        tx_packets: at(9),
        tx_errors: at(10),
        tx_dropped: at(11),
    }
}

/// CPU time of all processors since the host started.
fn host_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1);
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
    let ticks: u64 = fields
        .take(8)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks * (1_000_000_000 / TICKS)
}

//! What a group uses now.

use std::path::Path;

use super::{Cgroup, CgroupError, MOUNT_POINT, Version, failed, read};

/// Nanoseconds in one tick of v1's `cpuacct.stat` (USER_HZ is 100).
const NS_PER_TICK: u64 = 10_000_000;

/// Usage of a group. What the kernel does not count is zero or `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    pub cpu_total_ns: u64,
    pub cpu_user_ns: u64,
    pub cpu_system_ns: u64,
    pub cpu_periods: u64,
    pub cpu_throttled_periods: u64,
    pub cpu_throttled_ns: u64,
    pub memory_usage_bytes: u64,
    /// File pages that would be given up first; `docker stats` subtracts them.
    pub memory_inactive_file_bytes: u64,
    /// `None` is unlimited.
    pub memory_limit_bytes: Option<u64>,
    pub oom_kills: u64,
    pub pids: u64,
    pub pids_limit: Option<u64>,
}

impl Cgroup {
    pub(super) fn stats(&self) -> Result<Stats, CgroupError> {
        if !self.directories().any(|dir| dir.is_dir()) {
            let dir = Path::new(MOUNT_POINT).join(&self.path);
            return Err(failed("read", &dir, std::io::ErrorKind::NotFound.into()));
        }
        Ok(match self.version {
            Version::V1 => self.stats_v1(),
            Version::V2 => self.stats_v2(),
        })
    }

    fn stats_v1(&self) -> Stats {
        let text = |controller, file| {
            self.v1_file(controller, file)
                .and_then(|f| read(&f).ok())
                .unwrap_or_default()
        };
        let number = |controller, file| text(controller, file).trim().parse().ok();
        let (ticks, throttling) = (text("cpuacct", "cpuacct.stat"), text("cpu", "cpu.stat"));
        let memory = text("memory", "memory.stat");
        Stats {
            cpu_total_ns: number("cpuacct", "cpuacct.usage").unwrap_or(0),
            cpu_user_ns: field(&ticks, "user").unwrap_or(0) * NS_PER_TICK,
            cpu_system_ns: field(&ticks, "system").unwrap_or(0) * NS_PER_TICK,
            cpu_periods: field(&throttling, "nr_periods").unwrap_or(0),
            cpu_throttled_periods: field(&throttling, "nr_throttled").unwrap_or(0),
            cpu_throttled_ns: field(&throttling, "throttled_time").unwrap_or(0),
            memory_usage_bytes: number("memory", "memory.usage_in_bytes").unwrap_or(0),
            memory_inactive_file_bytes: field(&memory, "total_inactive_file").unwrap_or(0),
            // "Unlimited" is the largest page-aligned i64.
            memory_limit_bytes: number("memory", "memory.limit_in_bytes").filter(|&n| n < 1 << 62),
            oom_kills: self.oom_kills(),
            pids: number("pids", "pids.current").unwrap_or(0),
            pids_limit: number("pids", "pids.max"),
        }
    }

    fn stats_v2(&self) -> Stats {
        let dir = Path::new(MOUNT_POINT).join(&self.path);
        let text = |file| read(&dir.join(file)).unwrap_or_default();
        let number = |file| text(file).trim().parse().ok();
        let (cpu, memory) = (text("cpu.stat"), text("memory.stat"));
        let cpu_field = |name| field(&cpu, name).unwrap_or(0);
        Stats {
            cpu_total_ns: cpu_field("usage_usec") * 1000,
            cpu_user_ns: cpu_field("user_usec") * 1000,
            cpu_system_ns: cpu_field("system_usec") * 1000,
            cpu_periods: cpu_field("nr_periods"),
            cpu_throttled_periods: cpu_field("nr_throttled"),
            cpu_throttled_ns: cpu_field("throttled_usec") * 1000,
            memory_usage_bytes: number("memory.current").unwrap_or(0),
            memory_inactive_file_bytes: field(&memory, "inactive_file").unwrap_or(0),
            memory_limit_bytes: number("memory.max"),
            oom_kills: self.oom_kills(),
            pids: number("pids.current").unwrap_or(0),
            pids_limit: number("pids.max"),
        }
    }
}

/// The value of `name` in a file of `name value` lines.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
}

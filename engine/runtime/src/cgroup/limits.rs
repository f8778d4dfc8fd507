//! Limits, written to the files of either version.

use std::path::{Path, PathBuf};

use super::{Cgroup, CgroupError, MOUNT_POINT, Version, read, unified, write};
use crate::spec::Limits;

/// The kernel's default `cpu.cfs_period_us`.
const PERIOD_US: u64 = 100_000;

impl Cgroup {
    /// Applies every limit that is set.
    pub(super) fn apply(&self, limits: &Limits) -> Result<Vec<String>, CgroupError> {
        match self.version {
            Version::V1 => self.apply_v1(limits),
            Version::V2 => self.apply_v2(limits),
        }
    }

    fn apply_v1(&self, limits: &Limits) -> Result<Vec<String>, CgroupError> {
        let mut warnings = Vec::new();
        let set = |controller, limit, file: &str, value: Option<String>| match value {
            None => Ok(()),
            Some(value) => {
                let file = self.v1_file(controller, file).filter(|f| f.exists());
                let file = file.ok_or(CgroupError::NoController { limit, controller })?;
                write(&file, &value)
            }
        };
        let text = |n: Option<u64>| n.map(|n| n.to_string());
        let reservation = text(limits.memory_reservation_bytes);
        self.set_memory_v1(limits, &mut warnings)?;
        let soft = "memory.soft_limit_in_bytes";
        set("memory", "memory reservation", soft, reservation)?;
        set(
            "cpu",
            "cpu period",
            "cpu.cfs_period_us",
            text(limits.cpu_period_us),
        )?;
        let quota = limits.cpu_quota_us.map(|n| n.to_string());
        set("cpu", "cpu quota", "cpu.cfs_quota_us", quota)?;
        set("cpu", "cpu shares", "cpu.shares", text(limits.cpu_shares))?;
        set(
            "cpuset",
            "cpuset cpus",
            "cpuset.cpus",
            limits.cpuset_cpus.clone(),
        )?;
        set(
            "cpuset",
            "cpuset mems",
            "cpuset.mems",
            limits.cpuset_mems.clone(),
        )?;
        set("pids", "pids limit", "pids.max", text(limits.pids_max))?;
        if let Some(weight) = limits.blkio_weight {
            let files = ["blkio.weight", "blkio.bfq.weight"];
            let file = files
                .iter()
                .find_map(|f| self.v1_file("blkio", f).filter(|f| f.exists()));
            match file {
                Some(file) => write(&file, &weight.to_string())?,
                None => warnings.push("this kernel has no block I/O weights: ignored".to_owned()),
            }
        }
        Ok(warnings)
    }

    /// memsw may never be below the memory limit, so the order depends on
    /// whether the limit grows.
    fn set_memory_v1(
        &self,
        limits: &Limits,
        warnings: &mut Vec<String>,
    ) -> Result<(), CgroupError> {
        let missing = CgroupError::NoController {
            limit: "memory limit",
            controller: "memory",
        };
        let file = |name| {
            self.v1_file("memory", name)
                .filter(|f: &PathBuf| f.exists())
        };
        let memory = limits.memory_bytes.map(|n| n.to_string());
        let swap = limits.memory_swap_bytes.map(|n| n.to_string());
        let swap_file = file("memory.memsw.limit_in_bytes");
        if swap.is_some() && swap_file.is_none() {
            warnings.push("this kernel does not account swap: swap limit ignored".to_owned());
        }
        let Some(memory) = memory else {
            return match (swap, swap_file) {
                (Some(swap), Some(file)) => write(&file, &swap),
                _ => Ok(()),
            };
        };
        let memory_file = file("memory.limit_in_bytes").ok_or(missing)?;
        match (swap, swap_file) {
            (Some(swap), Some(swap_file)) => {
                if write(&memory_file, &memory).is_err() {
                    write(&swap_file, &swap)?;
                    return write(&memory_file, &memory);
                }
                write(&swap_file, &swap)
            }
            _ => write(&memory_file, &memory),
        }
    }

    fn apply_v2(&self, limits: &Limits) -> Result<Vec<String>, CgroupError> {
        let dir = Path::new(MOUNT_POINT).join(&self.path);
        let mut warnings = Vec::new();
        let set = |controller, limit, file: &str, value: Option<String>| match value {
            None => Ok(()),
            Some(_) if !dir.join(file).exists() => {
                Err(unified::missing(Path::new(MOUNT_POINT), limit, controller))
            }
            Some(value) => write(&dir.join(file), &value),
        };
        let text = |n: Option<u64>| n.map(|n| n.to_string());
        set(
            "memory",
            "memory limit",
            "memory.max",
            text(limits.memory_bytes),
        )?;
        let reservation = text(limits.memory_reservation_bytes);
        set("memory", "memory reservation", "memory.low", reservation)?;
        if let Some(total) = limits.memory_swap_bytes {
            // An update may name the total alone.
            let current = || read(&dir.join("memory.max")).ok()?.trim().parse().ok();
            let memory = limits.memory_bytes.or_else(current);
            let swap = swap_max(total, memory)?;
            if dir.join("memory.swap.max").exists() {
                write(&dir.join("memory.swap.max"), &swap)?;
            } else {
                warnings.push("this kernel does not account swap: swap limit ignored".to_owned());
            }
        }
        set("cpu", "cpu quota", "cpu.max", cpu_max(limits))?;
        let weight = limits
            .cpu_shares
            .map(|shares| weight_of_shares(shares).to_string());
        set("cpu", "cpu shares", "cpu.weight", weight)?;
        set(
            "cpuset",
            "cpuset cpus",
            "cpuset.cpus",
            limits.cpuset_cpus.clone(),
        )?;
        set(
            "cpuset",
            "cpuset mems",
            "cpuset.mems",
            limits.cpuset_mems.clone(),
        )?;
        set("pids", "pids limit", "pids.max", text(limits.pids_max))?;
        if let Some(weight) = limits.blkio_weight {
            // BFQ has a file and a scale of its own, v1's.
            let bfq = dir.join("io.bfq.weight");
            let written = match bfq.exists() {
                true => write(&bfq, &weight.to_string()),
                false => {
                    let value = weight_of_blkio(weight).to_string();
                    set("io", "block I/O weight", "io.weight", Some(value))
                }
            };
            if written.is_err() {
                warnings.push("this kernel has no block I/O weights: ignored".to_owned());
            }
        }
        Ok(warnings)
    }
}

/// `cpu.max`: quota (or `max`) and period.
pub(super) fn cpu_max(limits: &Limits) -> Option<String> {
    if limits.cpu_quota_us.is_none() && limits.cpu_period_us.is_none() {
        return None;
    }
    let quota = limits
        .cpu_quota_us
        .filter(|&n| n > 0)
        .map(|n| n.to_string());
    let quota = quota.as_deref().unwrap_or("max");
    Some(format!(
        "{quota} {}",
        limits.cpu_period_us.unwrap_or(PERIOD_US)
    ))
}

/// `memory.swap.max` of Docker's memory plus swap; negative is unlimited.
pub(super) fn swap_max(total: i64, memory: Option<u64>) -> Result<String, CgroupError> {
    match (u64::try_from(total), memory) {
        (Err(_), _) => Ok("max".to_owned()),
        (Ok(total), Some(memory)) => Ok(total.saturating_sub(memory).to_string()),
        (Ok(_), None) => Err(CgroupError::SwapWithoutMemory),
    }
}

/// Maps v1's 2..262144 to v2's 1..10000 so that the defaults, 1024 and 100,
/// are the same: the newer curve of runc through the three points.
/// A straight line would give a container that asks for the default less than
/// half of what one that asks for nothing gets.
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// Maps v1's 10..1000 to v2's 1..10000.
pub(super) fn weight_of_blkio(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9_999 / 990
}

//! `docker update`: other limits and another restart policy for a container
//! that exists. Pure.

use std::mem;

use engine_api::{ContainerConfig, HostConfig};

use super::refusal;
use crate::error::{EngineError, Result};

/// The host configuration with what `wanted` sets. Zero, empty and null leave
/// a value as it is, as with Docker.
///
/// # Errors
/// 501 for what cannot be changed once a container exists, 400 for what could
/// not have been created either, 409 for limits that contradict the others.
pub(crate) fn apply(
    config: &ContainerConfig,
    now: &HostConfig,
    mut wanted: HostConfig,
) -> Result<HostConfig> {
    let mut next = now.clone();
    check_conflicts(now, &wanted)?;
    let policy = mem::take(&mut wanted.restart_policy);
    if !policy.name.is_empty() {
        next.restart_policy = policy;
    }
    set(&mut next.memory, &mut wanted.memory);
    set(&mut next.memory_swap, &mut wanted.memory_swap);
    set(&mut next.memory_reservation, &mut wanted.memory_reservation);
    set(&mut next.cpu_shares, &mut wanted.cpu_shares);
    set(&mut next.cpu_period, &mut wanted.cpu_period);
    set(&mut next.cpu_quota, &mut wanted.cpu_quota);
    set(&mut next.nano_cpus, &mut wanted.nano_cpus);
    set(&mut next.cpuset_cpus, &mut wanted.cpuset_cpus);
    set(&mut next.cpuset_mems, &mut wanted.cpuset_mems);
    set(&mut next.blkio_weight, &mut wanted.blkio_weight);
    set(&mut next.pids_limit, &mut wanted.pids_limit);
    forget_empty(&mut wanted);
    if wanted != HostConfig::default() {
        return Err(EngineError::NotImplemented(
            "docker update of anything but memory, swap, CPUs, cpusets, block I/O weight, \
             --pids-limit and --restart is not supported by Carrack yet"
                .to_owned(),
        ));
    }
    refusal::check(config, &next, None)?;
    Ok(next)
}

fn set<T: Default + PartialEq>(to: &mut T, from: &mut T) {
    let value = mem::take(from);
    if value != T::default() {
        *to = value;
    }
}

fn check_conflicts(now: &HostConfig, wanted: &HostConfig) -> Result<()> {
    if wanted.memory > 0
        && wanted.memory_swap == 0
        && now.memory_swap > 0
        && wanted.memory > now.memory_swap
    {
        return Err(EngineError::Conflict(
            "Memory limit should be smaller than already set memoryswap limit, \
             update the memoryswap at the same time"
                .to_owned(),
        ));
    }
    let conflict = |what: &str, with: &str| {
        Err(EngineError::Conflict(format!(
            "Conflicting options: {what} cannot be updated as {with} has already been set"
        )))
    };
    match wanted {
        wanted if wanted.nano_cpus > 0 && now.cpu_period > 0 => conflict("Nano CPUs", "CPU Period"),
        wanted if wanted.nano_cpus > 0 && now.cpu_quota > 0 => conflict("Nano CPUs", "CPU Quota"),
        wanted if wanted.cpu_period > 0 && now.nano_cpus > 0 => conflict("CPU Period", "NanoCPUs"),
        wanted if wanted.cpu_quota > 0 && now.nano_cpus > 0 => conflict("CPU Quota", "NanoCPUs"),
        _ => Ok(()),
    }
}

/// Clients send some lists and switches that say nothing.
fn forget_empty(wanted: &mut HostConfig) {
    fn forget<T>(list: &mut Option<Vec<T>>) {
        if list.as_ref().is_some_and(Vec::is_empty) {
            *list = None;
        }
    }
    forget(&mut wanted.blkio_weight_device);
    forget(&mut wanted.blkio_device_read_bps);
    forget(&mut wanted.blkio_device_write_bps);
    forget(&mut wanted.blkio_device_read_iops);
    forget(&mut wanted.blkio_device_write_iops);
    forget(&mut wanted.devices);
    forget(&mut wanted.device_cgroup_rules);
    forget(&mut wanted.device_requests);
    forget(&mut wanted.ulimits);
    if wanted.oom_kill_disable == Some(false) {
        wanted.oom_kill_disable = None;
    }
    if wanted.memory_swappiness == Some(-1) {
        wanted.memory_swappiness = None;
    }
}

#[cfg(test)]
#[path = "update/tests.rs"]
mod tests;

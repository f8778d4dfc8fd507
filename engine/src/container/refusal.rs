//! What a create request may ask for and Carrack cannot do: refused by name.
//!
//! Nothing is ignored silently: a user who asks for a limit or a protection
//! and does not get it must know. Pure.

use engine_api::{ContainerConfig, HostConfig, NetworkingConfig};

use crate::error::{EngineError, Result};

/// # Errors
/// 501 with the flag's name for the first thing that cannot be honoured, 400
/// for what no engine could.
pub(crate) fn check(
    config: &ContainerConfig,
    host: &HostConfig,
    networking: Option<&NetworkingConfig>,
) -> Result<()> {
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let full = |list: Option<usize>| list.is_some_and(|len| len > 0);
    let table: &[(bool, &str)] = &[
        (
            config
                .healthcheck
                .as_ref()
                .is_some_and(|h| !h.test.is_empty() && h.test[0] != "NONE"),
            "--health-cmd",
        ),
        (!config.mac_address.is_empty(), "--mac-address"),
        (config.network_disabled, "NetworkDisabled"),
        (some(&host.volumes_from), "--volumes-from"),
        (some(&host.links), "--link"),
        (some(&host.device_cgroup_rules), "--device-cgroup-rule"),
        (
            !matches!(host.volume_driver.as_str(), "" | "local"),
            "--volume-driver",
        ),
        (
            !matches!(host.userns_mode.as_str(), "" | "host"),
            "--userns",
        ),
        (
            !matches!(host.isolation.as_str(), "" | "default"),
            "--isolation",
        ),
        (!matches!(host.uts_mode.as_str(), "" | "host"), "--uts"),
        (
            !matches!(host.cgroupns_mode.as_str(), "" | "private" | "host"),
            "--cgroupns",
        ),
        (!host.cgroup.is_empty(), "Cgroup"),
        (!host.storage_opt.is_empty(), "--storage-opt"),
        (full(host.device_requests.as_ref().map(Vec::len)), "--gpus"),
        (
            full(host.blkio_weight_device.as_ref().map(Vec::len)),
            "--blkio-weight-device",
        ),
        (
            full(host.blkio_device_read_bps.as_ref().map(Vec::len)),
            "--device-read-bps",
        ),
        (
            full(host.blkio_device_write_bps.as_ref().map(Vec::len)),
            "--device-write-bps",
        ),
        (
            full(host.blkio_device_read_iops.as_ref().map(Vec::len)),
            "--device-read-iops",
        ),
        (
            full(host.blkio_device_write_iops.as_ref().map(Vec::len)),
            "--device-write-iops",
        ),
        (host.cpu_realtime_period != 0, "--cpu-rt-period"),
        (host.cpu_realtime_runtime != 0, "--cpu-rt-runtime"),
        (host.cpu_count != 0, "--cpu-count"),
        (host.cpu_percent != 0, "--cpu-percent"),
        (host.io_maximum_iops != 0, "--io-maxiops"),
        (host.io_maximum_bandwidth != 0, "--io-maxbandwidth"),
        (host.kernel_memory_tcp != 0, "--kernel-memory-tcp"),
        (
            host.memory_swappiness.is_some_and(|value| value != -1),
            "--memory-swappiness",
        ),
        (host.oom_kill_disable == Some(true), "--oom-kill-disable"),
        (host.init == Some(true), "--init"),
    ];
    for (asked, name) in table {
        if *asked {
            return Err(EngineError::NotImplemented(format!(
                "{name} is not supported by Carrack yet"
            )));
        }
    }
    check_words(host)?;
    check_limits(host)?;
    check_endpoints(networking)
}

fn check_words(host: &HostConfig) -> Result<()> {
    if !matches!(host.runtime.as_str(), "" | "carrack" | "runc") {
        return Err(EngineError::bad(format!(
            "unknown or invalid runtime name: {}",
            host.runtime
        )));
    }
    match host.log_config.kind.as_str() {
        "" | "json-file" | "none" => {}
        other => {
            return Err(EngineError::NotImplemented(format!(
                "--log-driver {other} is not supported by Carrack yet: use json-file or none"
            )));
        }
    }
    for option in host.log_config.config.keys() {
        if !matches!(option.as_str(), "max-size" | "max-file") {
            return Err(EngineError::bad(format!(
                "unknown log opt '{option}' for json-file log driver"
            )));
        }
    }
    let policy = &host.restart_policy;
    match policy.name.as_str() {
        "" | "no" | "always" | "unless-stopped" if policy.maximum_retry_count != 0 => {
            return Err(EngineError::bad(
                "invalid restart policy: maximum retry count can only be used with 'on-failure'",
            ));
        }
        "" | "no" | "always" | "unless-stopped" | "on-failure" => {}
        other => {
            return Err(EngineError::bad(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )));
        }
    }
    if policy.maximum_retry_count < 0 {
        return Err(EngineError::bad(
            "invalid restart policy: maximum retry count cannot be negative",
        ));
    }
    if host.auto_remove && !matches!(policy.name.as_str(), "" | "no") {
        return Err(EngineError::bad(
            "can't set 'AutoRemove' and 'RestartPolicy' at the same time",
        ));
    }
    Ok(())
}

fn check_limits(host: &HostConfig) -> Result<()> {
    // Docker's floor: below it the kernel kills the init process at once.
    if host.memory != 0 && host.memory < 6 * 1024 * 1024 {
        return Err(EngineError::bad("Minimum memory limit allowed is 6MB"));
    }
    if host.memory_swap > 0 && host.memory == 0 {
        return Err(EngineError::bad(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ));
    }
    if host.memory_swap > 0 && host.memory_swap < host.memory {
        return Err(EngineError::bad(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ));
    }
    if host.memory_reservation != 0 && host.memory != 0 && host.memory < host.memory_reservation {
        return Err(EngineError::bad(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ));
    }
    if host.nano_cpus < 0 || (host.nano_cpus > 0 && (host.cpu_period != 0 || host.cpu_quota != 0)) {
        return Err(EngineError::bad(
            "Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set",
        ));
    }
    if host.shm_size < 0 {
        return Err(EngineError::bad("SHM size can not be less than 0"));
    }
    if host.blkio_weight != 0 && !(10..=1000).contains(&host.blkio_weight) {
        return Err(EngineError::bad("Range of blkio weight is from 10 to 1000"));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(EngineError::bad(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    Ok(())
}

fn check_endpoints(networking: Option<&NetworkingConfig>) -> Result<()> {
    let endpoints = networking.map(|networking| &networking.endpoints_config);
    for (network, endpoint) in endpoints.into_iter().flatten() {
        let Some(endpoint) = endpoint else { continue };
        let address = endpoint.ipam_config.as_ref();
        if address
            .is_some_and(|ipam| !ipam.ipv4_address.is_empty() || !ipam.ipv6_address.is_empty())
        {
            return Err(EngineError::bad(
                "invalid config for network bridge: user specified IP address is supported on user defined networks only",
            ));
        }
        if endpoint
            .aliases
            .as_ref()
            .is_some_and(|aliases| !aliases.is_empty())
        {
            return Err(EngineError::bad(format!(
                "invalid config for network {network}: network-scoped aliases are only supported for user-defined networks"
            )));
        }
        if !endpoint.mac_address.is_empty() {
            return Err(EngineError::NotImplemented(
                "--mac-address is not supported by Carrack yet".to_owned(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "refusal/tests.rs"]
mod tests;

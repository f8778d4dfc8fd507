//! From Docker's configuration to the runtime's: one pure function.
//!
//! Everything that needs the system (snapshots, volumes, pids of other
//! containers, device numbers) is looked up before and passed in.

use std::path::{Path, PathBuf};

use engine_api::{ContainerConfig, HostConfig, Ulimit};
use runtime::spec::{
    Capabilities, ContainerSpec, Device, Limits, LogSpec, Mount, MountKind, Namespace, NetMode,
    ProcessSpec, Propagation, Resource, Rlimit, Rootfs, Seccomp,
};

use super::merge;
use super::mounts::{PlannedMount, PlannedSource};
use crate::error::{EngineError, Result};

/// Kernel period for `--cpus`, in microseconds: the default of both cgroup versions.
const CPU_PERIOD_US: i64 = 100_000;

/// Where the container's network comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Net {
    /// A namespace from the bridge, sent along as a descriptor.
    Bridge,
    None,
    Host,
    /// That of the container whose init has this pid.
    Join(u32),
}

/// What the spec is built from.
#[derive(Debug)]
pub(crate) struct SpecInput<'a> {
    pub(crate) id: &'a str,
    /// Holds the log, `hosts`, `hostname`, `resolv.conf` and the monitor's files.
    pub(crate) state_dir: &'a Path,
    pub(crate) rootfs: Rootfs,
    pub(crate) config: &'a ContainerConfig,
    pub(crate) host: &'a HostConfig,
    /// Mounts with the host path of each volume in place of its name.
    pub(crate) mounts: &'a [(PlannedMount, PathBuf)],
    pub(crate) devices: Vec<Device>,
    pub(crate) net: Net,
    pub(crate) ipc: Namespace,
    pub(crate) pid: Namespace,
    pub(crate) host_name: &'a str,
    pub(crate) cgroup_parent: &'a str,
    pub(crate) log_max_bytes: u64,
    pub(crate) log_max_files: u32,
}

/// # Errors
/// 400 for what cannot be read: a capability, ulimit, security option, size.
pub(crate) fn build(input: SpecInput<'_>) -> Result<ContainerSpec> {
    let (config, host) = (input.config, input.host);
    let hostname = host_name(&input);
    let mut process = process(config, host, &hostname)?;
    process.capabilities = Capabilities::docker_default()
        .adjust(
            host.cap_add.as_deref().unwrap_or(&[]),
            host.cap_drop.as_deref().unwrap_or(&[]),
        )
        .map_err(|error| EngineError::bad(error.to_string()))?;
    process.rlimits = rlimits(host.ulimits.as_deref().unwrap_or(&[]))?;
    let mut spec = ContainerSpec::new(
        input.id,
        input.state_dir.to_owned(),
        input.rootfs.clone(),
        process,
    );
    spec.read_only_rootfs = host.readonly_rootfs;
    spec.domainname.clone_from(&config.domainname);
    spec.hostname = hostname;
    if let Some(paths) = &host.masked_paths {
        spec.masked_paths.clone_from(paths);
    }
    if let Some(paths) = &host.readonly_paths {
        spec.read_only_paths.clone_from(paths);
    }
    if host.privileged {
        spec.make_privileged();
        if let Some(seccomp) = seccomp_option(host)? {
            spec.process.seccomp = seccomp;
        }
    }
    if let Ok(size) = u64::try_from(host.shm_size)
        && size > 0
    {
        spec.set_shm_size(size);
    }
    spec.devices = input.devices.clone();
    spec.sysctls.clone_from(&host.sysctls);
    namespaces(&mut spec, &input);
    mounts(&mut spec, &input);
    spec.cgroup.path = cgroup_path(&input);
    spec.cgroup.limits = limits(host)?;
    spec.log = log(&input)?;
    spec.validate()
        .map_err(|error| EngineError::bad(error.to_string()))?;
    Ok(spec)
}

fn host_name(input: &SpecInput<'_>) -> String {
    if !input.config.hostname.is_empty() {
        return input.config.hostname.clone();
    }
    if input.net == Net::Host || input.host.uts_mode == "host" {
        return input.host_name.to_owned();
    }
    input.id.chars().take(crate::id::SHORT_LEN).collect()
}

pub(crate) fn process(
    config: &ContainerConfig,
    host: &HostConfig,
    hostname: &str,
) -> Result<ProcessSpec> {
    let mut process = ProcessSpec::new(merge::command(config));
    process.env = environment(config, hostname);
    if !config.working_dir.is_empty() {
        process.cwd = absolute(&config.working_dir);
    }
    process.user.clone_from(&config.user);
    process.additional_groups = host.group_add.clone().unwrap_or_default();
    process.tty = config.tty;
    process.open_stdin = config.open_stdin;
    let [rows, columns] = host.console_size;
    let side = |n: u32| u16::try_from(n).ok().filter(|n| *n > 0);
    process.tty_size = side(columns).zip(side(rows)).filter(|_| config.tty);
    process.no_new_privileges = no_new_privileges(host)?;
    process.seccomp = seccomp_option(host)?.unwrap_or(Seccomp::Default);
    process.oom_score_adj = (host.oom_score_adj != 0).then_some(host.oom_score_adj);
    Ok(process)
}

/// The variables every container has, unless it sets them itself.
fn environment(config: &ContainerConfig, hostname: &str) -> Vec<String> {
    let given = config.env.as_deref().unwrap_or(&[]);
    let has = |name: &str| {
        given
            .iter()
            .any(|entry| entry.split('=').next() == Some(name))
    };
    let mut env = Vec::with_capacity(given.len() + 3);
    if !has("PATH") {
        env.push(runtime::spec::DEFAULT_PATH.to_owned());
    }
    if !has("HOSTNAME") {
        env.push(format!("HOSTNAME={hostname}"));
    }
    if config.tty && !has("TERM") {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(given.iter().cloned());
    env
}

/// Docker takes a relative working directory as one below the root.
fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

fn namespaces(spec: &mut ContainerSpec, input: &SpecInput<'_>) {
    spec.namespaces.net = match input.net {
        Net::Bridge => NetMode::Fd,
        Net::None => NetMode::Private,
        Net::Host => NetMode::Host,
        Net::Join(pid) => NetMode::Join(pid),
    };
    spec.namespaces.ipc = input.ipc;
    spec.namespaces.pid = input.pid;
    if input.host.uts_mode == "host" {
        spec.namespaces.uts = Namespace::Host;
    }
    if input.host.cgroupns_mode == "host" {
        spec.namespaces.cgroup = Namespace::Host;
    }
}

fn mounts(spec: &mut ContainerSpec, input: &SpecInput<'_>) {
    for name in ["hosts", "hostname", "resolv.conf"] {
        spec.mounts.push(Mount {
            target: format!("/etc/{name}"),
            kind: bind(input.state_dir.join(name), false, Propagation::Private),
            read_only: input.host.readonly_rootfs,
        });
    }
    for (planned, path) in input.mounts {
        // A mount of the user takes the place of one of ours at the same target.
        spec.mounts.retain(|mount| mount.target != planned.target);
        let kind = match &planned.source {
            PlannedSource::Bind {
                recursive,
                propagation,
                ..
            } => bind(path.clone(), *recursive, *propagation),
            PlannedSource::Volume { .. } => bind(path.clone(), true, Propagation::Private),
            PlannedSource::Tmpfs {
                size_bytes,
                mode,
                exec,
            } => MountKind::Tmpfs {
                size_bytes: *size_bytes,
                mode: *mode,
                exec: *exec,
            },
        };
        spec.mounts.push(Mount {
            target: planned.target.clone(),
            kind,
            read_only: planned.read_only,
        });
    }
}

fn bind(source: PathBuf, recursive: bool, propagation: Propagation) -> MountKind {
    MountKind::Bind {
        source,
        recursive,
        propagation,
    }
}

/// The container's group relative to the root of each hierarchy.
fn cgroup_path(input: &SpecInput<'_>) -> String {
    let parent = match input.host.cgroup_parent.trim_matches('/') {
        "" => input.cgroup_parent,
        own => own,
    };
    format!("{parent}/{}", input.id)
}

/// The limits that a host configuration asks for.
///
/// # Errors
/// 400 for CPUs below what the kernel can divide.
pub(crate) fn limits(host: &HostConfig) -> Result<Limits> {
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let (mut quota, mut period) = (
        (host.cpu_quota != 0).then_some(host.cpu_quota),
        positive(host.cpu_period),
    );
    if host.nano_cpus > 0 {
        let microseconds = i128::from(host.nano_cpus) * i128::from(CPU_PERIOD_US) / 1_000_000_000;
        // The kernel refuses quotas below a millisecond.
        if microseconds < 1000 {
            return Err(EngineError::bad("invalid CPUs: the least is 0.01"));
        }
        quota = Some(i64::try_from(microseconds).unwrap_or(i64::MAX));
        period = positive(CPU_PERIOD_US);
    }
    Ok(Limits {
        memory_bytes: positive(host.memory),
        memory_swap_bytes: match host.memory_swap {
            // Docker's default: as much swap again as memory.
            0 if host.memory > 0 => Some(host.memory.saturating_mul(2)),
            0 => None,
            swap => Some(swap),
        },
        memory_reservation_bytes: positive(host.memory_reservation),
        cpu_quota_us: quota,
        cpu_period_us: period,
        cpu_shares: positive(host.cpu_shares),
        cpuset_cpus: text(&host.cpuset_cpus),
        cpuset_mems: text(&host.cpuset_mems),
        pids_max: host.pids_limit.and_then(positive),
        blkio_weight: (host.blkio_weight > 0).then_some(host.blkio_weight),
    })
}

fn log(input: &SpecInput<'_>) -> Result<LogSpec> {
    let config = &input.host.log_config;
    if config.kind == "none" {
        return Ok(LogSpec::None);
    }
    let bad =
        |name: &str, value: &str| EngineError::bad(format!("invalid value for {name}: {value}"));
    let max_bytes = match config.config.get("max-size") {
        None => input.log_max_bytes,
        Some(text) => super::mounts::parse_size(text)
            .filter(|size| *size > 0)
            .ok_or_else(|| bad("max-size", text))?,
    };
    let max_files = match config.config.get("max-file") {
        None => input.log_max_files,
        Some(text) => text
            .parse()
            .ok()
            .filter(|files| (1..=1000).contains(files))
            .ok_or_else(|| bad("max-file", text))?,
    };
    Ok(LogSpec::JsonFile {
        path: log_path(input.state_dir),
        max_bytes,
        max_files,
    })
}

/// The current log file of the container whose state directory is given.
pub(crate) fn log_path(state_dir: &Path) -> PathBuf {
    state_dir.join("container.log")
}

/// `--security-opt` in both spellings: `key=value` and the older `key:value`.
fn security_options(host: &HostConfig) -> impl Iterator<Item = (&str, &str)> {
    host.security_opt.iter().flatten().map(|option| {
        option
            .split_once('=')
            .or_else(|| option.split_once(':'))
            .unwrap_or((option, ""))
    })
}

fn no_new_privileges(host: &HostConfig) -> Result<bool> {
    let mut on = false;
    for (key, value) in security_options(host) {
        match key {
            "no-new-privileges" => match value {
                "" | "true" => on = true,
                "false" => on = false,
                _ => {
                    return Err(EngineError::bad(format!(
                        "invalid --security-opt 2: \"{key}={value}\""
                    )));
                }
            },
            // Checked by `seccomp_option`; labels have no meaning without SELinux.
            "seccomp" | "label" => {}
            "apparmor" if matches!(value, "unconfined" | "") => {}
            "apparmor" => {
                return Err(EngineError::NotImplemented(format!(
                    "--security-opt apparmor={value} is not supported by Carrack yet: use apparmor=unconfined"
                )));
            }
            _ => {
                return Err(EngineError::bad(format!(
                    "invalid --security-opt 1: \"{key}\""
                )));
            }
        }
    }
    Ok(on)
}

pub(crate) fn seccomp_option(host: &HostConfig) -> Result<Option<Seccomp>> {
    let mut wanted = None;
    for (key, value) in security_options(host) {
        if key == "seccomp" {
            wanted = Some(match value {
                "unconfined" => Seccomp::Unconfined,
                "builtin" => Seccomp::Default,
                profile if profile.trim_start().starts_with('{') => {
                    Seccomp::Profile(profile.to_owned())
                }
                _ => {
                    return Err(EngineError::bad(
                        "invalid seccomp profile: send the profile's JSON, unconfined or builtin",
                    ));
                }
            });
        }
    }
    Ok(wanted)
}

pub(crate) fn rlimits(ulimits: &[Ulimit]) -> Result<Vec<Rlimit>> {
    ulimits
        .iter()
        .map(|ulimit| {
            // Negative is unlimited, as -1 is in setrlimit(2).
            let value = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
            let (soft, hard) = (value(ulimit.soft), value(ulimit.hard));
            if soft > hard {
                return Err(EngineError::bad(format!(
                    "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                    ulimit.soft, ulimit.hard
                )));
            }
            Ok(Rlimit {
                resource: resource(&ulimit.name)?,
                soft,
                hard,
            })
        })
        .collect()
}

fn resource(name: &str) -> Result<Resource> {
    Ok(match name {
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return Err(EngineError::bad(format!("invalid ulimit type: {name}"))),
    })
}

#[cfg(test)]
#[path = "spec/tests.rs"]
mod tests;

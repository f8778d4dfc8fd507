//! Options → the body of `POST /containers/create`.

use std::collections::BTreeMap;

use engine_api::{ContainerConfig, ContainerCreateRequest, HostConfig, LogConfig};
use serde_json::json;

use super::{ContainerOptions, Stream};
use crate::{
    error::CliError,
    flags::{self, Volume},
    terminal,
};

/// Which streams a new container has attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

impl ContainerOptions {
    /// What `-a`, `-i` and `-d` mean together: without `-a`, output and, with
    /// `-i`, input; nothing at all in the background.
    pub fn attached(&self, detach: bool) -> Attached {
        let given = |stream| self.process.attach.contains(&stream);
        if detach {
            return Attached {
                stdin: false,
                stdout: false,
                stderr: false,
            };
        }
        if self.process.attach.is_empty() {
            return Attached {
                stdin: self.process.interactive,
                stdout: true,
                stderr: true,
            };
        }
        Attached {
            stdin: given(Stream::Stdin),
            stdout: given(Stream::Stdout),
            stderr: given(Stream::Stderr),
        }
    }

    /// Checks the options against each other and makes the request.
    ///
    /// # Errors
    /// Options that exclude each other, and files that cannot be read.
    pub fn request(
        &self,
        image: &str,
        command: &[String],
        detach: bool,
    ) -> Result<ContainerCreateRequest, CliError> {
        self.check()?;
        let attached = self.attached(detach);
        let usage = |message: String| CliError::Usage(message);
        let mut exposed = BTreeMap::new();
        let published = self.network.publish.iter().flat_map(|p| p.0.iter());
        for (port, _) in published {
            exposed.insert(port.clone(), json!({}));
        }
        for port in self.network.expose.iter().flat_map(|e| e.0.iter()) {
            exposed.insert(port.clone(), json!({}));
        }
        let volumes: BTreeMap<_, _> = self
            .file_systems
            .volume
            .iter()
            .filter_map(|volume| match volume {
                Volume::Anonymous(path) => Some((path.clone(), json!({}))),
                Volume::Bind(_) => None,
            })
            .collect();
        let config = ContainerConfig {
            hostname: text(&self.identity.hostname),
            domainname: text(&self.identity.domainname),
            user: text(&self.process.user),
            attach_stdin: attached.stdin,
            attach_stdout: attached.stdout,
            attach_stderr: attached.stderr,
            exposed_ports: exposed,
            tty: self.process.tty,
            open_stdin: self.process.interactive,
            stdin_once: self.process.interactive && attached.stdin,
            env: Some(
                flags::environment(&self.process.env_file, &self.process.env).map_err(usage)?,
            ),
            cmd: (!command.is_empty()).then(|| command.to_vec()),
            entrypoint: self.process.entrypoint.clone().map(|word| vec![word]),
            healthcheck: self.health.config(),
            image: image.to_owned(),
            volumes: (!volumes.is_empty()).then_some(volumes),
            working_dir: text(&self.process.workdir),
            mac_address: text(&self.network.mac_address),
            labels: flags::labels(&self.identity.label_file, &self.identity.label)
                .map_err(usage)?,
            stop_signal: text(&self.process.stop_signal),
            stop_timeout: self.process.stop_timeout,
            ..ContainerConfig::default()
        };
        Ok(ContainerCreateRequest {
            config,
            host_config: Some(self.host_config()?),
            networking_config: self.network.endpoints()?,
        })
    }

    fn check(&self) -> Result<(), CliError> {
        let both =
            |a: &str, b: &str| Err(CliError::usage(format!("conflicting options: {a} and {b}")));
        if self.identity.rm
            && self
                .identity
                .restart
                .as_ref()
                .is_some_and(|r| !matches!(r.name.as_str(), "" | "no"))
        {
            return both("--restart", "--rm");
        }
        if self.health.no_healthcheck
            && (self.health.health_cmd.is_some() || self.health.health_interval.is_some())
        {
            return both("--no-healthcheck", "--health-*");
        }
        if self.limits.cpus.is_some()
            && [self.limits.cpu_quota, self.limits.cpu_period]
                .iter()
                .flatten()
                .any(|n| *n != 0)
        {
            return both("--cpus", "--cpu-quota and --cpu-period");
        }
        if let Some(share) = self.limits.memory_swappiness
            && !(-1..=100).contains(&share)
        {
            return Err(CliError::usage(format!(
                "invalid value: {share}. Valid memory swappiness range is 0-100"
            )));
        }
        if let Some(text) = &self.identity.platform
            && oci::Platform::parse(text).is_none()
        {
            return Err(CliError::usage(format!(
                "invalid platform '{text}': write os/architecture[/variant], such as linux/arm64"
            )));
        }
        Ok(())
    }

    fn host_config(&self) -> Result<HostConfig, CliError> {
        let binds: Vec<_> = self
            .file_systems
            .volume
            .iter()
            .filter_map(|volume| match volume {
                Volume::Bind(text) => Some(text.clone()),
                Volume::Anonymous(_) => None,
            })
            .collect();
        let mut ports: engine_api::PortMap = BTreeMap::new();
        for (port, binding) in self.network.publish.iter().flat_map(|p| p.0.iter()) {
            ports
                .entry(port.clone())
                .or_default()
                .get_or_insert_default()
                .push(binding.clone());
        }
        let network_mode = match self.network.network.first() {
            Some(network) => network.name.clone(),
            None => "default".to_owned(),
        };
        let names = |list: &[String]| {
            (!list.is_empty()).then(|| list.iter().map(|n| flags::capability(n)).collect())
        };
        let console_size = match terminal::size() {
            Some((rows, columns)) if self.process.tty => [u32::from(rows), u32::from(columns)],
            _ => [0, 0],
        };
        Ok(HostConfig {
            binds: some(&binds),
            container_id_file: self
                .identity
                .cidfile
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            log_config: LogConfig {
                kind: text(&self.identity.log_driver),
                config: flags::option_map(&self.identity.log_opt),
            },
            network_mode,
            port_bindings: ports,
            restart_policy: self.identity.restart.clone().unwrap_or_else(|| {
                engine_api::RestartPolicy {
                    name: "no".to_owned(),
                    maximum_retry_count: 0,
                }
            }),
            auto_remove: self.identity.rm,
            volume_driver: text(&self.file_systems.volume_driver),
            volumes_from: some(&self.file_systems.volumes_from),
            console_size,
            annotations: flags::option_map(&self.identity.annotation),
            cap_add: names(&self.security.cap_add),
            cap_drop: names(&self.security.cap_drop),
            cgroupns_mode: text(&self.security.cgroupns),
            dns: self.network.dns.clone(),
            dns_options: self.network.dns_option.clone(),
            dns_search: self.network.dns_search.clone(),
            extra_hosts: some(&self.network.add_host),
            group_add: some(&self.process.group_add),
            ipc_mode: text(&self.security.ipc),
            links: some(&self.network.link),
            oom_score_adj: self.limits.oom_score_adj.unwrap_or(0),
            pid_mode: text(&self.security.pid),
            privileged: self.security.privileged,
            publish_all_ports: self.network.publish_all,
            readonly_rootfs: self.file_systems.read_only,
            security_opt: some(&self.security.security_opts()?),
            storage_opt: flags::option_map(&self.file_systems.storage_opt),
            tmpfs: self.file_systems.tmpfs.iter().cloned().collect(),
            uts_mode: text(&self.security.uts),
            userns_mode: text(&self.security.userns),
            shm_size: self.limits.shm_size.unwrap_or(0),
            sysctls: flags::option_map(&self.security.sysctl),
            runtime: text(&self.identity.runtime),
            isolation: text(&self.security.isolation),
            cpu_shares: self.limits.cpu_shares.unwrap_or(0),
            memory: self.limits.memory.unwrap_or(0),
            nano_cpus: self.limits.cpus.unwrap_or(0),
            cgroup_parent: text(&self.limits.cgroup_parent),
            blkio_weight: self.limits.blkio_weight.unwrap_or(0),
            blkio_weight_device: some(&self.limits.blkio_weight_device),
            blkio_device_read_bps: some(&self.limits.device_read_bps),
            blkio_device_write_bps: some(&self.limits.device_write_bps),
            blkio_device_read_iops: some(&self.limits.device_read_iops),
            blkio_device_write_iops: some(&self.limits.device_write_iops),
            cpu_period: self.limits.cpu_period.unwrap_or(0),
            cpu_quota: self.limits.cpu_quota.unwrap_or(0),
            cpu_realtime_period: self.limits.cpu_rt_period.unwrap_or(0),
            cpu_realtime_runtime: self.limits.cpu_rt_runtime.unwrap_or(0),
            cpuset_cpus: text(&self.limits.cpuset_cpus),
            cpuset_mems: text(&self.limits.cpuset_mems),
            devices: some(&self.security.device),
            device_cgroup_rules: some(&self.security.device_cgroup_rule),
            device_requests: self.security.gpus.clone().map(|request| vec![request]),
            memory_reservation: self.limits.memory_reservation.unwrap_or(0),
            memory_swap: self.limits.memory_swap.unwrap_or(0),
            memory_swappiness: self.limits.memory_swappiness.filter(|share| *share != -1),
            oom_kill_disable: self.limits.oom_kill_disable.then_some(true),
            pids_limit: self.limits.pids_limit,
            ulimits: some(&self.limits.ulimit),
            mounts: self.file_systems.mount.clone(),
            init: self.process.init.then_some(true),
            ..HostConfig::default()
        })
    }
}

pub(super) fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// What was not given is empty in the API.
fn text(flag: &Option<String>) -> String {
    flag.clone().unwrap_or_default()
}

//! Options → the body of `POST /containers/create`.

use std::{collections::BTreeMap, fs, path::Path};

use engine_api::{
    ContainerConfig, ContainerCreateRequest, EndpointIpamConfig, EndpointSettings, HealthConfig,
    HostConfig, LogConfig, NetworkingConfig,
};
use serde_json::json;

use super::{ContainerOptions, Stream};
use crate::{
    error::CliError,
    flags::{self, NetworkFlag, Volume},
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
        let given = |stream| self.attach.contains(&stream);
        if detach {
            return Attached {
                stdin: false,
                stdout: false,
                stderr: false,
            };
        }
        if self.attach.is_empty() {
            return Attached {
                stdin: self.interactive,
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
        let published = self.publish.iter().flat_map(|p| p.0.iter());
        for (port, _) in published {
            exposed.insert(port.clone(), json!({}));
        }
        for port in self.expose.iter().flat_map(|e| e.0.iter()) {
            exposed.insert(port.clone(), json!({}));
        }
        let volumes: BTreeMap<_, _> = self
            .volume
            .iter()
            .filter_map(|volume| match volume {
                Volume::Anonymous(path) => Some((path.clone(), json!({}))),
                Volume::Bind(_) => None,
            })
            .collect();
        let config = ContainerConfig {
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            user: self.user.clone(),
            attach_stdin: attached.stdin,
            attach_stdout: attached.stdout,
            attach_stderr: attached.stderr,
            exposed_ports: exposed,
            tty: self.tty,
            open_stdin: self.interactive,
            stdin_once: self.interactive && attached.stdin,
            env: Some(flags::environment(&self.env_file, &self.env).map_err(usage)?),
            cmd: (!command.is_empty()).then(|| command.to_vec()),
            entrypoint: self.entrypoint.clone().map(|word| vec![word]),
            healthcheck: self.health(),
            image: image.to_owned(),
            volumes: (!volumes.is_empty()).then_some(volumes),
            working_dir: self.workdir.clone(),
            mac_address: self.mac_address.clone(),
            labels: flags::labels(&self.label_file, &self.label).map_err(usage)?,
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            ..ContainerConfig::default()
        };
        Ok(ContainerCreateRequest {
            config,
            host_config: Some(self.host_config()?),
            networking_config: self.networking()?,
        })
    }

    fn check(&self) -> Result<(), CliError> {
        let both =
            |a: &str, b: &str| Err(CliError::usage(format!("conflicting options: {a} and {b}")));
        if self.rm
            && self
                .restart
                .as_ref()
                .is_some_and(|r| !matches!(r.name.as_str(), "" | "no"))
        {
            return both("--restart", "--rm");
        }
        if self.no_healthcheck && (self.health_cmd.is_some() || self.health_interval.is_some()) {
            return both("--no-healthcheck", "--health-*");
        }
        if self.cpus.is_some() && (self.cpu_quota != 0 || self.cpu_period != 0) {
            return both("--cpus", "--cpu-quota and --cpu-period");
        }
        if let Some(share) = self.memory_swappiness
            && !(-1..=100).contains(&share)
        {
            return Err(CliError::usage(format!(
                "invalid value: {share}. Valid memory swappiness range is 0-100"
            )));
        }
        if let Some(text) = &self.platform
            && oci::Platform::parse(text).is_none()
        {
            return Err(CliError::usage(format!(
                "invalid platform '{text}': write os/architecture[/variant], such as linux/arm64"
            )));
        }
        Ok(())
    }

    fn health(&self) -> Option<HealthConfig> {
        if self.no_healthcheck {
            return Some(HealthConfig {
                test: vec!["NONE".to_owned()],
                ..HealthConfig::default()
            });
        }
        let health = HealthConfig {
            test: self
                .health_cmd
                .as_deref()
                .map(flags::health_command)
                .unwrap_or_default(),
            interval: self.health_interval.unwrap_or(0),
            timeout: self.health_timeout.unwrap_or(0),
            start_period: self.health_start_period.unwrap_or(0),
            start_interval: self.health_start_interval.unwrap_or(0),
            retries: self.health_retries.unwrap_or(0),
        };
        (health != HealthConfig::default()).then_some(health)
    }

    fn host_config(&self) -> Result<HostConfig, CliError> {
        let binds: Vec<_> = self
            .volume
            .iter()
            .filter_map(|volume| match volume {
                Volume::Bind(text) => Some(text.clone()),
                Volume::Anonymous(_) => None,
            })
            .collect();
        let mut ports: engine_api::PortMap = BTreeMap::new();
        for (port, binding) in self.publish.iter().flat_map(|p| p.0.iter()) {
            ports
                .entry(port.clone())
                .or_default()
                .get_or_insert_default()
                .push(binding.clone());
        }
        let network_mode = match self.network.first() {
            Some(network) => network.name.clone(),
            None => "default".to_owned(),
        };
        let names = |list: &[String]| {
            (!list.is_empty()).then(|| list.iter().map(|n| flags::capability(n)).collect())
        };
        let console_size = match terminal::size() {
            Some((rows, columns)) if self.tty => [u32::from(rows), u32::from(columns)],
            _ => [0, 0],
        };
        Ok(HostConfig {
            binds: some(&binds),
            container_id_file: self
                .cidfile
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            log_config: LogConfig {
                kind: self.log_driver.clone(),
                config: flags::option_map(&self.log_opt),
            },
            network_mode,
            port_bindings: ports,
            restart_policy: self
                .restart
                .clone()
                .unwrap_or_else(|| engine_api::RestartPolicy {
                    name: "no".to_owned(),
                    maximum_retry_count: 0,
                }),
            auto_remove: self.rm,
            volume_driver: self.volume_driver.clone(),
            volumes_from: some(&self.volumes_from),
            console_size,
            annotations: flags::option_map(&self.annotation),
            cap_add: names(&self.cap_add),
            cap_drop: names(&self.cap_drop),
            cgroupns_mode: self.cgroupns.clone(),
            dns: self.dns.clone(),
            dns_options: self.dns_option.clone(),
            dns_search: self.dns_search.clone(),
            extra_hosts: some(&self.add_host),
            group_add: some(&self.group_add),
            ipc_mode: self.ipc.clone(),
            links: some(&self.link),
            oom_score_adj: self.oom_score_adj,
            pid_mode: self.pid.clone(),
            privileged: self.privileged,
            publish_all_ports: self.publish_all,
            readonly_rootfs: self.read_only,
            security_opt: some(&security_options(&self.security_opt)?),
            storage_opt: flags::option_map(&self.storage_opt),
            tmpfs: self.tmpfs.iter().cloned().collect(),
            uts_mode: self.uts.clone(),
            userns_mode: self.userns.clone(),
            shm_size: self.shm_size.unwrap_or(0),
            sysctls: flags::option_map(&self.sysctl),
            runtime: self.runtime.clone(),
            isolation: self.isolation.clone(),
            cpu_shares: self.cpu_shares,
            memory: self.memory.unwrap_or(0),
            nano_cpus: self.cpus.unwrap_or(0),
            cgroup_parent: self.cgroup_parent.clone(),
            blkio_weight: self.blkio_weight,
            blkio_weight_device: some(&self.blkio_weight_device),
            blkio_device_read_bps: some(&self.device_read_bps),
            blkio_device_write_bps: some(&self.device_write_bps),
            blkio_device_read_iops: some(&self.device_read_iops),
            blkio_device_write_iops: some(&self.device_write_iops),
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_realtime_period: self.cpu_rt_period,
            cpu_realtime_runtime: self.cpu_rt_runtime,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            devices: some(&self.device),
            device_cgroup_rules: some(&self.device_cgroup_rule),
            device_requests: self.gpus.clone().map(|request| vec![request]),
            memory_reservation: self.memory_reservation.unwrap_or(0),
            memory_swap: self.memory_swap.unwrap_or(0),
            memory_swappiness: self.memory_swappiness.filter(|share| *share != -1),
            oom_kill_disable: self.oom_kill_disable.then_some(true),
            pids_limit: self.pids_limit,
            ulimits: some(&self.ulimit),
            mounts: self.mount.clone(),
            init: self.init.then_some(true),
            ..HostConfig::default()
        })
    }

    /// Endpoints: the first network takes the plain flags (`--ip`, …).
    fn networking(&self) -> Result<Option<NetworkingConfig>, CliError> {
        let plain = !self.network_alias.is_empty()
            || [&self.ip, &self.ip6, &self.mac_address]
                .iter()
                .any(|text| !text.is_empty());
        let mut networks = self.network.clone();
        if networks.is_empty() && plain {
            networks.push(NetworkFlag {
                name: "default".to_owned(),
                ..NetworkFlag::default()
            });
        }
        if let Some(first) = networks.first_mut() {
            first.aliases.extend(self.network_alias.iter().cloned());
            for (slot, flag) in [
                (&mut first.ipv4, &self.ip),
                (&mut first.ipv6, &self.ip6),
                (&mut first.mac_address, &self.mac_address),
            ] {
                if !flag.is_empty() {
                    slot.clone_from(flag);
                }
            }
        }
        let mut endpoints = BTreeMap::new();
        for network in &networks {
            if endpoints.contains_key(&network.name) {
                return Err(CliError::usage(format!(
                    "network '{}' is specified multiple times",
                    network.name
                )));
            }
            let bare = NetworkFlag {
                name: network.name.clone(),
                ..NetworkFlag::default()
            };
            if networks.len() > 1 || *network != bare {
                endpoints.insert(network.name.clone(), Some(endpoint(network)));
            }
        }
        Ok((!endpoints.is_empty()).then_some(NetworkingConfig {
            endpoints_config: endpoints,
        }))
    }
}

fn endpoint(network: &NetworkFlag) -> EndpointSettings {
    let fixed =
        !network.ipv4.is_empty() || !network.ipv6.is_empty() || !network.link_local_ips.is_empty();
    EndpointSettings {
        ipam_config: fixed.then(|| EndpointIpamConfig {
            ipv4_address: network.ipv4.clone(),
            ipv6_address: network.ipv6.clone(),
            link_local_ips: network.link_local_ips.clone(),
        }),
        aliases: some(&network.aliases),
        mac_address: network.mac_address.clone(),
        driver_opts: (!network.driver_opts.is_empty()).then(|| network.driver_opts.clone()),
        gw_priority: network.gw_priority,
        ..EndpointSettings::default()
    }
}

fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// Seccomp profiles are files on our side, and travel as their contents.
fn security_options(options: &[String]) -> Result<Vec<String>, CliError> {
    options
        .iter()
        .map(|option| {
            let Some((key, value)) = option.split_once(['=', ':']) else {
                if option == "no-new-privileges" {
                    return Ok(option.clone());
                }
                return Err(CliError::usage(format!(
                    "invalid --security-opt: {option:?}"
                )));
            };
            if key != "seccomp" || matches!(value, "unconfined" | "builtin") {
                return Ok(format!("{key}={value}"));
            }
            let text = fs::read_to_string(Path::new(value)).map_err(|error| {
                CliError::io(format!("opening seccomp profile ({value}) failed"), error)
            })?;
            let profile: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
                CliError::usage(format!("the seccomp profile {value} is not JSON: {error}"))
            })?;
            Ok(format!("seccomp={profile}"))
        })
        .collect()
}

//! `HostConfig`: the part of a container's configuration that belongs to the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::null::{is_default, null};

/// One host side of a published port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortBinding {
    #[serde(deserialize_with = "null")]
    pub host_ip: String,
    /// Empty or `0` picks a free one; `8000-8010` picks one of the range.
    #[serde(deserialize_with = "null")]
    pub host_port: String,
}

/// `80/tcp` to its host sides; `null` when exposed and not published.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    #[serde(rename = "Type", deserialize_with = "null")]
    pub kind: String,
    #[serde(deserialize_with = "null")]
    pub config: BTreeMap<String, String>,
}

/// `no`, `always`, `unless-stopped` or `on-failure` with a count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    #[serde(deserialize_with = "null")]
    pub name: String,
    #[serde(deserialize_with = "null")]
    pub maximum_retry_count: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Device {
    pub path_on_host: String,
    pub path_in_container: String,
    pub cgroup_permissions: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeviceRequest {
    #[serde(deserialize_with = "null")]
    pub driver: String,
    #[serde(deserialize_with = "null")]
    pub count: i64,
    #[serde(rename = "DeviceIDs")]
    pub device_ids: Option<Vec<String>>,
    pub capabilities: Option<Vec<Vec<String>>>,
    pub options: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WeightDevice {
    pub path: String,
    pub weight: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ThrottleDevice {
    pub path: String,
    pub rate: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ulimit {
    pub name: String,
    pub hard: i64,
    pub soft: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindOptions {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub propagation: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub non_recursive: bool,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub create_mountpoint: bool,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub read_only_non_recursive: bool,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub read_only_force_recursive: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DriverConfig {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub name: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub options: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeOptions {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub no_copy: bool,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub subpath: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<DriverConfig>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TmpfsOptions {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub size_bytes: i64,
    /// Permission bits.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub mode: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<Vec<String>>>,
}

/// One `--mount`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mount {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(
        rename = "Type",
        skip_serializing_if = "is_default",
        deserialize_with = "null"
    )]
    pub kind: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub source: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub target: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub read_only: bool,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub consistency: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// The host part of a container's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// `source:target[:options]`.
    pub binds: Option<Vec<String>>,
    #[serde(rename = "ContainerIDFile", deserialize_with = "null")]
    pub container_id_file: String,
    #[serde(deserialize_with = "null")]
    pub log_config: LogConfig,
    #[serde(deserialize_with = "null")]
    pub network_mode: String,
    #[serde(deserialize_with = "null")]
    pub port_bindings: PortMap,
    #[serde(deserialize_with = "null")]
    pub restart_policy: RestartPolicy,
    #[serde(deserialize_with = "null")]
    pub auto_remove: bool,
    #[serde(deserialize_with = "null")]
    pub volume_driver: String,
    pub volumes_from: Option<Vec<String>>,
    /// Height, then width, in characters.
    #[serde(deserialize_with = "null")]
    pub console_size: [u32; 2],
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub annotations: BTreeMap<String, String>,
    pub cap_add: Option<Vec<String>>,
    pub cap_drop: Option<Vec<String>>,
    #[serde(deserialize_with = "null")]
    pub cgroupns_mode: String,
    #[serde(deserialize_with = "null")]
    pub dns: Vec<String>,
    #[serde(deserialize_with = "null")]
    pub dns_options: Vec<String>,
    #[serde(deserialize_with = "null")]
    pub dns_search: Vec<String>,
    pub extra_hosts: Option<Vec<String>>,
    pub group_add: Option<Vec<String>>,
    #[serde(deserialize_with = "null")]
    pub ipc_mode: String,
    #[serde(deserialize_with = "null")]
    pub cgroup: String,
    pub links: Option<Vec<String>>,
    #[serde(deserialize_with = "null")]
    pub oom_score_adj: i32,
    #[serde(deserialize_with = "null")]
    pub pid_mode: String,
    #[serde(deserialize_with = "null")]
    pub privileged: bool,
    #[serde(deserialize_with = "null")]
    pub publish_all_ports: bool,
    #[serde(deserialize_with = "null")]
    pub readonly_rootfs: bool,
    pub security_opt: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub storage_opt: BTreeMap<String, String>,
    /// Path to mount options.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub tmpfs: BTreeMap<String, String>,
    #[serde(rename = "UTSMode", deserialize_with = "null")]
    pub uts_mode: String,
    #[serde(deserialize_with = "null")]
    pub userns_mode: String,
    /// Bytes of /dev/shm; 0 is the default of 64 MiB.
    #[serde(deserialize_with = "null")]
    pub shm_size: i64,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub sysctls: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub runtime: String,
    #[serde(deserialize_with = "null")]
    pub isolation: String,
    #[serde(deserialize_with = "null")]
    pub cpu_shares: i64,
    /// Bytes; 0 is unlimited.
    #[serde(deserialize_with = "null")]
    pub memory: i64,
    /// CPUs in units of 10⁻⁹.
    #[serde(deserialize_with = "null")]
    pub nano_cpus: i64,
    #[serde(deserialize_with = "null")]
    pub cgroup_parent: String,
    #[serde(deserialize_with = "null")]
    pub blkio_weight: u16,
    pub blkio_weight_device: Option<Vec<WeightDevice>>,
    pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
    pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
    /// Microseconds.
    #[serde(deserialize_with = "null")]
    pub cpu_period: i64,
    /// Microseconds per period.
    #[serde(deserialize_with = "null")]
    pub cpu_quota: i64,
    #[serde(deserialize_with = "null")]
    pub cpu_realtime_period: i64,
    #[serde(deserialize_with = "null")]
    pub cpu_realtime_runtime: i64,
    #[serde(deserialize_with = "null")]
    pub cpuset_cpus: String,
    #[serde(deserialize_with = "null")]
    pub cpuset_mems: String,
    pub devices: Option<Vec<Device>>,
    pub device_cgroup_rules: Option<Vec<String>>,
    pub device_requests: Option<Vec<DeviceRequest>>,
    #[serde(
        rename = "KernelMemoryTCP",
        skip_serializing_if = "is_default",
        deserialize_with = "null"
    )]
    pub kernel_memory_tcp: i64,
    /// Bytes.
    #[serde(deserialize_with = "null")]
    pub memory_reservation: i64,
    /// Memory plus swap in bytes; -1 is unlimited swap.
    #[serde(deserialize_with = "null")]
    pub memory_swap: i64,
    pub memory_swappiness: Option<i64>,
    pub oom_kill_disable: Option<bool>,
    pub pids_limit: Option<i64>,
    pub ulimits: Option<Vec<Ulimit>>,
    #[serde(deserialize_with = "null")]
    pub cpu_count: i64,
    #[serde(deserialize_with = "null")]
    pub cpu_percent: i64,
    #[serde(rename = "IOMaximumIOps", deserialize_with = "null")]
    pub io_maximum_iops: u64,
    #[serde(rename = "IOMaximumBandwidth", deserialize_with = "null")]
    pub io_maximum_bandwidth: u64,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub mounts: Vec<Mount>,
    /// `None` is the default list, empty is none (`--security-opt systempaths=unconfined`).
    pub masked_paths: Option<Vec<String>>,
    pub readonly_paths: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
}

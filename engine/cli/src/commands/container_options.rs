//! The options that `run` and `create` share, and the request they make.

mod request;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use engine_api::{
    Device, DeviceRequest, Mount, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice,
};

use crate::{
    flags::{self, NetworkFlag, Volume},
    units::{parse_bytes, parse_cpus, parse_duration},
};

/// When to ask the registry for the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    Always,
    #[default]
    Missing,
    Never,
}

/// Which stream `-a` attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

fn duration_ns(text: &str) -> Result<i64, String> {
    let duration = parse_duration(text)?;
    i64::try_from(duration.as_nanos()).map_err(|_| format!("the duration '{text}' is too long"))
}

/// `-1` for no limit, else a size.
fn swap_bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        Ok(-1)
    } else {
        parse_bytes(text)
    }
}

/// Options of a new container.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Process")]
pub struct ContainerOptions {
    /// Keep standard input open even if it is not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Attach to stdin, stdout or stderr
    #[arg(short, long, value_name = "STREAM", ignore_case = true)]
    pub attach: Vec<Stream>,
    /// Replace the entrypoint of the image
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// User name or id, and group (user[:group])
    #[arg(
        short,
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    pub user: String,
    /// Join additional groups
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Working directory in the container
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = "",
        hide_default_value = true
    )]
    pub workdir: String,
    /// Set an environment variable; without a value: pass ours on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Run an init that forwards signals and reaps processes
    #[arg(long)]
    pub init: bool,
    /// Signal that stops the container
    #[arg(
        long,
        value_name = "SIGNAL",
        default_value = "",
        hide_default_value = true
    )]
    pub stop_signal: String,
    /// Seconds to wait before a container that does not stop is killed
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub stop_timeout: Option<i64>,

    /// Name of the container
    #[arg(long, value_name = "NAME", help_heading = "Container")]
    pub name: Option<String>,
    /// Host name inside the container
    #[arg(
        short = 'h',
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Container"
    )]
    pub hostname: String,
    /// NIS domain name inside the container
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Container"
    )]
    pub domainname: String,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]", help_heading = "Container")]
    pub label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE", help_heading = "Container")]
    pub label_file: Vec<PathBuf>,
    /// Set an annotation for the runtime
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Container")]
    pub annotation: Vec<String>,
    /// Write the id of the container to a file, which must not exist
    #[arg(long, value_name = "FILE", help_heading = "Container")]
    pub cidfile: Option<PathBuf>,
    /// Remove the container when it exits
    #[arg(long, help_heading = "Container")]
    pub rm: bool,
    /// Restart policy: no, always, unless-stopped or on-failure[:max]
    #[arg(long, value_name = "POLICY", value_parser = flags::restart_policy, help_heading = "Container")]
    pub restart: Option<RestartPolicy>,
    /// When to pull the image
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Container"
    )]
    pub pull: PullPolicy,
    /// Platform of the image (os/architecture[/variant])
    #[arg(long, value_name = "PLATFORM", help_heading = "Container")]
    pub platform: Option<String>,
    /// Do not print pull progress
    #[arg(short, long, help_heading = "Container")]
    pub quiet: bool,
    /// Logging driver
    #[arg(
        long,
        value_name = "DRIVER",
        default_value = "",
        hide_default_value = true,
        help_heading = "Container"
    )]
    pub log_driver: String,
    /// Option of the logging driver
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Container")]
    pub log_opt: Vec<String>,
    /// OCI runtime to use
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Container"
    )]
    pub runtime: String,

    /// Mount a volume or a directory (source:/path[:options])
    #[arg(short, long, value_name = "VOLUME", value_parser = flags::volume, help_heading = "File systems")]
    pub volume: Vec<Volume>,
    /// Attach a mount (type=bind,source=/a,target=/b,…)
    #[arg(long, value_name = "MOUNT", value_parser = flags::mount, help_heading = "File systems")]
    pub mount: Vec<Mount>,
    /// Mount a tmpfs (/path[:options])
    #[arg(long, value_name = "PATH", value_parser = flags::tmpfs, help_heading = "File systems")]
    pub tmpfs: Vec<(String, String)>,
    /// Mount the volumes of another container
    #[arg(long, value_name = "CONTAINER", help_heading = "File systems")]
    pub volumes_from: Vec<String>,
    /// Driver of the volumes made on the way
    #[arg(
        long,
        value_name = "DRIVER",
        default_value = "",
        hide_default_value = true,
        help_heading = "File systems"
    )]
    pub volume_driver: String,
    /// Make the root file system read-only
    #[arg(long, help_heading = "File systems")]
    pub read_only: bool,
    /// Option of the storage driver
    #[arg(long, value_name = "KEY=VALUE", help_heading = "File systems")]
    pub storage_opt: Vec<String>,

    /// Network to join: bridge, none, host, container:NAME or a network's name
    #[arg(long, visible_alias = "net", value_name = "NETWORK", value_parser = flags::network, help_heading = "Network")]
    pub network: Vec<NetworkFlag>,
    /// Another name for the container on its network
    #[arg(
        long,
        visible_alias = "net-alias",
        value_name = "NAME",
        help_heading = "Network"
    )]
    pub network_alias: Vec<String>,
    /// IPv4 address of the container
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true,
        help_heading = "Network"
    )]
    pub ip: String,
    /// IPv6 address of the container
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true,
        help_heading = "Network"
    )]
    pub ip6: String,
    /// MAC address of the container
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true,
        help_heading = "Network"
    )]
    pub mac_address: String,
    /// Link to another container (legacy)
    #[arg(long, value_name = "CONTAINER[:ALIAS]", help_heading = "Network")]
    pub link: Vec<String>,
    /// Publish a port ([address:][host port:]container port[/protocol])
    #[arg(short, long, value_name = "PORT", value_parser = parse_publish, help_heading = "Network")]
    pub publish: Vec<Published>,
    /// Publish all exposed ports on ports that are free
    #[arg(short = 'P', long, help_heading = "Network")]
    pub publish_all: bool,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "PORT", value_parser = parse_expose, help_heading = "Network")]
    pub expose: Vec<Exposed>,
    /// DNS server
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub dns: Vec<String>,
    /// DNS option
    #[arg(
        long,
        visible_alias = "dns-opt",
        value_name = "OPTION",
        help_heading = "Network"
    )]
    pub dns_option: Vec<String>,
    /// DNS search domain
    #[arg(long, value_name = "DOMAIN", help_heading = "Network")]
    pub dns_search: Vec<String>,
    /// Add a line to /etc/hosts (name:address)
    #[arg(long, value_name = "HOST", value_parser = flags::extra_host, help_heading = "Network")]
    pub add_host: Vec<String>,

    /// Memory limit (bytes, or with b, k, m, g)
    #[arg(short, long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "Limits")]
    pub memory: Option<i64>,
    /// Memory that is guaranteed softly
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "Limits")]
    pub memory_reservation: Option<i64>,
    /// Memory and swap together; -1: swap without limit
    #[arg(long, value_name = "BYTES", value_parser = swap_bytes, allow_hyphen_values = true, help_heading = "Limits")]
    pub memory_swap: Option<i64>,
    /// How readily memory is swapped (0 to 100)
    #[arg(
        long,
        value_name = "PERCENT",
        allow_hyphen_values = true,
        help_heading = "Limits"
    )]
    pub memory_swappiness: Option<i64>,
    /// Kernel memory limit (obsolete, ignored by the kernel)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, hide = true)]
    pub kernel_memory: Option<i64>,
    /// Number of CPUs (1.5)
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus, help_heading = "Limits")]
    pub cpus: Option<i64>,
    /// Weight among containers that want the CPU
    #[arg(
        short,
        long,
        value_name = "WEIGHT",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Limits"
    )]
    pub cpu_shares: i64,
    /// Length of the CPU scheduler's period in microseconds
    #[arg(
        long,
        value_name = "µS",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Limits"
    )]
    pub cpu_period: i64,
    /// CPU time per period in microseconds
    #[arg(
        long,
        value_name = "µS",
        default_value_t = 0,
        hide_default_value = true,
        allow_hyphen_values = true,
        help_heading = "Limits"
    )]
    pub cpu_quota: i64,
    /// Length of the real-time period in microseconds
    #[arg(
        long,
        value_name = "µS",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Limits"
    )]
    pub cpu_rt_period: i64,
    /// Real-time CPU time per period in microseconds
    #[arg(
        long,
        value_name = "µS",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Limits"
    )]
    pub cpu_rt_runtime: i64,
    /// CPUs to use (0-3,5)
    #[arg(
        long,
        value_name = "LIST",
        default_value = "",
        hide_default_value = true,
        help_heading = "Limits"
    )]
    pub cpuset_cpus: String,
    /// Memory nodes to use
    #[arg(
        long,
        value_name = "LIST",
        default_value = "",
        hide_default_value = true,
        help_heading = "Limits"
    )]
    pub cpuset_mems: String,
    /// Most processes at once; -1: no limit
    #[arg(
        long,
        value_name = "NUMBER",
        allow_hyphen_values = true,
        help_heading = "Limits"
    )]
    pub pids_limit: Option<i64>,
    /// Resource limit of the process (name=soft[:hard])
    #[arg(long, value_name = "LIMIT", value_parser = flags::ulimit, help_heading = "Limits")]
    pub ulimit: Vec<Ulimit>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "Limits")]
    pub shm_size: Option<i64>,
    /// Weight of block I/O (10 to 1000)
    #[arg(
        long,
        value_name = "WEIGHT",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Limits"
    )]
    pub blkio_weight: u16,
    /// Weight of block I/O of one device
    #[arg(long, value_name = "DEVICE:WEIGHT", value_parser = flags::weight_device, help_heading = "Limits")]
    pub blkio_weight_device: Vec<WeightDevice>,
    /// Bytes per second that may be read from a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = flags::throttle, help_heading = "Limits")]
    pub device_read_bps: Vec<ThrottleDevice>,
    /// Bytes per second that may be written to a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = flags::throttle, help_heading = "Limits")]
    pub device_write_bps: Vec<ThrottleDevice>,
    /// Reads per second from a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = flags::throttle, help_heading = "Limits")]
    pub device_read_iops: Vec<ThrottleDevice>,
    /// Writes per second to a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = flags::throttle, help_heading = "Limits")]
    pub device_write_iops: Vec<ThrottleDevice>,
    /// Do not kill the container when memory runs out
    #[arg(long, help_heading = "Limits")]
    pub oom_kill_disable: bool,
    /// Preference of the out-of-memory killer (-1000 to 1000)
    #[arg(
        long,
        value_name = "SCORE",
        default_value_t = 0,
        hide_default_value = true,
        allow_hyphen_values = true,
        help_heading = "Limits"
    )]
    pub oom_score_adj: i32,
    /// Parent cgroup
    #[arg(
        long,
        value_name = "PATH",
        default_value = "",
        hide_default_value = true,
        help_heading = "Limits"
    )]
    pub cgroup_parent: String,

    /// Grant a capability
    #[arg(long, value_name = "NAME", help_heading = "Security")]
    pub cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "NAME", help_heading = "Security")]
    pub cap_drop: Vec<String>,
    /// Give all capabilities and devices
    #[arg(long, help_heading = "Security")]
    pub privileged: bool,
    /// Security option (no-new-privileges, seccomp=FILE, …)
    #[arg(long, value_name = "OPTION", help_heading = "Security")]
    pub security_opt: Vec<String>,
    /// Add a device of the host (/dev/a[:/dev/b[:rwm]])
    #[arg(long, value_name = "DEVICE", value_parser = flags::device, help_heading = "Security")]
    pub device: Vec<Device>,
    /// Add a rule to the allowed devices (c 1:3 rwm)
    #[arg(long, value_name = "RULE", help_heading = "Security")]
    pub device_cgroup_rule: Vec<String>,
    /// GPUs to add (all, a number, or device=…)
    #[arg(long, value_name = "GPUS", value_parser = flags::gpus, help_heading = "Security")]
    pub gpus: Option<DeviceRequest>,
    /// Set a kernel parameter of the container's namespaces
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Security")]
    pub sysctl: Vec<String>,
    /// Process namespace (host, container:NAME)
    #[arg(
        long,
        value_name = "MODE",
        default_value = "",
        hide_default_value = true,
        help_heading = "Security"
    )]
    pub pid: String,
    /// IPC namespace (none, private, shareable, host, container:NAME)
    #[arg(
        long,
        value_name = "MODE",
        default_value = "",
        hide_default_value = true,
        help_heading = "Security"
    )]
    pub ipc: String,
    /// UTS namespace (host)
    #[arg(
        long,
        value_name = "MODE",
        default_value = "",
        hide_default_value = true,
        help_heading = "Security"
    )]
    pub uts: String,
    /// User namespace (host)
    #[arg(
        long,
        value_name = "MODE",
        default_value = "",
        hide_default_value = true,
        help_heading = "Security"
    )]
    pub userns: String,
    /// Cgroup namespace (private, host)
    #[arg(
        long,
        value_name = "MODE",
        default_value = "",
        hide_default_value = true,
        help_heading = "Security"
    )]
    pub cgroupns: String,
    /// Isolation technology (accepted for compatibility)
    #[arg(long, value_name = "NAME", default_value = "", hide = true)]
    pub isolation: String,
    /// Accepted for compatibility: images are verified by digest
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_content_trust: Option<bool>,

    /// Command that tells whether the container is healthy
    #[arg(long, value_name = "COMMAND", help_heading = "Health")]
    pub health_cmd: Option<String>,
    /// Time between two checks (30s)
    #[arg(long, value_name = "DURATION", value_parser = duration_ns, help_heading = "Health")]
    pub health_interval: Option<i64>,
    /// Longest time of one check (30s)
    #[arg(long, value_name = "DURATION", value_parser = duration_ns, help_heading = "Health")]
    pub health_timeout: Option<i64>,
    /// Failures in a row that mean unhealthy
    #[arg(long, value_name = "NUMBER", help_heading = "Health")]
    pub health_retries: Option<i64>,
    /// Time to start in which failures do not count
    #[arg(long, value_name = "DURATION", value_parser = duration_ns, help_heading = "Health")]
    pub health_start_period: Option<i64>,
    /// Time between two checks while starting
    #[arg(long, value_name = "DURATION", value_parser = duration_ns, help_heading = "Health")]
    pub health_start_interval: Option<i64>,
    /// Disable the health check of the image
    #[arg(long, help_heading = "Health")]
    pub no_healthcheck: bool,
}

/// The ports of one `-p`.
#[derive(Clone, Debug)]
pub struct Published(pub Vec<(String, engine_api::PortBinding)>);

/// The ports of one `--expose`.
#[derive(Clone, Debug)]
pub struct Exposed(pub Vec<String>);

fn parse_publish(text: &str) -> Result<Published, String> {
    flags::published(text).map(Published)
}

fn parse_expose(text: &str) -> Result<Exposed, String> {
    flags::exposed(text).map(Exposed)
}

#[cfg(test)]
#[path = "container_options/tests.rs"]
mod tests;

//! What the container may use of the host.

use clap::Args;
use engine_api::{ThrottleDevice, Ulimit, WeightDevice};

use crate::{
    flags,
    units::{parse_bytes, parse_cpus},
};

/// `-1` for no limit, else a size.
fn swap_bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        Ok(-1)
    } else {
        parse_bytes(text)
    }
}

/// Options below the heading "Limits".
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Memory limit (bytes, or with b, k, m, g)
    #[arg(short, long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory: Option<i64>,
    /// Memory that is guaranteed softly
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory_reservation: Option<i64>,
    /// Memory and swap together; -1: swap without limit
    #[arg(long, value_name = "BYTES", value_parser = swap_bytes, allow_hyphen_values = true)]
    pub memory_swap: Option<i64>,
    /// How readily memory is swapped (0 to 100)
    #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
    pub memory_swappiness: Option<i64>,
    /// Kernel memory limit (obsolete, ignored by the kernel)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, hide = true)]
    pub kernel_memory: Option<i64>,
    /// Number of CPUs (1.5)
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    pub cpus: Option<i64>,
    /// Weight among containers that want the CPU
    #[arg(short, long, value_name = "WEIGHT")]
    pub cpu_shares: Option<i64>,
    /// Length of the CPU scheduler's period in microseconds
    #[arg(long, value_name = "µS")]
    pub cpu_period: Option<i64>,
    /// CPU time per period in microseconds
    #[arg(long, value_name = "µS", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// Length of the real-time period in microseconds
    #[arg(long, value_name = "µS")]
    pub cpu_rt_period: Option<i64>,
    /// Real-time CPU time per period in microseconds
    #[arg(long, value_name = "µS")]
    pub cpu_rt_runtime: Option<i64>,
    /// CPUs to use (0-3,5)
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Most processes at once; -1: no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Resource limit of the process (name=soft[:hard])
    #[arg(long, value_name = "LIMIT", value_parser = flags::ulimit)]
    pub ulimit: Vec<Ulimit>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub shm_size: Option<i64>,
    /// Weight of block I/O (10 to 1000)
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
    /// Weight of block I/O of one device
    #[arg(long, value_name = "DEVICE:WEIGHT", value_parser = flags::weight_device)]
    pub blkio_weight_device: Vec<WeightDevice>,
    /// Bytes per second that may be read from a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = flags::throttle)]
    pub device_read_bps: Vec<ThrottleDevice>,
    /// Bytes per second that may be written to a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = flags::throttle)]
    pub device_write_bps: Vec<ThrottleDevice>,
    /// Reads per second from a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = flags::throttle)]
    pub device_read_iops: Vec<ThrottleDevice>,
    /// Writes per second to a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = flags::throttle)]
    pub device_write_iops: Vec<ThrottleDevice>,
    /// Do not kill the container when memory runs out
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Preference of the out-of-memory killer (-1000 to 1000)
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    pub oom_score_adj: Option<i32>,
    /// Parent cgroup
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
}

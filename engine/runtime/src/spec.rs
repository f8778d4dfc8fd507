//! What a container is, before it exists: plain data that the engine and the
//! solver fill in and the launcher turns into processes.
//!
//! Pure: nothing here touches the system. The same structs travel as JSON over
//! the monitor's socket, so every field must survive a round trip. Values that
//! come from an image or a request are checked in [`ContainerSpec::validate`];
//! paths below the root file system are not checked here but resolved by
//! descriptor when they are used.

mod defaults;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::defaults::DEFAULT_PATH;
pub use crate::caps::Capabilities;

/// One process in a container: its first one, or one that `exec` adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Program and arguments; the program is looked up in the container's
    /// `PATH` unless it contains a slash.
    pub args: Vec<String>,
    /// `NAME=value` pairs. `HOME` is added from `/etc/passwd` when absent.
    pub env: Vec<String>,
    /// Absolute path inside the container; created for a container's first
    /// process when it does not exist.
    pub cwd: String,
    /// `user[:group]` by name or number, resolved in the container's
    /// `/etc/passwd` and `/etc/group`. Empty means root.
    pub user: String,
    /// Further groups by name or number.
    pub additional_groups: Vec<String>,
    /// Gives the process a pseudo-terminal instead of three pipes.
    pub tty: bool,
    /// Size of the terminal at start: columns, rows.
    pub tty_size: Option<(u16, u16)>,
    /// Keeps standard input open; otherwise it is `/dev/null`.
    pub open_stdin: bool,
    pub rlimits: Vec<Rlimit>,
    pub capabilities: Capabilities,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    /// -1000 to 1000; `None` leaves the value of the daemon.
    pub oom_score_adj: Option<i32>,
}

/// System call filter of a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Seccomp {
    /// Docker's default profile, conditioned on the capabilities.
    Default,
    Unconfined,
    /// A profile in Docker's JSON format.
    Profile(String),
}

/// One resource limit (getrlimit(2)). A hard limit that the daemon may not
/// raise is clamped with a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    pub resource: Resource,
    /// `u64::MAX` is unlimited.
    pub soft: u64,
    /// `u64::MAX` is unlimited.
    pub hard: u64,
}

/// The limits that Docker's `--ulimit` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// The writable root of a container: overlay directories, mounted only inside
/// the container's own mount namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// Topmost layer first.
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    /// Nothing written is ever synced: what it holds is gone when the
    /// container is.
    #[serde(default)]
    pub volatile: bool,
}

impl From<crate::snapshot::Snapshot> for Rootfs {
    fn from(snapshot: crate::snapshot::Snapshot) -> Rootfs {
        Rootfs {
            lower: snapshot.lower,
            upper: snapshot.upper,
            work: snapshot.work,
            volatile: snapshot.volatile,
        }
    }
}

/// A mount inside the container. Mounts are made in list order, so a parent
/// must come before what is below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the container, created when absent.
    pub target: String,
    pub kind: MountKind,
    /// Applied to every mount below a recursive bind as well.
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        source: PathBuf,
        recursive: bool,
        propagation: Propagation,
    },
    Tmpfs {
        size_bytes: Option<u64>,
        /// Permission bits of its root, e.g. `0o1777`.
        mode: u32,
        /// Allows programs to be executed from it.
        exec: bool,
    },
    Proc,
    Sysfs,
    /// The container's own view of the cgroup hierarchies.
    Cgroup,
    /// A small tmpfs with the standard device nodes and links.
    Dev,
    Devpts,
    Mqueue,
}

/// Mount propagation between host and container (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    Slave,
    Shared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    Char,
    Block,
}

/// A device node made in the container's `/dev` and allowed by its cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Absolute path inside the container, below `/dev`.
    pub path: String,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Any of `r`, `w`, `m`.
    pub access: String,
}

/// Where one kind of namespace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Namespace {
    #[default]
    Private,
    Host,
    /// That of the process with this pid on the host.
    Join(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NetMode {
    /// A fresh, empty network with only loopback.
    #[default]
    Private,
    Host,
    /// The network namespace whose descriptor is sent along with the request.
    Fd,
    /// That of the process with this pid on the host.
    Join(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Namespaces {
    pub pid: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub cgroup: Namespace,
    pub net: NetMode,
}

/// The container's control group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CgroupSpec {
    /// Relative to the root of each hierarchy, e.g. `carrack/<id>`.
    pub path: String,
    pub limits: Limits,
}

/// Resource limits; `None` leaves the kernel's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    /// Memory plus swap, as Docker counts it; -1 is unlimited swap.
    pub memory_swap_bytes: Option<i64>,
    pub memory_reservation_bytes: Option<u64>,
    pub cpu_quota_us: Option<i64>,
    pub cpu_period_us: Option<u64>,
    /// cgroup v1 scale, 2 to 262144, default 1024.
    pub cpu_shares: Option<u64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    /// `None` is unlimited.
    pub pids_max: Option<u64>,
    /// 10 to 1000.
    pub blkio_weight: Option<u16>,
}

/// Where the monitor keeps the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogSpec {
    None,
    /// Docker's json-file: one object with `log`, `stream`, `time` per line.
    JsonFile {
        path: PathBuf,
        /// Size at which the file is rotated to `<path>.1`.
        max_bytes: u64,
        /// Number of files kept, the current one included.
        max_files: u32,
    },
}

/// Everything the launcher needs to start one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub id: String,
    /// An existing directory; the monitor keeps `monitor.sock` and `exit.json`
    /// there.
    pub state_dir: PathBuf,
    pub rootfs: Rootfs,
    pub read_only_rootfs: bool,
    pub process: ProcessSpec,
    pub hostname: String,
    pub domainname: String,
    pub mounts: Vec<Mount>,
    /// Hidden: files by `/dev/null`, directories by an empty read-only tmpfs.
    pub masked_paths: Vec<String>,
    pub read_only_paths: Vec<String>,
    pub devices: Vec<Device>,
    pub namespaces: Namespaces,
    pub cgroup: CgroupSpec,
    /// Dotted names; only those that belong to a private namespace.
    pub sysctls: BTreeMap<String, String>,
    pub log: LogSpec,
    /// All devices, writable `/sys` and cgroups.
    pub privileged: bool,
}

/// A value in a spec that cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("{field}: {value:?} {problem}")]
    Invalid {
        field: &'static str,
        value: String,
        problem: &'static str,
    },
    #[error(
        "sysctl {0:?} is not allowed: it does not belong to a namespace that this container owns"
    )]
    SysctlNotNamespaced(String),
}

#[cfg(test)]
#[path = "spec/tests.rs"]
mod tests;

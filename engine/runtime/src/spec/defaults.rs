//! Docker's defaults: the mounts, devices, masked paths and limits that a
//! container gets when nobody says otherwise.
//!
//! The lists equal moby's `daemon/pkg/oci/defaults.go`; programs in the wild
//! rely on each entry.

use std::path::PathBuf;

use super::{
    Capabilities, CgroupSpec, ContainerSpec, LogSpec, Mount, MountKind, Namespaces, ProcessSpec,
    Rootfs, Seccomp,
};

/// Docker's default for `/dev/shm`.
const SHM_BYTES: u64 = 64 << 20;

const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    // `cpu*` stands for every processor.
    "/sys/devices/system/cpu/cpu*/thermal_throttle",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The search path that Docker gives a process without one.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl ProcessSpec {
    /// Root, in `/`, with Docker's capabilities and system call filter, no
    /// terminal and no input.
    pub fn new(args: Vec<String>) -> ProcessSpec {
        ProcessSpec {
            args,
            env: vec![DEFAULT_PATH.to_owned()],
            cwd: "/".to_owned(),
            user: String::new(),
            additional_groups: Vec::new(),
            tty: false,
            tty_size: None,
            open_stdin: false,
            rlimits: Vec::new(),
            capabilities: Capabilities::docker_default(),
            no_new_privileges: false,
            seccomp: Seccomp::Default,
            oom_score_adj: None,
        }
    }
}

impl ContainerSpec {
    /// A container as Docker makes it by default: all namespaces private, an
    /// empty network, the cgroup `carrack/<id>` without limits, no log.
    pub fn new(id: &str, state_dir: PathBuf, rootfs: Rootfs, process: ProcessSpec) -> Self {
        ContainerSpec {
            id: id.to_owned(),
            state_dir,
            rootfs,
            read_only_rootfs: false,
            process,
            hostname: id.chars().take(12).collect(),
            domainname: String::new(),
            mounts: default_mounts(),
            masked_paths: MASKED.iter().map(|&p| p.to_owned()).collect(),
            read_only_paths: READ_ONLY.iter().map(|&p| p.to_owned()).collect(),
            devices: Vec::new(),
            namespaces: Namespaces::default(),
            cgroup: CgroupSpec {
                path: format!("carrack/{id}"),
                ..CgroupSpec::default()
            },
            sysctls: Default::default(),
            log: LogSpec::None,
            privileged: false,
        }
    }

    /// Lifts what `--privileged` lifts: all capabilities and devices, no
    /// system call filter, nothing masked or read-only below /proc and /sys.
    pub fn make_privileged(&mut self) {
        self.privileged = true;
        self.process.capabilities = Capabilities::all();
        self.process.seccomp = Seccomp::Unconfined;
        self.masked_paths.clear();
        self.read_only_paths.clear();
        for mount in &mut self.mounts {
            if matches!(mount.kind, MountKind::Sysfs | MountKind::Cgroup) {
                mount.read_only = false;
            }
        }
    }

    /// Sets the size of `/dev/shm`.
    pub fn set_shm_size(&mut self, bytes: u64) {
        for mount in &mut self.mounts {
            if mount.target == "/dev/shm"
                && let MountKind::Tmpfs { size_bytes, .. } = &mut mount.kind
            {
                *size_bytes = Some(bytes);
            }
        }
    }
}

fn default_mounts() -> Vec<Mount> {
    let mount = |target: &str, kind, read_only| Mount {
        target: target.to_owned(),
        kind,
        read_only,
    };
    vec![
        mount("/proc", MountKind::Proc, false),
        mount("/dev", MountKind::Dev, false),
        mount("/dev/pts", MountKind::Devpts, false),
        mount(
            "/dev/shm",
            MountKind::Tmpfs {
                size_bytes: Some(SHM_BYTES),
                mode: 0o1777,
                exec: false,
            },
            false,
        ),
        mount("/dev/mqueue", MountKind::Mqueue, false),
        mount("/sys", MountKind::Sysfs, true),
        mount("/sys/fs/cgroup", MountKind::Cgroup, true),
    ]
}

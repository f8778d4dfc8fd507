//! Control groups: one per container, on cgroup v2 or on the separate v1
//! hierarchies (with or without v2 beside them).
//!
//! Stateless: a group is named by its path relative to the hierarchies' roots,
//! and the kernel holds everything else. Creating, killing and removing are
//! idempotent, so whoever finds a leftover may clean it up.

mod device;
mod limits;
mod stats;
mod unified;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

pub(crate) use self::device::DevicePolicy;
pub use self::stats::Stats;
use crate::spec::Limits;

const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// Where systemd and the machines that tests run on put v2 beside v1.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// v1 hierarchies that every container joins: limits, statistics, pausing and
/// the device list need them.
const V1_ALWAYS: [&str; 6] = ["pids", "cpu", "cpuacct", "devices", "freezer", "memory"];

/// Joined only with a limit of theirs: each costs a directory and a mount.
const V1_SOMETIMES: [&str; 2] = ["cpuset", "blkio"];

/// How long processes get to die or to freeze. Both are instant unless one is
/// stuck in the kernel.
const PATIENCE: Duration = Duration::from_secs(10);

/// `f_type` of the two file systems (linux/magic.h).
const CGROUP_MAGIC: i64 = 0x0027_e0eb;
const CGROUP2_MAGIC: i64 = 0x6367_7270;

#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("{limit} cannot be applied: this host has no {controller} cgroup controller")]
    NoController {
        limit: &'static str,
        controller: &'static str,
    },
    #[error(
        "{limit} cannot be applied: the {controller} cgroup controller is not handed down to \
         this container's parent group; processes in a group above it may be the reason \
         (cgroup.subtree_control)"
    )]
    NotDelegated {
        limit: &'static str,
        controller: &'static str,
    },
    #[error("swap limit cannot be applied without a memory limit: set both")]
    SwapWithoutMemory,
    #[error("{action} {path}")]
    System {
        action: &'static str,
        path: String,
        source: io::Error,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A control group by path, e.g. `carrack/<id>`.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    path: String,
    version: Version,
}

/// What is mounted where; asked once, since mounts of the host do not change
/// under a running daemon. The launcher asks before it forks, so that no
/// monitor has to.
#[derive(Debug)]
struct Layout {
    version: Version,
    /// Mount points of v1 controllers, or the one of v2.
    v1: Vec<(&'static str, PathBuf)>,
    /// v2 beside v1.
    unified: Option<PathBuf>,
}

impl Layout {
    fn get() -> &'static Layout {
        static LAYOUT: OnceLock<Layout> = OnceLock::new();
        LAYOUT.get_or_init(|| {
            let version = match magic(Path::new(MOUNT_POINT)) {
                Some(CGROUP2_MAGIC) => Version::V2,
                _ => Version::V1,
            };
            let roots = V1_ALWAYS.into_iter().chain(V1_SOMETIMES);
            let roots = roots.map(|name| (name, Path::new(MOUNT_POINT).join(name)));
            let v1 = roots
                .filter(|(_, root)| magic(root) == Some(CGROUP_MAGIC))
                .collect();
            let unified = Some(PathBuf::from(UNIFIED));
            let unified = unified.filter(|root| magic(root) == Some(CGROUP2_MAGIC));
            Layout {
                version,
                v1,
                unified,
            }
        })
    }
}

/// Looks at the mounts, so that forked children need not.
pub(crate) fn detect() {
    Layout::get();
}

impl Cgroup {
    pub(crate) fn new(path: &str) -> Cgroup {
        Cgroup {
            path: path.trim_matches('/').to_owned(),
            version: Layout::get().version,
        }
    }

    /// Makes the group in every hierarchy it needs and applies the limits.
    /// Returns what could be applied only in part.
    pub(crate) fn create(
        &self,
        limits: &Limits,
        devices: &DevicePolicy,
    ) -> Result<Vec<String>, CgroupError> {
        match self.version {
            Version::V1 => {
                let extra = [
                    (
                        "cpuset",
                        limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some(),
                    ),
                    ("blkio", limits.blkio_weight.is_some()),
                ];
                let extra = extra
                    .iter()
                    .filter(|(_, wanted)| *wanted)
                    .map(|(name, _)| *name);
                for controller in V1_ALWAYS.into_iter().chain(extra) {
                    if let Some(root) = v1_root(controller) {
                        self.make_v1(controller, root)?;
                    }
                }
            }
            Version::V2 => unified::make(Path::new(MOUNT_POINT), &self.path)?,
        }
        let warnings = self.apply(limits)?;
        self.restrict_devices(devices)?;
        Ok(warnings)
    }

    fn make_v1(&self, controller: &str, root: &Path) -> Result<(), CgroupError> {
        let mut dir = root.to_owned();
        for part in self.path.split('/') {
            let parent = dir.clone();
            dir.push(part);
            make_dir(&dir)?;
            if controller == "cpuset" {
                // A group without processors or memory nodes takes no process.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    if read(&dir.join(file)).unwrap_or_default().trim().is_empty() {
                        let inherited = read(&parent.join(file)).unwrap_or_default();
                        write(&dir.join(file), inherited.trim())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves the calling process in. On v2 the process is born in the group
    /// instead, see [`Cgroup::v2_directory`].
    pub(crate) fn join(&self) -> Result<(), CgroupError> {
        if self.version == Version::V2 {
            return Ok(());
        }
        for dir in self.directories() {
            // `tasks` and 0 move one thread, the caller, without the lock over
            // all processes that `cgroup.procs` takes, and its grace periods.
            match write(&dir.join("tasks"), "0") {
                Err(CgroupError::System { source, .. }) if is_absent(&source) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// The directory to give to clone3 (`CLONE_INTO_CGROUP`); `None` on v1.
    pub(crate) fn v2_directory(&self) -> Result<Option<OwnedFd>, CgroupError> {
        if self.version == Version::V1 {
            return Ok(None);
        }
        let dir = Path::new(MOUNT_POINT).join(&self.path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&dir, flags, Mode::empty())
            .map(Some)
            .map_err(|e| failed("open", &dir, e.into()))
    }

    /// Existing v1 controllers, for the container's own view; `None` on v2.
    pub(crate) fn v1_controllers(&self) -> Option<Vec<&'static str>> {
        (self.version == Version::V1).then(|| {
            let roots = Layout::get().v1.iter();
            // Those of the first kind exist; the others only with a limit.
            let joined = |(name, root): &(&'static str, PathBuf)| {
                let exists = V1_ALWAYS.contains(name) || root.join(&self.path).is_dir();
                exists.then_some(*name)
            };
            roots.filter_map(joined).collect()
        })
    }

    /// How many processes the kernel killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match self.version {
            Version::V1 => self.v1_file("memory", "memory.oom_control"),
            Version::V2 => Some(
                Path::new(MOUNT_POINT)
                    .join(&self.path)
                    .join("memory.events"),
            ),
        };
        let text = file.and_then(|file| read(&file).ok()).unwrap_or_default();
        stats::field(&text, "oom_kill").unwrap_or(0)
    }

    /// Kills every process in the group, frozen ones too, and returns when none
    /// is left alive.
    /// Zombies are left to their parents.
    pub(crate) fn kill_all(&self) -> Result<(), CgroupError> {
        if self.version == Version::V2 {
            let dir = Path::new(MOUNT_POINT).join(&self.path);
            match write(&dir.join("cgroup.kill"), "1") {
                Err(CgroupError::System { source, .. }) if is_absent(&source) => return Ok(()),
                result => result?,
            }
            return unified::wait_for_event(&dir, "populated", 0);
        }
        let deadline = Instant::now() + PATIENCE;
        // A process may fork between the list and the kill.
        loop {
            let pids = self.all_processes();
            let pidfds: Vec<OwnedFd> = pids
                .iter()
                .filter_map(|&pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok())
                .collect();
            if pidfds.is_empty() {
                return Ok(());
            }
            for pidfd in &pidfds {
                let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
            }
            self.let_die();
            for pidfd in &pidfds {
                self.wait_for_death(pidfd, deadline)?;
            }
            // A process whose parent has not reaped it stays listed.
            let left = self.all_processes();
            if pidfds.len() == left.len() && all_dead(&left) {
                return Ok(());
            }
        }
    }

    /// Lets killed processes of a frozen group die: on v1 a frozen process does
    /// not take even SIGKILL.
    pub(crate) fn let_die(&self) {
        if self.version == Version::V1
            && let Some(file) = self.v1_file("freezer", "freezer.state")
        {
            // A group that is gone, or not frozen, needs nothing.
            let _ = write(&file, "THAWED");
        }
    }

    /// A process in uninterruptible sleep outlives SIGKILL; nobody may wait for
    /// it for ever.
    fn wait_for_death(&self, pidfd: &OwnedFd, deadline: Instant) -> Result<(), CgroupError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).expect("ten seconds fit");
            match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Err(self.late("kill all processes of")),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }

    fn late(&self, action: &'static str) -> CgroupError {
        failed(
            action,
            Path::new(&self.path),
            io::ErrorKind::TimedOut.into(),
        )
    }

    /// Pids of the group's processes, as the caller's pid namespace sees them.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let listed = self.directories().find_map(|dir| listed(&dir).ok());
        listed.unwrap_or_default()
    }

    /// Pids of the group's processes and of those in groups below it.
    fn all_processes(&self) -> Vec<Pid> {
        let mut pids = Vec::new();
        if let Some(dir) = self.directories().find(|dir| dir.is_dir()) {
            collect_processes(&dir, &mut pids);
        }
        pids
    }

    /// Removes the group from all hierarchies. Groups that a container made
    /// below it go as well.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        let mut result = Ok(());
        for dir in self.directories() {
            if let Err(error) = remove_tree(&dir)
                && !is_absent(&error)
            {
                result = Err(failed("remove", &dir, error));
            }
        }
        result
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        if self.version == Version::V2 {
            let dir = Path::new(MOUNT_POINT).join(&self.path);
            let value = u64::from(frozen);
            write(&dir.join("cgroup.freeze"), &value.to_string())?;
            return unified::wait_for_event(&dir, "frozen", value);
        }
        let file = self
            .v1_file("freezer", "freezer.state")
            .ok_or(CgroupError::NoController {
                limit: "pause",
                controller: "freezer",
            })?;
        let state = if frozen { "FROZEN" } else { "THAWED" };
        write(&file, state)?;
        let deadline = Instant::now() + PATIENCE;
        // The kernel moves on from FREEZING whenever somebody looks.
        while read(&file).map_err(|e| failed("read", &file, e))?.trim() != state {
            if Instant::now() > deadline {
                write(&file, "THAWED")?;
                return Err(self.late("freeze"));
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// The group's directories in all hierarchies; some may not exist.
    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let layout = Layout::get();
        let roots: Vec<&Path> = match self.version {
            Version::V2 => vec![Path::new(MOUNT_POINT)],
            Version::V1 => {
                let v1 = layout.v1.iter().map(|(_, root)| root.as_path());
                v1.chain(layout.unified.as_deref()).collect()
            }
        };
        roots.into_iter().map(|root| root.join(&self.path))
    }

    /// A control file of an existing v1 group.
    fn v1_file(&self, controller: &str, file: &str) -> Option<PathBuf> {
        Some(v1_root(controller)?.join(&self.path).join(file))
    }
}

/// Stops all processes of a group until [`thaw`].
///
/// # Errors
/// When the group does not exist or cannot be frozen.
pub fn freeze(path: &str) -> Result<(), CgroupError> {
    Cgroup::new(path).set_frozen(true)
}

/// Undoes [`freeze`]. A group that is gone, as after the death of its last
/// process, needs nothing.
///
/// # Errors
/// When the kernel refuses.
pub fn thaw(path: &str) -> Result<(), CgroupError> {
    match Cgroup::new(path).set_frozen(false) {
        Err(CgroupError::System { source, .. }) if is_gone(&source) => Ok(()),
        result => result,
    }
}

/// Changes the limits of a running container.
///
/// # Errors
/// A limit whose controller this host lacks, or that the kernel refuses.
pub fn update(path: &str, limits: &Limits) -> Result<Vec<String>, CgroupError> {
    Cgroup::new(path).apply(limits)
}

/// Kills all processes of a group and waits for their death.
///
/// # Errors
/// When the kernel refuses.
pub fn kill_all(path: &str) -> Result<(), CgroupError> {
    Cgroup::new(path).kill_all()
}

/// Removes a group; processes left in it are killed. Not an error if it does
/// not exist.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(path: &str) -> Result<(), CgroupError> {
    let group = Cgroup::new(path);
    match group.remove() {
        Err(CgroupError::System { source, .. }) if is_busy(&source) => {
            group.kill_all()?;
            group.remove()
        }
        result => result,
    }
}

/// Removes a parent group in every hierarchy where nothing is below it; where
/// a container lives on, it stays.
pub fn remove_if_unused(path: &str) {
    for dir in Cgroup::new(path).directories() {
        // The kernel refuses when there are children or processes.
        let _ = std::fs::remove_dir(dir);
    }
}

/// Usage of a group now.
///
/// # Errors
/// When the group does not exist.
pub fn stats(path: &str) -> Result<Stats, CgroupError> {
    Cgroup::new(path).stats()
}

/// The pids in a group, as the calling process sees them.
pub fn processes(path: &str) -> Vec<u32> {
    let pids = Cgroup::new(path).processes();
    pids.into_iter()
        .map(|pid| pid.as_raw_pid().unsigned_abs())
        .collect()
}

/// Whether only zombies are listed.
fn all_dead(pids: &[Pid]) -> bool {
    pids.iter().all(|pid| {
        let stat = read(Path::new(&format!("/proc/{}/stat", pid.as_raw_pid())));
        // The state follows the name, which may contain anything but the
        // last closing parenthesis.
        stat.map_or(true, |s| {
            s.rsplit_once(") ")
                .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
        })
    })
}

/// Pids that one directory of a group lists.
fn listed(dir: &Path) -> io::Result<Vec<Pid>> {
    let text = read(&dir.join("cgroup.procs"))?;
    let pids = text
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?));
    Ok(pids.collect())
}

fn collect_processes(dir: &Path, pids: &mut Vec<Pid>) {
    pids.extend(listed(dir).unwrap_or_default());
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_processes(&entry.path(), pids);
        }
    }
}

/// Mount point of a v1 controller.
fn v1_root(controller: &str) -> Option<&'static Path> {
    let roots = Layout::get().v1.iter();
    roots
        .filter(|(name, _)| *name == controller)
        .map(|(_, root)| root.as_path())
        .next()
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::BUSY.raw_os_error())
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Whether a group went, also under an open file of it.
fn is_gone(error: &io::Error) -> bool {
    is_absent(error) || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

fn magic(path: &Path) -> Option<i64> {
    rustix::fs::statfs(path).ok().map(|s| s.f_type)
}

fn make_dir(dir: &Path) -> Result<(), CgroupError> {
    match rustix::fs::mkdirat(CWD, dir, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(failed("create", dir, e.into())),
    }
}

/// Only directories: the control files vanish with them.
fn remove_tree(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir(dir) {
        Err(e) if is_busy(&e) => {}
        result => return result,
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(dir)
}

fn read(file: &Path) -> io::Result<String> {
    std::fs::read_to_string(file)
}

fn write(file: &Path, value: &str) -> Result<(), CgroupError> {
    OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|mut opened| opened.write_all(value.as_bytes()))
        .map_err(|e| failed("write to", file, e))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::System {
        action,
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
#[path = "cgroup/tests.rs"]
mod tests;

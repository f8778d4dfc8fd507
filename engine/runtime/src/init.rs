//! What runs in a container before its program does.
//!
//! The process was cloned into new namespaces by its monitor and is a full
//! copy of it with one thread. Everything it mounts is in its own mount
//! namespace, so when it dies at any point, nothing of it is left.

mod dev;
mod masks;
mod mounts;
pub(crate) mod program;
mod rootfs;
pub(crate) mod sync;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::ThreadNameSpaceType;

use self::mounts::Mounted;
use self::program::Stdio;
use self::sync::Report;
use crate::cgroup::Cgroup;
use crate::launcher::{Failure, FailureKind};
use crate::pty::{self, Pty};
use crate::root::Root;
use crate::spec::{ContainerSpec, Namespace, NetMode};
use crate::sys;
use crate::sys::filter::Instruction;
use crate::user::Identity;

/// Exit code of a process that could not report its failure.
const SILENT: i32 = 125;

/// What the monitor prepared for its container's first process.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) spec: &'a ContainerSpec,
    pub(crate) filter: &'a [Instruction],
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) netns: Option<OwnedFd>,
    pub(crate) joined: &'a [Joined],
    /// `None` with a terminal, which is opened here.
    pub(crate) pipes: Option<Stdio>,
    pub(crate) sync: OwnedFd,
}

/// Flags for clone3 that give the namespaces of `spec`. The cgroup namespace
/// comes later, from inside the group; pid namespaces are joined before.
pub(crate) fn clone_flags(spec: &ContainerSpec) -> u64 {
    let names = spec.namespaces;
    let mut flags = libc::CLONE_NEWNS;
    for (namespace, flag) in [
        (names.pid, libc::CLONE_NEWPID),
        (names.ipc, libc::CLONE_NEWIPC),
        (names.uts, libc::CLONE_NEWUTS),
    ] {
        if namespace == Namespace::Private {
            flags |= flag;
        }
    }
    if names.net == NetMode::Private {
        flags |= libc::CLONE_NEWNET;
    }
    flags.unsigned_abs().into()
}

/// Body of the cloned process; does not return when all goes well.
pub(crate) fn run(setup: Setup<'_>) -> i32 {
    match prepare(&setup) {
        Ok(ready) => ready.go(&setup),
        Err(failure) => sync::fail(setup.sync.as_fd(), failure),
    }
}

/// Everything is in place but the program.
struct Ready {
    identity: Identity,
    warnings: Vec<String>,
    terminal: Option<Pty>,
}

fn prepare(setup: &Setup<'_>) -> Result<Ready, Failure> {
    let Setup { spec, cgroup, .. } = *setup;
    let mut warnings = Vec::new();
    sys::signal::reset();
    let failed = |what| move |e: std::io::Error| Failure::setup(what, e);
    rustix::process::setsid().map_err(|e| failed("start a session")(e.into()))?;
    cgroup
        .join()
        .map_err(|e| Failure::new(FailureKind::Setup, crate::launcher::chain(&e)))?;
    enter_namespaces(setup)?;
    program::join_keyring(&spec.id, &mut warnings)?;
    program::limit(&spec.process, &mut warnings)?;
    program::set_oom_score(&spec.process, &mut warnings)?;

    let null = masks::open_null()?;
    let sources = mounts::clone_sources(&spec.mounts)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|e| failed("make mounts private")(e.into()))?;
    let root_fd = rootfs::overlay(&spec.rootfs)?;
    rootfs::attach(&root_fd, &spec.state_dir)?;
    let root = Root::from_fd(root_fd.try_clone().map_err(failed("clone a descriptor"))?);
    let mounted = mounts::mount_all(spec, &root, &root_fd, sources, cgroup)?;
    let terminal = open_terminal(spec, &mounted)?;
    set_names(spec)?;
    set_sysctls(spec, &mounted)?;
    masks::mask(&root_fd, &spec.masked_paths, &null)?;
    masks::make_read_only(&root_fd, &spec.read_only_paths)?;
    root.make_dirs(Path::new(&spec.process.cwd), 0o755, None)
        .map_err(|e| {
            Failure::new(
                FailureKind::Refused,
                format!("create the working directory: {e}"),
            )
        })?;
    let identity = program::identify(&root, &spec.process)?;
    if spec.read_only_rootfs {
        sys::mount::set_attributes(root_fd.as_fd(), false, sys::mount::RDONLY, 0)
            .map_err(failed("make the root read-only"))?;
    }
    rootfs::pivot(&root_fd)?;
    Ok(Ready {
        identity,
        warnings,
        terminal,
    })
}

impl Ready {
    /// Reports, waits, executes. Returns only when the monitor has gone.
    fn go(self, setup: &Setup<'_>) -> i32 {
        let Ready {
            identity,
            warnings,
            terminal,
        } = self;
        let (master, slave) = match terminal {
            Some(pty) => (Some(pty.master), Some(Stdio::Terminal(pty.slave))),
            None => (None, None),
        };
        let report = Report::Ready { warnings };
        let master = master.as_ref().map(AsFd::as_fd);
        let told = sync::report(setup.sync.as_fd(), &report, master);
        let stdio = slave.as_ref().or(setup.pipes.as_ref());
        match (told, stdio) {
            (Ok(()), Some(stdio)) if sync::wait_for_release(&setup.sync) => program::finish(
                &setup.spec.process,
                &identity,
                stdio,
                setup.filter,
                setup.sync.as_fd(),
            ),
            _ => SILENT,
        }
    }
}

/// Joins what is not new: others' namespaces, the sent network, and a new view
/// of the cgroups, rooted where this process now is.
fn enter_namespaces(setup: &Setup<'_>) -> Result<(), Failure> {
    let names = setup.spec.namespaces;
    for joined in setup.joined {
        joined.enter()?;
    }
    if let Some(netns) = &setup.netns {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(netns.as_fd(), kind)
            .map_err(|e| Failure::setup("enter the network namespace", e))?;
    }
    if names.net == NetMode::Private {
        sys::net::raise_loopback().map_err(|e| Failure::setup("raise the loopback link", e))?;
    }
    if names.cgroup == Namespace::Private {
        sys::process::unshare(libc::CLONE_NEWCGROUP)
            .map_err(|e| Failure::setup("make a cgroup namespace", e))?;
    }
    Ok(())
}

/// A namespace of another process. Opened by the monitor: the container's
/// first process is in a pid namespace of its own, where the number of the
/// other process means nothing.
#[derive(Debug)]
pub(crate) struct Joined {
    pid: u32,
    pidfd: OwnedFd,
    kind: ThreadNameSpaceType,
}

impl Joined {
    pub(crate) fn open(pid: u32, kind: ThreadNameSpaceType) -> Result<Joined, Failure> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or_else(|| joining(pid, rustix::io::Errno::SRCH))?;
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty());
        let pidfd = pidfd.map_err(|e| joining(pid, e))?;
        Ok(Joined { pid, pidfd, kind })
    }

    /// All that `spec` joins, except the pid namespace.
    pub(crate) fn of(spec: &ContainerSpec) -> Result<Vec<Joined>, Failure> {
        let names = spec.namespaces;
        let net = match names.net {
            NetMode::Join(pid) => Namespace::Join(pid),
            NetMode::Private | NetMode::Host | NetMode::Fd => Namespace::Private,
        };
        let kinds = [
            (names.ipc, ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
            (
                names.uts,
                ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
            ),
            (names.cgroup, ThreadNameSpaceType::CONTROL_GROUP),
            (net, ThreadNameSpaceType::NETWORK),
        ];
        let mut joined = Vec::new();
        for (namespace, kind) in kinds {
            if let Namespace::Join(pid) = namespace {
                joined.push(Joined::open(pid, kind)?);
            }
        }
        Ok(joined)
    }

    pub(crate) fn enter(&self) -> Result<(), Failure> {
        rustix::thread::move_into_thread_name_spaces(self.pidfd.as_fd(), self.kind)
            .map_err(|e| joining(self.pid, e))
    }
}

fn joining(pid: u32, error: rustix::io::Errno) -> Failure {
    Failure::setup(format_args!("join a namespace of process {pid}"), error)
}

fn open_terminal(spec: &ContainerSpec, mounted: &Mounted) -> Result<Option<Pty>, Failure> {
    if !spec.process.tty {
        return Ok(None);
    }
    let failed = |e| Failure::setup("open a terminal", e);
    let missing = "a terminal needs a devpts file system among the mounts";
    let devpts = mounted.devpts.as_ref();
    let devpts = devpts.ok_or_else(|| Failure::new(FailureKind::Refused, missing))?;
    let pty = pty::open(devpts).map_err(failed)?;
    if let Some(dev) = &mounted.dev {
        let console = mounts::open_no_links(dev, "console").map_err(failed)?;
        let slave = mounts::clone_at(&pty.slave, false).map_err(failed)?;
        mounts::put(&slave, &console, "/dev/console")?;
    }
    Ok(Some(pty))
}

fn set_names(spec: &ContainerSpec) -> Result<(), Failure> {
    if spec.namespaces.uts != Namespace::Private {
        return Ok(());
    }
    rustix::system::sethostname(spec.hostname.as_bytes())
        .and_then(|()| rustix::system::setdomainname(spec.domainname.as_bytes()))
        .map_err(|e| Failure::setup("set the host name", e))
}

fn set_sysctls(spec: &ContainerSpec, mounted: &Mounted) -> Result<(), Failure> {
    for (name, value) in &spec.sysctls {
        let missing = "sysctls need a proc file system among the mounts";
        let proc = mounted.proc.as_ref();
        let proc = proc.ok_or_else(|| Failure::new(FailureKind::Refused, missing))?;
        let path = format!("sys/{}", name.replace('.', "/"));
        mounts::write_proc(proc, &path, value)
            .map_err(|e| Failure::setup(format_args!("set sysctl {name}={value}"), e))?;
    }
    Ok(())
}

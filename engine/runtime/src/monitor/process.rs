//! The monitor of a container: from the request to the last byte of its
//! cgroup.
//!
//! Crash behaviour: the container's first process dies with its monitor, and
//! with it everything in its pid namespace; the cgroup and the state directory
//! are left for the daemon to clean.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::fs::{Mode, OFlags};
use rustix::thread::ThreadNameSpaceType;

use super::serve::{Guest, Monitoring, Owner};
use super::{SOCKET, exit::ExitStatus, frame, frame::Kind, log::Log, stdio};
use crate::cgroup::{Cgroup, DevicePolicy};
use crate::init::{self, Joined, Setup};
use crate::launcher::{Failure, FailureKind};
use crate::spec::{ContainerSpec, LogSpec, Namespace};
use crate::sys;
use crate::sys::filter::Instruction;

/// Exit codes of the monitor itself; nobody but a debugger reads them.
const DONE: i32 = 0;
const FAILED: i32 = 1;

/// Body of a container's monitor, forked from the launcher.
pub(crate) fn run(connection: OwnedFd, netns: Option<OwnedFd>) -> i32 {
    let mut connection = UnixStream::from(connection);
    let started = become_monitor().and_then(|()| {
        let (spec, filter) = read_request(&mut connection)?;
        start(spec, &filter, netns, &connection)
    });
    match started {
        Ok(monitoring) => {
            monitoring.serve(connection);
            DONE
        }
        Err(failure) => {
            send_failure(&mut connection, &failure);
            FAILED
        }
    }
}

/// What every monitor does first: a session of its own, deaf to the signals
/// meant for the daemon, heir of the container's orphans.
pub(crate) fn become_monitor() -> Result<(), Failure> {
    let failed = |e: rustix::io::Errno| Failure::setup("become a monitor", e);
    rustix::process::setsid().map_err(failed)?;
    // The launcher already ignores what is meant for the daemon's group.
    sys::signal::expect_children();
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(failed)?;
    rustix::thread::set_name(c"carrack-monitor").map_err(failed)
}

/// Reads a specification and its compiled filter.
pub(crate) fn read_request<T: serde::de::DeserializeOwned>(
    connection: &mut UnixStream,
) -> Result<(T, Vec<Instruction>), Failure> {
    let mut next = |expected: Kind| match frame::read(connection) {
        Ok(Some((kind, payload))) if kind == expected => Ok(payload),
        Ok(_) => Err(Failure::new(
            FailureKind::Setup,
            "the request was cut short",
        )),
        Err(e) => Err(Failure::setup("read the request", e)),
    };
    let spec = serde_json::from_slice(&next(Kind::Spec)?)
        .map_err(|e| Failure::new(FailureKind::Setup, format!("read the request: {e}")))?;
    let filter = next(Kind::Filter)?;
    let (instructions, _) = filter.as_chunks::<8>();
    Ok((
        spec,
        instructions
            .iter()
            .map(|&bytes| Instruction::from_bytes(bytes))
            .collect(),
    ))
}

pub(crate) fn send_failure(connection: &mut UnixStream, failure: &Failure) {
    let mut out = Vec::new();
    frame::push(&mut out, Kind::Failed, &failure.to_json());
    // A daemon that is gone needs no answer.
    let _ = std::io::Write::write_all(connection, &out);
}

/// Opens the state directory and the socket in it, through the descriptor:
/// socket addresses hold 107 bytes.
pub(crate) fn open_state(dir: &std::path::Path) -> Result<(OwnedFd, UnixListener), Failure> {
    use std::os::fd::AsRawFd;
    let failed = |e: std::io::Error| Failure::setup(format_args!("open {}", dir.display()), e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    // A monitor that was killed left its socket.
    match rustix::fs::unlinkat(&fd, SOCKET, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(failed(e.into())),
    }
    let address = format!("/proc/self/fd/{}/{SOCKET}", fd.as_raw_fd());
    let listener = UnixListener::bind(address).map_err(failed)?;
    rustix::fs::chmodat(
        &fd,
        SOCKET,
        Mode::from_raw_mode(0o600),
        rustix::fs::AtFlags::empty(),
    )
    .map_err(|e| failed(e.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    ExitStatus::clear(&fd).map_err(failed)?;
    Ok((fd, listener))
}

/// Everything up to the point where the first process waits for its start.
fn start(
    spec: ContainerSpec,
    filter: &[Instruction],
    netns: Option<OwnedFd>,
    connection: &UnixStream,
) -> Result<Monitoring, Failure> {
    let cgroup = Cgroup::new(&spec.cgroup.path);
    let mut owned = OwnedCgroup {
        cgroup: Some(cgroup.clone()),
        child: None,
    };
    let setup_error =
        |e: &dyn std::error::Error| Failure::new(FailureKind::Setup, crate::launcher::chain(e));
    let devices = match spec.privileged {
        true => DevicePolicy::Everything,
        false => DevicePolicy::with(&spec.devices),
    };
    let mut warnings = cgroup
        .create(&spec.cgroup.limits, &devices)
        .map_err(|e| setup_error(&e))?;
    let born_in = cgroup.v2_directory().map_err(|e| setup_error(&e))?;
    let failed = |what| move |e: std::io::Error| Failure::setup(what, e);
    let children = sys::signal::child_events().map_err(failed("watch for children"))?;
    let (sync, child_sync) = init::sync::pair().map_err(failed("make a socket pair"))?;
    let (mut streams, pipes) = match spec.process.tty {
        true => (stdio::Streams::none(), None),
        false => {
            let made = stdio::pipes(spec.process.open_stdin);
            made.map(|(s, p)| (s, Some(p)))
                .map_err(failed("make pipes"))?
        }
    };
    if let Namespace::Join(pid) = spec.namespaces.pid {
        Joined::open(pid, ThreadNameSpaceType::PROCESS_ID)?.enter()?;
    }
    let joined = Joined::of(&spec)?;

    let mut monitor_only = Some((sync, streams.take_ends()));
    let setup = Setup {
        spec: &spec,
        filter,
        cgroup: &cgroup,
        netns,
        joined: &joined,
        pipes,
        sync: child_sync,
    };
    let flags = init::clone_flags(&spec);
    let child = sys::process::clone3(flags, born_in.as_ref().map(AsFd::as_fd), || {
        // The child must not hold the monitor's ends of its own streams.
        drop(monitor_only.take());
        init::run(setup)
    })
    .map_err(failed("clone the container's first process"))?;
    let pidfd = child.pidfd.try_clone();
    owned.child = Some(pidfd.map_err(failed("clone a descriptor"))?);
    let (sync, ends) = monitor_only.take().expect("only the child takes it");
    streams.put_ends(ends);

    // While the first process mounts, the monitor makes its own things.
    let (dir, listener) = open_state(&spec.state_dir)?;
    let log = Log::open(&spec.log).map_err(failed("open the container's log"))?;
    let terminal = wait_until_ready(&sync, &mut warnings).inspect_err(|_| {
        let _ = rustix::fs::unlinkat(&dir, SOCKET, rustix::fs::AtFlags::empty());
    })?;
    if let Some(master) = terminal {
        streams =
            stdio::terminal(master, spec.process.tty_size).map_err(failed("set up a terminal"))?;
    }
    let owner = Owner::Container {
        id: spec.id.clone(),
        cgroup: owned.keep(),
        path: spec.cgroup.path.clone(),
    };
    let guest = Guest {
        child,
        sync,
        streams,
        warnings,
        owner,
    };
    connection
        .set_nonblocking(true)
        .map_err(failed("set up the connection"))?;
    Monitoring::new(guest, dir, listener, log, children)
        .map_err(failed("set up the monitor's event loop"))
}

/// Waits for the first process to report; merges its warnings.
pub(crate) fn wait_until_ready(
    sync: &OwnedFd,
    warnings: &mut Vec<String>,
) -> Result<Option<OwnedFd>, Failure> {
    use init::sync::Report;
    match init::sync::receive(sync.as_fd()) {
        Ok(Some((Report::Ready { warnings: more }, terminal))) => {
            warnings.extend(more);
            Ok(terminal)
        }
        Ok(Some((Report::Failed(failure), _))) => Err(failure),
        Ok(Some((Report::Entered, _)) | None) => Err(Failure::new(
            FailureKind::Setup,
            "the container's first process died during its set-up",
        )),
        Err(e) => Err(Failure::setup("hear from the container's first process", e)),
    }
}

/// A log that keeps nothing, for execs.
pub(crate) fn no_log() -> Log {
    Log::open(&LogSpec::None).expect("no file is opened")
}

/// Removes the cgroup again when the start fails half-way.
struct OwnedCgroup {
    cgroup: Option<Cgroup>,
    /// The first process, once there is one. It may not have joined the group
    /// yet, and must not do so after the group was found empty.
    child: Option<OwnedFd>,
}

impl OwnedCgroup {
    fn keep(mut self) -> Cgroup {
        self.cgroup.take().expect("kept once")
    }
}

impl Drop for OwnedCgroup {
    fn drop(&mut self) {
        let Some(cgroup) = self.cgroup.take() else {
            return;
        };
        // Best effort: the failure that is being reported matters more.
        if let Some(child) = &self.child {
            use rustix::process::{Signal, WaitId, WaitIdOptions};
            let _ = rustix::process::pidfd_send_signal(child, Signal::KILL);
            let exited = WaitIdOptions::EXITED;
            let _ = rustix::process::waitid(WaitId::PidFd(child.as_fd()), exited);
        }
        let _ = cgroup.kill_all();
        let _ = cgroup.remove();
    }
}

//! The monitor of an exec: a further process in a running container.
//!
//! It asks the container's own monitor for the pidfd and the cgroup, so that
//! no pid number is ever trusted, and then looks after its process with the
//! same loop and protocol. It owns the exec's state directory.
//!
//! The process is made in two steps. A helper joins the container's namespaces
//! and gives up all rights and descriptors while it still is in the host's pid
//! namespace, where nothing in the container can see it; then it clones the
//! exec's process into that of the container. A process there may trace it
//! from its first instruction (one with CAP_SYS_PTRACE can, dumpable or not),
//! and finds nothing that it has not itself (CVE-2016-9962).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{WaitId, WaitIdOptions};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::cgroup::Cgroup;
use crate::init::program::{self, Stdio};
use crate::init::sync::{self, Report};
use crate::launcher::{ExecSpec, Failure, FailureKind};
use crate::monitor::frame::{self, HEADER_BYTES, Kind};
use crate::monitor::process::{
    become_monitor, no_log, open_state, read_request, send_failure, wait_until_ready,
};
use crate::monitor::serve::{Guest, Joined, Monitoring, Owner};
use crate::monitor::{SOCKET, stdio};
use crate::pty::{self, Pty};
use crate::root::Root;
use crate::spec::ProcessSpec;
use crate::sys;
use crate::sys::filter::Instruction;
use crate::sys::process::{Child, SingleThread};
use crate::user::Identity;

const DONE: i32 = 0;
const FAILED: i32 = 1;

/// Body of an exec's monitor, forked from the launcher.
pub(crate) fn run(connection: OwnedFd) -> i32 {
    let mut connection = UnixStream::from(connection);
    let started = become_monitor().and_then(|()| {
        let (spec, filter) = read_request(&mut connection)?;
        start(&spec, &filter)
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

/// What the process needs to enter the container.
struct Entry<'a> {
    process: &'a ProcessSpec,
    filter: &'a [Instruction],
    cgroup: &'a Cgroup,
    container_id: &'a str,
    container: &'a OwnedFd,
    root: Root,
    pipes: Option<Stdio>,
    sync: OwnedFd,
}

fn start(spec: &ExecSpec, filter: &[Instruction]) -> Result<Monitoring, Failure> {
    let failed = |what| move |e: io::Error| Failure::setup(what, e);
    let process = &spec.process;
    let (joined, container) = join(&spec.container_state_dir)?;
    let cgroup = Cgroup::new(&joined.cgroup);
    // The container's root, before its /proc could be in the way.
    let root = Root::open(Path::new(&format!("/proc/{}/root", joined.pid)));
    let root = root.map_err(|_| not_running())?;
    // Only now is the pid known to have been that of the container.
    let mut ended = [PollFd::new(&container, PollFlags::IN)];
    if poll(&mut ended, Some(&Timespec::default())) != Ok(0) {
        return Err(not_running());
    }
    let born_in = cgroup.v2_directory().map_err(|_| not_running())?;
    let children = sys::signal::child_events().map_err(failed("watch for children"))?;
    let (sync, child_sync) = sync::pair().map_err(failed("make a socket pair"))?;
    let (mut streams, pipes) = match process.tty {
        true => (stdio::Streams::none(), None),
        false => {
            let made = stdio::pipes(process.open_stdin);
            made.map(|(s, p)| (s, Some(p)))
                .map_err(failed("make pipes"))?
        }
    };
    let directory = StateDir::make(&spec.container_state_dir, &spec.exec_id)?;

    let mut monitor_only = Some((sync, streams.take_ends()));
    let entry = Entry {
        process,
        filter,
        cgroup: &cgroup,
        container_id: &joined.id,
        container: &container,
        root,
        pipes,
        sync: child_sync,
    };
    let helper = sys::process::clone3(0, born_in.as_ref().map(AsFd::as_fd), || {
        drop(monitor_only.take());
        enter(entry)
    })
    .map_err(failed("clone the exec's helper"))?;
    let (sync, ends) = monitor_only.take().expect("only the child takes it");
    streams.put_ends(ends);

    let (dir, listener) = open_state(&directory.path)?;
    let mut warnings = Vec::new();
    let terminal = wait_until_ready(&sync, &mut warnings)?;
    if let Some(master) = terminal {
        streams = stdio::terminal(master, process.tty_size).map_err(failed("set up a terminal"))?;
    }
    let child = await_entry(&sync, &helper)?;
    let (parent, name) = directory.keep();
    let guest = Guest {
        child,
        sync,
        streams,
        warnings,
        owner: Owner::Exec { parent, name },
    };
    Monitoring::new(guest, dir, listener, no_log(), children)
        .map_err(failed("set up the monitor's event loop"))
}

/// Waits for the helper's end; returns the process that it left in the
/// container.
fn await_entry(sync: &OwnedFd, helper: &Child) -> Result<Child, Failure> {
    let died = |e: io::Error| Failure::setup("hear from the exec's process", e);
    let ended = |pidfd: &OwnedFd, options| {
        rustix::process::waitid(
            WaitId::PidFd(pidfd.as_fd()),
            options | WaitIdOptions::EXITED,
        )
    };
    while matches!(
        ended(&helper.pidfd, WaitIdOptions::empty()),
        Err(Errno::INTR)
    ) {}
    match sync::receive_now(sync.as_fd()).map_err(died)? {
        Some((Report::Entered, Some(pidfd))) => {
            // From here on the container could be what speaks: a process of
            // its own would not be a child.
            ended(&pidfd, WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
                .map_err(|e| died(e.into()))?;
            let pid = sys::process::pid_of(pidfd.as_fd()).map_err(died)?;
            Ok(Child { pid, pidfd })
        }
        Some((Report::Failed(failure), _)) => Err(failure),
        _ => Err(Failure::new(
            FailureKind::Setup,
            "the exec's process died during its set-up",
        )),
    }
}

/// Body of the helper.
fn enter(entry: Entry<'_>) -> i32 {
    match prepare(&entry) {
        Ok(ready) => go(&entry, ready),
        Err(failure) => sync::fail(entry.sync.as_fd(), failure),
    }
}

struct Ready {
    single: SingleThread,
    identity: Identity,
    warnings: Vec<String>,
    terminal: Option<Pty>,
}

fn prepare(entry: &Entry<'_>) -> Result<Ready, Failure> {
    let mut warnings = Vec::new();
    sys::signal::reset();
    let single = SingleThread::check().map_err(|e| Failure::setup("count threads", e))?;
    entry.cgroup.join().map_err(|_| not_running())?;
    program::join_keyring(entry.container_id, &mut warnings)?;
    program::limit(entry.process, &mut warnings)?;
    program::set_oom_score(entry.process, &mut warnings)?;
    let identity = program::identify(&entry.root, entry.process)?;
    // The pid namespace takes effect for children only.
    let namespaces = ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    move_into_thread_name_spaces(entry.container.as_fd(), namespaces)
        .map_err(|e| entering(e, "join the container's namespaces"))?;
    let terminal = entry.process.tty.then(open_terminal).transpose()?;
    Ok(Ready {
        single,
        identity,
        warnings,
        terminal,
    })
}

/// Gives up what the container may not have and makes the exec's process.
fn go(entry: &Entry<'_>, ready: Ready) -> i32 {
    let (process, filter, sync) = (entry.process, entry.filter, entry.sync.as_fd());
    let Ready {
        single,
        identity,
        warnings,
        terminal,
    } = ready;
    let (master, slave) = match terminal {
        Some(pty) => (Some(pty.master), Some(Stdio::Terminal(pty.slave))),
        None => (None, None),
    };
    let master = master.as_ref().map(AsFd::as_fd);
    let Some(stdio) = slave.as_ref().or(entry.pipes.as_ref()) else {
        return FAILED;
    };
    if sync::report(sync, &Report::Ready { warnings }, master).is_err() {
        return FAILED;
    }
    let connected =
        program::enter_directory(&process.cwd).and_then(|()| program::connect(stdio, &identity));
    sys::process::keep_only(sync, |closed| {
        let made = connected
            .and(closed.map_err(|e| Failure::setup("close descriptors", e)))
            .and_then(|()| program::drop_privileges(process, &identity, filter))
            .and_then(|()| program::confine(process, filter))
            .and_then(|()| {
                sys::process::clone_sibling(single, || inside(process, &identity, sync))
                    .map_err(|e| Failure::setup("clone the exec's process", e))
            });
        match made {
            // A monitor that is gone takes the process along.
            Ok(pidfd) => match sync::report(sync, &Report::Entered, Some(pidfd.as_fd())) {
                Ok(()) => DONE,
                Err(_) => FAILED,
            },
            Err(failure) => sync::fail(sync, failure),
        }
    })
}

/// Body of the exec's process: from here on it is the container's.
fn inside(process: &ProcessSpec, identity: &Identity, sync: BorrowedFd<'_>) -> i32 {
    let session = rustix::process::setsid().map_err(|e| Failure::setup("start a session", e));
    let ready = session
        .and_then(|_| program::die_with_parent())
        .and_then(|()| program::take_terminal(process));
    if !sync::wait_for_release(&sync) {
        return FAILED;
    }
    let failure = match ready {
        Ok(()) => program::execute(process, identity),
        Err(failure) => failure,
    };
    sync::fail(sync, failure)
}

/// A terminal of the devpts that the container has at its usual place, if it
/// really is one.
fn open_terminal() -> Result<Pty, Failure> {
    let failed = |e: Errno| Failure::setup("open a terminal in the container", e);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).map_err(failed)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let devpts = openat2(&root, "dev/pts", flags, Mode::empty(), resolve).map_err(failed)?;
    pty::open(&devpts).map_err(failed)
}

/// Asks the container's monitor for its process and cgroup.
fn join(state_dir: &Path) -> Result<(Joined, OwnedFd), Failure> {
    let dir = std::fs::File::open(state_dir).map_err(|_| not_running())?;
    let address = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
    let mut stream = UnixStream::connect(address).map_err(|_| not_running())?;
    let mut request = Vec::new();
    frame::push(&mut request, Kind::Join, &[]);
    io::Write::write_all(&mut stream, &request).map_err(|_| not_running())?;

    let mut received = Vec::new();
    let mut pidfd = None;
    loop {
        // The greeting, and perhaps output, come before the answer.
        while let Some((kind, length)) =
            frame::first(&received).map_err(|e| Failure::setup("talk to the monitor", e))?
        {
            let payload: Vec<u8> = received
                .drain(..HEADER_BYTES + length)
                .skip(HEADER_BYTES)
                .collect();
            match (kind, pidfd.take()) {
                (Kind::Joined, Some(pidfd)) => {
                    let joined = serde_json::from_slice(&payload);
                    return joined
                        .map(|joined| (joined, pidfd))
                        .map_err(|e| Failure::setup("talk to the monitor", io::Error::from(e)));
                }
                (Kind::Failed, _) => return Err(not_running()),
                (_, kept) => pidfd = kept,
            }
        }
        if !receive(&stream, &mut received, &mut pidfd)? {
            return Err(not_running());
        }
    }
}

/// Reads what is there, and a descriptor that comes with it; false at the end.
fn receive(
    stream: &UnixStream,
    received: &mut Vec<u8>,
    pidfd: &mut Option<OwnedFd>,
) -> Result<bool, Failure> {
    let mut data = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [io::IoSliceMut::new(&mut data)];
    let bytes = match recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
        Ok(message) => message.bytes,
        Err(Errno::INTR) => return Ok(true),
        Err(_) => return Ok(false),
    };
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            *pidfd = fds.next();
        }
    }
    received.extend_from_slice(&data[..bytes]);
    Ok(bytes > 0)
}

/// The exec's directory, removed again when the start fails.
struct StateDir {
    path: std::path::PathBuf,
    parent: Option<OwnedFd>,
    name: String,
}

impl StateDir {
    fn make(container: &Path, exec_id: &str) -> Result<StateDir, Failure> {
        let path = crate::monitor::exec_state_dir(container, exec_id);
        let failed =
            |e: Errno| Failure::setup(format_args!("make the directory {}", path.display()), e);
        let mode = Mode::from_raw_mode(0o700);
        let above = container.join("exec");
        for dir in [&above, &path] {
            match mkdirat(rustix::fs::CWD, dir, mode) {
                Ok(()) => {}
                Err(Errno::EXIST) if dir == &above => {}
                Err(e) => return Err(failed(e)),
            }
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(&above, flags, Mode::empty()).map_err(failed)?;
        Ok(StateDir {
            path,
            parent: Some(parent),
            name: exec_id.to_owned(),
        })
    }

    fn keep(mut self) -> (OwnedFd, String) {
        let parent = self.parent.take().expect("kept once");
        (parent, std::mem::take(&mut self.name))
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if self.parent.is_some() {
            // Best effort: the failure that is being reported matters more.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn not_running() -> Failure {
    Failure::new(FailureKind::NotRunning, "the container is not running")
}

/// A container that ends meanwhile is not a fault of the system.
fn entering(error: Errno, what: &'static str) -> Failure {
    match error {
        Errno::SRCH => not_running(),
        e => Failure::setup(what, e),
    }
}

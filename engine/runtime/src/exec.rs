//! The monitor of an exec: a further process in a running container.
//!
//! It asks the container's own monitor for the pidfd and the cgroup, so that
//! no pid number is ever trusted, and then looks after its process with the
//! same loop and protocol. It owns the exec's state directory.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
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
    // Takes effect for children: they are born in the container's namespace.
    move_into_thread_name_spaces(container.as_fd(), ThreadNameSpaceType::PROCESS_ID)
        .map_err(|e| entering(e, "join the container's pid namespace"))?;

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
    let child = sys::process::clone3(0, born_in.as_ref().map(AsFd::as_fd), || {
        drop(monitor_only.take());
        enter(entry)
    })
    .map_err(failed("clone the exec's process"))?;
    let (sync, ends) = monitor_only.take().expect("only the child takes it");
    streams.put_ends(ends);

    let (dir, listener) = open_state(&directory.path)?;
    let mut warnings = Vec::new();
    let terminal = wait_until_ready(&sync, &mut warnings)?;
    if let Some(master) = terminal {
        streams = stdio::terminal(master, process.tty_size).map_err(failed("set up a terminal"))?;
    }
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

/// Body of the cloned process; does not return when all goes well.
fn enter(entry: Entry<'_>) -> i32 {
    let failure = match prepare(&entry) {
        Ok(ready) => match go(&entry, ready) {
            Some(failure) => failure,
            None => return FAILED,
        },
        Err(failure) => failure,
    };
    let code = failure.exit_code();
    // The monitor may be gone; then there is nobody to tell.
    let _ = sync::report(entry.sync.as_fd(), &Report::Failed(failure), None);
    code
}

type Ready = (Identity, Vec<String>, Option<Pty>);

fn prepare(entry: &Entry<'_>) -> Result<Ready, Failure> {
    let mut warnings = Vec::new();
    sys::signal::reset();
    rustix::process::setsid().map_err(|e| Failure::setup("start a session", e))?;
    entry.cgroup.join().map_err(|_| not_running())?;
    program::join_keyring(entry.container_id, &mut warnings)?;
    program::limit(entry.process, &mut warnings)?;
    program::set_oom_score(entry.process, &mut warnings)?;
    let identity = program::identify(&entry.root, entry.process)?;
    let namespaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    move_into_thread_name_spaces(entry.container.as_fd(), namespaces)
        .map_err(|e| entering(e, "join the container's namespaces"))?;
    let terminal = entry.process.tty.then(open_terminal).transpose()?;
    Ok((identity, warnings, terminal))
}

fn go(entry: &Entry<'_>, (identity, warnings, terminal): Ready) -> Option<Failure> {
    let (master, slave) = match terminal {
        Some(pty) => (Some(pty.master), Some(Stdio::Terminal(pty.slave))),
        None => (None, None),
    };
    let master = master.as_ref().map(AsFd::as_fd);
    sync::report(entry.sync.as_fd(), &Report::Ready { warnings }, master).ok()?;
    if !sync::wait_for_release(&entry.sync) {
        return None;
    }
    let stdio = slave.as_ref().or(entry.pipes.as_ref())?;
    Some(program::finish(
        entry.process,
        &identity,
        stdio,
        entry.filter,
    ))
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

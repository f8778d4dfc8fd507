//! The launcher process itself: receives connections and forks a monitor
//! around each.
//!
//! Owns one socket. Has one thread, does no parsing, and ends when the daemon
//! closes its end.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::{REQUEST_CONTAINER, REQUEST_EXEC};
use crate::{cgroup, exec, monitor, sys};

/// Exit codes of the launcher process: the daemon only logs them.
const OK: i32 = 0;
const BROKEN: i32 = 1;

/// Body of the hidden `launcher` subcommand. Call it before any thread exists;
/// standard input is the request socket.
pub fn launcher_main() -> ! {
    sys::process::exit(match serve() {
        Ok(()) => OK,
        Err(error) => {
            // The daemon's log is the only place left to say it.
            eprintln!("carrack launcher: {error}");
            BROKEN
        }
    })
}

fn serve() -> std::io::Result<()> {
    // What whoever started the daemon left open is nobody's here.
    sys::process::close_inherited()?;
    let mut control = Some(take_stdin()?);
    sys::signal::reset_all();
    sys::signal::ignore_group_signals();
    sys::signal::ignore_children();
    // Init processes inherit this until they execute the container's program:
    // nothing in the container may look into them.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    cgroup::detect();
    rustix::thread::set_name(c"carrack-launch")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));

    while let Some(socket) = &control {
        let Some((kind, connection, netns)) = receive(socket)? else {
            break;
        };
        let forked = sys::process::fork(|| {
            drop(control.take());
            match kind {
                REQUEST_CONTAINER => monitor::process::run(connection, netns),
                REQUEST_EXEC => exec::run(connection),
                _ => BROKEN,
            }
        });
        // Out of processes: the daemon sees its connection close.
        if let Err(error) = forked {
            eprintln!("carrack launcher: fork: {error}");
        }
    }
    Ok(())
}

/// Moves the request socket away from descriptor 0, which becomes /dev/null.
fn take_stdin() -> std::io::Result<OwnedFd> {
    let control = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    sys::process::dup_onto(null.as_fd(), 0)?;
    Ok(control)
}

/// The next request; `None` when the daemon is gone. Messages without a
/// connection are dropped.
fn receive(control: &OwnedFd) -> std::io::Result<Option<(u8, OwnedFd, Option<OwnedFd>)>> {
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut kind = [0];
        let mut data = [std::io::IoSliceMut::new(&mut kind)];
        let received = match recvmsg(control, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut fds = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let mut fds = fds.next().into_iter().flatten();
        let (connection, netns) = (fds.next(), fds.next());
        match (received, connection) {
            (0, _) => return Ok(None),
            (_, Some(connection)) => return Ok(Some((kind[0], connection, netns))),
            (_, None) => {}
        }
    }
}

//! The socket between a monitor and the process it cloned: one report when the
//! set-up is done (or failed), one word to go on, and silence when the program
//! runs, because the socket closes on exec.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::launcher::Failure;

/// Larger than any report: messages are cut to a fraction of it.
const REPORT_BYTES_MAX: usize = 32 << 10;
const MESSAGE_CHARS_MAX: usize = 2000;
const WARNINGS_MAX: usize = 16;

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Everything is in place; carries the terminal's master, if any.
    Ready {
        warnings: Vec<String>,
    },
    /// An exec's process is in the container; carries its pidfd.
    Entered,
    Failed(Failure),
}

pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

pub(crate) fn report(
    sync: BorrowedFd<'_>,
    report: &Report,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let cut = |text: &String| text.chars().take(MESSAGE_CHARS_MAX).collect::<String>();
    let report = match report {
        Report::Ready { warnings } => Report::Ready {
            warnings: warnings.iter().take(WARNINGS_MAX).map(cut).collect(),
        },
        Report::Entered => Report::Entered,
        Report::Failed(f) => Report::Failed(Failure::new(f.kind, cut(&f.message))),
    };
    let data = serde_json::to_vec(&report)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = descriptor.into_iter().collect();
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(
        sync,
        &[io::IoSlice::new(&data)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Reports why the program does not run; returns the code to exit with.
pub(crate) fn fail(sync: BorrowedFd<'_>, failure: Failure) -> i32 {
    let code = failure.exit_code();
    // The monitor may be gone; then there is nobody to tell.
    let _ = report(sync, &Report::Failed(failure), None);
    code
}

/// A report and the descriptor that came with it.
pub(crate) type Received = (Report, Option<OwnedFd>);

/// The next report; `None` when the other end has closed.
pub(crate) fn receive(sync: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    receive_with(sync, RecvFlags::empty())
}

/// A report that is already there; `None` when there is none.
pub(crate) fn receive_now(sync: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    receive_with(sync, RecvFlags::DONTWAIT)
}

fn receive_with(sync: BorrowedFd<'_>, flags: RecvFlags) -> io::Result<Option<Received>> {
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let mut data = vec![0; REPORT_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [io::IoSliceMut::new(&mut data)];
        match recvmsg(sync, &mut parts, &mut ancillary, flags) {
            Ok(message) => break message.bytes,
            Err(Errno::INTR) => {}
            // The process died with our word to go on unread.
            Err(Errno::CONNRESET | Errno::AGAIN) => break 0,
            Err(e) => return Err(e.into()),
        }
    };
    if received == 0 {
        return Ok(None);
    }
    let report = serde_json::from_slice(&data[..received])?;
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(Some((report, descriptor)))
}

/// Lets the process go on.
pub(crate) fn release(sync: BorrowedFd<'_>) -> io::Result<()> {
    sendmsg(
        sync,
        &[io::IoSlice::new(b"go")],
        &mut SendAncillaryBuffer::default(),
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Waits for [`release`]; false when the monitor is gone.
pub(crate) fn wait_for_release(sync: &impl AsFd) -> bool {
    let mut word = [0; 2];
    loop {
        match rustix::io::read(sync, &mut word) {
            Ok(n) => return n == word.len(),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

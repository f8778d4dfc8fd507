//! Signal masks, dispositions and signalfd.
#![expect(
    unsafe_code,
    reason = "rustix keeps signal dispositions out of its safe API"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::process::Signal;

/// Highest signal number on Linux.
const SIGNAL_MAX: i32 = 64;

const GROUP_SIGNALS: [i32; 5] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGPIPE,
];

/// Lets the kernel reap children at once (sigaction(2), SIGCHLD ignored).
pub(crate) fn ignore_children() {
    set(libc::SIGCHLD, libc::SIG_IGN);
}

/// Makes this process deaf to what a terminal or a service manager sends to a
/// whole group: it must outlive the daemon.
pub(crate) fn ignore_group_signals() {
    for signal in GROUP_SIGNALS {
        set(signal, libc::SIG_IGN);
    }
}

/// Lets children be waited for again.
pub(crate) fn expect_children() {
    set(libc::SIGCHLD, libc::SIG_DFL);
}

/// Default dispositions and an empty mask, whatever was inherited. The
/// launcher does this once; its descendants change only what is named here.
pub(crate) fn reset_all() {
    for signal in 1..=SIGNAL_MAX {
        set(signal, libc::SIG_DFL);
    }
    change_mask(libc::SIG_SETMASK, &[]);
}

/// Undoes what a monitor changed, for the container's program.
pub(crate) fn reset() {
    for signal in GROUP_SIGNALS {
        set(signal, libc::SIG_DFL);
    }
    change_mask(libc::SIG_SETMASK, &[]);
}

/// Blocks SIGCHLD and returns a descriptor that becomes readable with it.
///
/// # Errors
/// signalfd(2)'s.
pub(crate) fn child_events() -> io::Result<OwnedFd> {
    let mask = change_mask(libc::SIG_BLOCK, &[libc::SIGCHLD]);
    // SAFETY: `mask` is an initialised set; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const mask, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A signal by number, real-time ones included; `None` outside 1 to 64.
pub(crate) fn from_number(number: i32) -> Option<Signal> {
    // SAFETY: the number is one that the kernel knows. It is only sent to
    // other processes, so what this process's libc reserves does not matter.
    (1..=SIGNAL_MAX)
        .contains(&number)
        .then(|| unsafe { Signal::from_raw_unchecked(number) })
}

fn set(signal: i32, handler: libc::sighandler_t) {
    // SAFETY: only SIG_DFL and SIG_IGN are passed, so no code is registered.
    // Failure (SIGKILL, SIGSTOP, signals reserved by libc) is harmless.
    unsafe { libc::signal(signal, handler) };
}

fn change_mask(how: i32, signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set that the other calls then read.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::sigprocmask(how, set.as_ptr(), std::ptr::null_mut());
        set.assume_init()
    }
}

//! fork, clone3, execve and the closing of inherited descriptors.
#![expect(
    unsafe_code,
    reason = "rustix and std have no fork, clone3 or execve with fds kept"
)]

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::Pid;

/// Exit code of a child whose own code panicked.
const PANICKED: i32 = 125;

/// libc's constant of this name does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Says that the process has one thread; taken while /proc can still tell.
#[derive(Debug)]
pub(crate) struct SingleThread(());

impl SingleThread {
    /// # Errors
    /// `EBUSY` when the caller has other threads.
    pub(crate) fn check() -> io::Result<SingleThread> {
        require_single_thread().map(SingleThread)
    }
}

/// What the parent holds after [`clone3`].
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

/// Runs `body` in a forked child, which ends with the code `body` returns.
///
/// # Errors
/// fork(2)'s, and `EBUSY` when the caller has other threads.
pub(crate) fn fork(body: impl FnOnce() -> i32) -> io::Result<Pid> {
    require_single_thread()?;
    // SAFETY: the process has one thread (checked above), so the child owns a
    // complete copy of every lock and allocator state and may run any code.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => exit(run_guarded(body)),
        pid => Ok(child_pid(pid)),
    }
}

/// Runs `body` in a child cloned with `flags` (`CLONE_NEW*`), optionally born
/// in the cgroup v2 directory `cgroup`.
///
/// # Errors
/// clone3(2)'s, and `EBUSY` when the caller has other threads.
pub(crate) fn clone3(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> i32,
) -> io::Result<Child> {
    require_single_thread()?;
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(dir) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = dir.as_raw_fd() as u64;
    }
    // SAFETY: `args` has the layout of struct clone_args and its true size is
    // passed; without CLONE_VM and with a null stack this behaves as fork(2):
    // the child continues here on a copy of this stack. The process has one
    // thread, so nothing the child inherits is locked by another. `pidfd`
    // outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => exit(run_guarded(body)),
        pid => {
            // SAFETY: the kernel stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child {
                pid: child_pid(pid as i32),
                pidfd,
            })
        }
    }
}

/// Runs `body` in a sibling: a child of the caller's parent, in the pid
/// namespace that the caller joined for its children. Returns its pidfd.
///
/// By clone(2), which default system call filters allow.
///
/// # Errors
/// clone(2)'s: `ENOMEM` when the pid namespace has ended.
pub(crate) fn clone_sibling(_: SingleThread, body: impl FnOnce() -> i32) -> io::Result<OwnedFd> {
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    // SAFETY: without CLONE_VM and with a null stack this behaves as fork(2).
    // The caller vouches that the process has one thread, so nothing the child
    // inherits is locked by another. The third argument is the place for the
    // pidfd on all architectures; it outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => exit(run_guarded(body)),
        // SAFETY: the kernel stored a new descriptor that nobody else owns.
        _ => Ok(unsafe { OwnedFd::from_raw_fd(pidfd) }),
    }
}

/// struct clone_args of clone3(2), its first 11 fields (Linux 5.7).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Ends the process without running exit handlers, which belong to the
/// process this one was copied from.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Replaces the program. Returns only on failure.
pub(crate) fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Result<Infallible> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        let ends = std::iter::once(std::ptr::null());
        strings.iter().map(|s| s.as_ptr()).chain(ends).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with a null pointer and point to NUL-terminated
    // strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Err(io::Error::last_os_error())
}

/// Closes every descriptor above 2 but `kept`, runs `body` with the outcome and
/// ends the process with the code it returns. Owners of the others are gone
/// with the caller's frames, which are never returned to; `body` must not use
/// any.
pub(crate) fn keep_only(kept: BorrowedFd<'_>, body: impl FnOnce(io::Result<()>) -> i32) -> ! {
    let kept = kept.as_raw_fd().unsigned_abs();
    let close = |first: u32, last: u32| {
        // SAFETY: no frame that owns one of these descriptors runs again.
        if first > last || unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    let closed = close(3, kept - 1).and_then(|()| close(kept + 1, u32::MAX));
    exit(run_guarded(|| body(closed)))
}

/// Closes all descriptors above 2. Only for the start of a process, which has
/// opened none itself.
pub(crate) fn close_inherited() -> io::Result<()> {
    // SAFETY: the caller vouches that nothing in this process owns one.
    match unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes `fd` the descriptor `target` (0, 1 or 2), without close-on-exec.
pub(crate) fn dup_onto(fd: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    // SAFETY: callers pass only the standard descriptors, which this process
    // reaches by number and never through an OwnedFd.
    match unsafe { libc::dup2(fd.as_raw_fd(), target) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The pid behind a pidfd, as this process sees it.
///
/// # Errors
/// `ESRCH` when it is gone, or not in this process's pid namespace.
pub(crate) fn pid_of(pidfd: BorrowedFd<'_>) -> io::Result<Pid> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    pid.and_then(|pid| pid.trim().parse().ok())
        .filter(|&pid: &i32| pid > 0)
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

/// Leaves the listed namespaces for new ones (`CLONE_NEW*`).
pub(crate) fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: namespaces only; CLONE_FILES, which could invalidate
    // descriptors held by other threads, is masked out.
    match unsafe { libc::unshare(flags & !libc::CLONE_FILES) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn run_guarded(body: impl FnOnce() -> i32) -> i32 {
    // A panic must not unwind into frames that belong to the parent.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(PANICKED)
}

fn child_pid(pid: i32) -> Pid {
    Pid::from_raw(pid).expect("fork returned a positive pid")
}

fn require_single_thread() -> io::Result<()> {
    // One link per thread plus `.` and `..`: cheaper than reading the list.
    let threads = rustix::fs::stat("/proc/self/task").map(|s| s.st_nlink)?;
    if threads == 3 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }
}

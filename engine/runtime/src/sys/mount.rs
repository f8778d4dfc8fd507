//! mount_setattr(2).
#![expect(unsafe_code, reason = "rustix does not wrap mount_setattr")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

pub(crate) const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;

/// Changes the mount at `fd`, and those below it when `recursive`: sets `set`
/// (`MOUNT_ATTR_*`) and the propagation (`MS_*`, 0 leaves it).
pub(crate) fn set_attributes(
    fd: BorrowedFd<'_>,
    recursive: bool,
    set: u64,
    propagation: u64,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty NUL-terminated string, the struct has the
    // size passed with it, and both outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

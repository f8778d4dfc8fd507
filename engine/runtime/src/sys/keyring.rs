//! Session keyrings (keyctl(2), session-keyring(7)).
#![expect(unsafe_code, reason = "rustix does not wrap keyctl")]

use std::ffi::CStr;
use std::io;

/// What the owner of a keyring may do with it: view, read, link and search, so
/// that a later process of the same container finds it by name; and all to
/// those who hold it (linux/keyctl.h, `KEY_POS_*` and `KEY_USR_*`).
const PERMISSIONS: libc::c_ulong = 0x3f1b_0000;

/// Makes the keyring of this name the caller's session keyring, a new one when
/// none of this name can be found.
///
/// # Errors
/// `ENOSYS` when the kernel has no keyrings, `EPERM` when a filter around this
/// process forbids them, `EDQUOT` when there are too many.
pub(crate) fn join_session(name: &CStr) -> io::Result<()> {
    // SAFETY: the name is NUL-terminated and outlives the call.
    let keyring = checked(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            name.as_ptr(),
        )
    })?;
    // SAFETY: numbers only.
    checked(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, keyring, PERMISSIONS) })
        .map(|_| ())
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

//! Pseudo-terminals from the container's own devpts.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

/// `f_type` of devpts (linux/magic.h).
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Both ends of a terminal.
#[derive(Debug)]
pub(crate) struct Pty {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
}

/// Opens a terminal of the devpts instance whose root is `devpts`. The slave
/// comes from the master's descriptor: its path, which a container could swap
/// (CVE-2025-52565), is never used.
///
/// # Errors
/// `EXDEV` or `ELOOP` when `ptmx` is not the instance's own.
pub(crate) fn open(devpts: &OwnedFd) -> Result<Pty, Errno> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat2(devpts, "ptmx", flags, Mode::empty(), resolve)?;
    if rustix::fs::fstatfs(&master)?.f_type != DEVPTS_MAGIC {
        return Err(Errno::NOTTY);
    }
    unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    Ok(Pty { master, slave })
}

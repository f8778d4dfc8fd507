//! Owner, mode, extended attributes and time of one inode, set through its
//! descriptor in the one order that is safe.

use std::{ffi::CString, os::fd::BorrowedFd};

use rustix::{
    fs::{AtFlags, Mode, Timespec, Timestamps},
    io::Errno,
};

use super::{gid_of, proc_path, set_xattr, uid_of};

/// Name and value of an extended attribute.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// What [`apply`] sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `None` for symbolic links, which have no mode of their own.
    pub(crate) mode: Option<u32>,
    pub(crate) mtime: Option<Timespec>,
    pub(crate) xattrs: &'a [Xattr],
}

/// Sets the attributes of the inode behind `fd`; `O_PATH` is enough.
///
/// Owner first, because chown(2) clears setuid, setgid and
/// `security.capability`; then the mode; then the attributes; then the time,
/// which the others would move.
pub(crate) fn apply(fd: BorrowedFd<'_>, attributes: &Attributes<'_>) -> Result<(), Errno> {
    let owner = Some(uid_of(attributes.uid));
    let group = Some(gid_of(attributes.gid));
    rustix::fs::chownat(fd, c"", owner, group, AtFlags::EMPTY_PATH)?;
    if let Some(mode) = attributes.mode {
        chmod(fd, mode)?;
    }
    for (name, value) in attributes.xattrs {
        let Ok(name) = CString::new(name.as_slice()) else {
            return Err(Errno::INVAL);
        };
        match set_xattr(fd, &name, value) {
            // The file system, or this file type on it, has no such
            // attributes; only capabilities change what a program may do.
            Err(Errno::OPNOTSUPP | Errno::PERM) if name.as_bytes() != b"security.capability" => {}
            result => result?,
        }
    }
    match attributes.mtime {
        Some(mtime) => set_mtime(fd, mtime),
        None => Ok(()),
    }
}

/// chmod(2) of the inode behind a descriptor of any kind.
pub(crate) fn chmod(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    match rustix::fs::fchmod(fd, Mode::from(mode)) {
        // fchmod(2) refuses O_PATH descriptors; procfs reaches the same inode.
        Err(Errno::BADF) => rustix::fs::chmod(proc_path(fd), Mode::from(mode)),
        result => result,
    }
}

/// Sets access and modification time.
pub(crate) fn set_mtime(fd: BorrowedFd<'_>, mtime: Timespec) -> Result<(), Errno> {
    let times = Timestamps {
        last_access: mtime,
        last_modification: mtime,
    };
    rustix::fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH)
}

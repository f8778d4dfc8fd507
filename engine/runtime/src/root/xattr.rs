//! Extended attributes by descriptor, whatever the file type.

use std::{
    ffi::{CStr, OsStr},
    os::{fd::BorrowedFd, unix::ffi::OsStrExt as _},
};

use rustix::{fs::XattrFlags, io::Errno};

use super::{Xattr, proc_path};

/// The kernel's limit of one value and of one list (xattr(7)).
const XATTR_BYTES_MAX: usize = 65_536;

/// Attributes that steer overlayfs or the kernel itself. They never pass
/// between an image and a file: one that came in would make a plain directory
/// opaque or redirect it (CVE-2023-0386 and relatives).
pub(crate) fn is_reserved_xattr(name: &[u8]) -> bool {
    name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.")
}

/// All attributes of the inode behind `fd` (`O_PATH` is enough), sorted by
/// name. Empty where the file system has none.
pub(crate) fn list_xattrs(fd: BorrowedFd<'_>) -> Result<Vec<Xattr>, Errno> {
    let path = proc_path(fd);
    match rustix::fs::listxattr_query(&path) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(errno) => return Err(errno),
    }
    let mut list = vec![0u8; XATTR_BYTES_MAX];
    let used = rustix::fs::listxattr(&path, &mut list[..])?;
    let mut attributes = Vec::new();
    for name in list[..used].split(|byte| *byte == 0) {
        if name.is_empty() {
            continue;
        }
        let mut value = vec![0u8; XATTR_BYTES_MAX];
        match rustix::fs::getxattr(&path, OsStr::from_bytes(name), &mut value[..]) {
            Ok(length) => value.truncate(length),
            // Removed since the list was read.
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(errno),
        }
        value.shrink_to_fit();
        attributes.push((name.to_vec(), value));
    }
    attributes.sort();
    Ok(attributes)
}

/// Sets one attribute of the inode behind `fd`, a symbolic link or device included.
pub(crate) fn set_xattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    rustix::fs::setxattr(proc_path(fd), name, value, XattrFlags::empty())
}

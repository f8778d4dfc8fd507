//! The launcher's program, opened so that no container can write to it.
//!
//! Until a container's first process has executed its own program,
//! `/proc/<pid>/exe` inside the container leads to this binary (CVE-2019-5736).
//! The launcher therefore runs from a read-only overlay of the binary's
//! directory, mounted nowhere: a write through it fails with `EROFS`, nothing
//! can remount it, and the page cache is shared with the binary, where a
//! sealed memory copy would cost its size. Where overlayfs refuses (the binary
//! is itself on an overlay that is already two deep), a read-only clone of the
//! mount does the same.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};

use super::LaunchError;
use crate::sys;

/// A program that can be executed by path while this value lives.
#[derive(Debug)]
pub(super) struct Program {
    file: OwnedFd,
}

impl Program {
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

pub(super) fn open(binary: &Path) -> Result<Program, LaunchError> {
    let failed = |e: std::io::Error| LaunchError::system("protect the launcher's binary", e);
    let binary = std::fs::canonicalize(binary).map_err(failed)?;
    let (Some(directory), Some(name)) = (binary.parent(), binary.file_name()) else {
        return Err(failed(Errno::ISDIR.into()));
    };
    let opened = overlay(directory)
        .and_then(|mount| open_program(&mount, name))
        .or_else(|_| clone(directory).and_then(|mount| open_program(&mount, name)));
    Ok(Program {
        file: opened.map_err(|e| failed(e.into()))?,
    })
}

fn overlay(directory: &Path) -> Result<OwnedFd, Errno> {
    let directory = openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // Overlayfs wants two lower directories when there is no upper one.
    let empty = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(empty.as_fd())?;
    let empty = fsmount(
        empty.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let layers = format!(
        "/proc/self/fd/{}:/proc/self/fd/{}",
        directory.as_raw_fd(),
        empty.as_raw_fd()
    );
    fsconfig_set_string(context.as_fd(), "lowerdir", layers)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn clone(directory: &Path) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, directory, flags)?;
    sys::mount::set_attributes(mount.as_fd(), false, sys::mount::RDONLY, 0)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok(mount)
}

fn open_program(mount: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(
        mount,
        OsStr::from_bytes(name.as_bytes()),
        flags,
        Mode::empty(),
    )
}

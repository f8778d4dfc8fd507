//! The container's root: an overlay that is mounted nowhere on the host.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};

use crate::launcher::{Failure, FailureKind, chain};
use crate::mount::Overlay;
use crate::spec::Rootfs;

/// Mounts the overlay detached.
pub(super) fn overlay(rootfs: &Rootfs) -> Result<OwnedFd, Failure> {
    let overlay = Overlay {
        lower: &rootfs.lower,
        upper: Some((&rootfs.upper, &rootfs.work)),
        read_only: false,
        volatile: rootfs.volatile,
    };
    overlay
        .mount_detached()
        .map_err(|e| Failure::new(FailureKind::Setup, chain(&e)))
}

/// Attaches the root in this mount namespace, where mounts can be put on it:
/// kernels before 6.15 take none on a detached tree.
pub(super) fn attach(root: &OwnedFd, at: &Path) -> Result<(), Failure> {
    move_mount(
        root,
        "",
        rustix::fs::CWD,
        at,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(|e| Failure::setup("attach the container's root", e))
}

/// Makes `root` the process's root and drops everything of the host.
pub(super) fn pivot(root: &OwnedFd) -> Result<(), Failure> {
    let failed = |e: Errno| Failure::setup("enter the container's root", e);
    rustix::process::fchdir(root).map_err(failed)?;
    // The old root ends up on top of the new one at the same place
    // (pivot_root(2), "pivot_root(".", ".")").
    rustix::process::pivot_root(".", ".").map_err(failed)?;
    unmount(".", UnmountFlags::DETACH).map_err(failed)?;
    rustix::process::chdir("/").map_err(failed)
}

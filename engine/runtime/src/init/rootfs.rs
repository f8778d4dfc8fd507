//! The container's root: an overlay that is mounted nowhere on the host.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};

use crate::launcher::Failure;
use crate::spec::Rootfs;

/// Mounts the overlay detached. Layers are named by descriptor: the strings
/// that fsconfig takes end at 255 bytes, and the container's mountinfo shows
/// no path of the host.
pub(super) fn overlay(rootfs: &Rootfs) -> Result<OwnedFd, Failure> {
    let failed = |e: Errno| Failure::setup("mount the container's root", e);
    let open = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| Failure::setup(format_args!("open layer {}", path.display()), e))
    };
    let lower = rootfs
        .lower
        .iter()
        .map(|p| open(p))
        .collect::<Result<Vec<_>, _>>()?;
    let (upper, work) = (open(&rootfs.upper)?, open(&rootfs.work)?);
    let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());

    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    // Per-layer parameters exist since Linux 6.8; before, one string has to
    // hold them all, which suffices for 13 layers.
    let set = |key: &str, value: String| fsconfig_set_string(context.as_fd(), key, value);
    let mut each = lower.iter().map(|fd| set("lowerdir+", name(fd)));
    match each.by_ref().next() {
        Some(Err(Errno::INVAL)) => {
            let all: Vec<String> = lower.iter().map(name).collect();
            set("lowerdir", all.join(":")).map_err(failed)?;
        }
        first => first
            .into_iter()
            .chain(each)
            .collect::<Result<(), _>>()
            .map_err(failed)?,
    }
    set("upperdir", name(&upper)).map_err(failed)?;
    set("workdir", name(&work)).map_err(failed)?;
    fsconfig_create(context.as_fd()).map_err(failed)?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .map_err(failed)
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

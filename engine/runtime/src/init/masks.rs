//! Hiding and freezing parts of /proc and /sys.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, openat2};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::mounts::{clone_at, filesystem, is_null_device, open_no_links, put};
use crate::launcher::{Failure, FailureKind};
use crate::sys;

/// The host's null device, checked: what hides a file.
pub(super) fn open_null() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())
        .map_err(|e| Failure::setup("open /dev/null", e))?;
    if is_null_device(&null) {
        Ok(null)
    } else {
        Err(Failure::new(
            FailureKind::Refused,
            "the host's /dev/null is not the null device",
        ))
    }
}

/// Hides `paths`; absent ones need no hiding.
pub(super) fn mask(root: &OwnedFd, paths: &[String], null: &OwnedFd) -> Result<(), Failure> {
    let mut empty: Option<OwnedFd> = None;
    for path in paths.iter().flat_map(|p| expand(root, p)) {
        let failed = |e: Errno| Failure::setup(format_args!("mask {path}"), e);
        let target = match open_no_links(root, &path) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(e) => return Err(failed(e)),
        };
        let mode = rustix::fs::fstat(&target).map_err(failed)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::Directory {
            put(&clone_at(null, false).map_err(failed)?, &target, &path)?;
            continue;
        }
        // One empty directory serves all. It can be cloned once it is attached:
        // kernels before 6.15 clone no detached mount.
        match &empty {
            Some(empty) => put(&clone_at(empty, false).map_err(failed)?, &target, &path)?,
            None => {
                let first = empty.insert(empty_directory().map_err(failed)?);
                put(first, &target, &path)?;
            }
        }
    }
    Ok(())
}

/// Makes `paths` read-only, with what is mounted below.
pub(super) fn make_read_only(root: &OwnedFd, paths: &[String]) -> Result<(), Failure> {
    for path in paths {
        let failed = |e: Errno| Failure::setup(format_args!("make {path} read-only"), e);
        let target = match open_no_links(root, path) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(e) => return Err(failed(e)),
        };
        let cover = clone_at(&target, true).map_err(failed)?;
        sys::mount::set_attributes(cover.as_fd(), true, sys::mount::RDONLY, 0)
            .map_err(|e| Failure::setup(format_args!("make {path} read-only"), e))?;
        put(&cover, &target, path)?;
    }
    Ok(())
}

fn empty_directory() -> Result<OwnedFd, Errno> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    filesystem(
        "tmpfs",
        &[("size", "0".to_owned()), ("mode", "555".to_owned())],
        attributes,
    )
}

/// Replaces a component `cpu*` by every processor there is.
fn expand(root: &OwnedFd, path: &str) -> Vec<String> {
    let Some((parent, rest)) = path.split_once("/cpu*") else {
        return vec![path.to_owned()];
    };
    let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = openat2(root, parent, flags, Mode::empty(), resolve) else {
        return Vec::new();
    };
    let entries = rustix::fs::Dir::read_from(&dir)
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    let is_cpu = |name: &String| {
        let digits = name.strip_prefix("cpu").unwrap_or("");
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    names
        .filter(is_cpu)
        .map(|name| format!("{parent}/{name}{rest}"))
        .collect()
}

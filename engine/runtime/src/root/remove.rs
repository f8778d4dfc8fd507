//! Removal of trees, by descriptor.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir},
    io::Errno,
};

use super::{ErrnoContext as _, PathError, open_child_dir, random_name};

/// Directories held open on the way down. Deeper trees are first moved up next
/// to where the removal began, so a tree of any depth needs this many
/// descriptors at most.
const OPEN_DEPTH_MAX: usize = 64;

/// Names taken from a directory before they are removed: removing while
/// reading may skip entries on some file systems.
const BATCH_MAX: usize = 4096;

/// Removes `name` in `dir` with everything below it; absent is fine. `shown`
/// is only for errors.
pub(crate) fn remove_at(dir: BorrowedFd<'_>, name: &OsStr, shown: &Path) -> Result<(), PathError> {
    if unlink(dir, name).at("remove", shown)? {
        return Ok(());
    }
    let Some(child) = open_child_dir(dir, name).at("open", shown)? else {
        return unlink_only(dir, name).at("remove", shown);
    };
    clear(child.as_fd(), shown)?;
    remove_empty(dir, name).at("remove", shown)
}

/// Removes everything in the directory `top`, which stays.
pub(super) fn clear(top: BorrowedFd<'_>, shown: &Path) -> Result<(), PathError> {
    let mut stack: Vec<(OsString, OwnedFd)> = Vec::new();
    loop {
        let dir = stack.last().map_or(top, |(_, fd)| fd.as_fd());
        let mut deeper = None;
        let names = batch(dir).at("read directory", shown)?;
        let emptied = names.is_empty();
        for name in names {
            if !unlink(dir, &name).at("remove", shown)? {
                deeper = Some(name);
                break;
            }
        }
        match deeper {
            Some(name) => {
                if stack.len() >= OPEN_DEPTH_MAX && move_up(dir, &name, top).is_ok() {
                    continue;
                }
                match open_child_dir(dir, &name).at("open", shown)? {
                    Some(child) => stack.push((name, child)),
                    None => unlink_only(dir, &name).at("remove", shown)?,
                }
            }
            None if emptied => {
                let Some((name, fd)) = stack.pop() else {
                    return Ok(());
                };
                drop(fd);
                let parent = stack.last().map_or(top, |(_, fd)| fd.as_fd());
                remove_empty(parent, &name).at("remove", shown)?;
            }
            None => {}
        }
    }
}

fn move_up(dir: BorrowedFd<'_>, name: &OsStr, top: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut target = OsString::from(".carrack-rm-");
    target.push(random_name());
    rustix::fs::renameat(dir, name, top, &target)
}

/// Removes a non-directory. False when it is a directory.
fn unlink(dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes what turned out to be no directory: it changed meanwhile, or its
/// removal is forbidden (an immutable file).
fn unlink_only(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    if unlink(dir, name)? {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}

/// Removes an empty directory. One that filled up again is a neighbour's doing
/// and is reported.
fn remove_empty(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn batch(dir: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
        if names.len() == BATCH_MAX {
            break;
        }
    }
    Ok(names)
}

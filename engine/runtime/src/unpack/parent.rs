//! The directory that entries are being created in.
//!
//! Archives list a directory's files together, so the open parent is kept from
//! one entry to the next. When another takes its place, the directory gets back
//! the time it had: creating files in it moved it. That way directory times need
//! no list of all directories at the end.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::Timespec;

use crate::root::{PathError, set_mtime, stat_fd};

/// The parent of the entry at hand, if it was opened.
#[derive(Debug, Default)]
pub(super) struct Parent {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    fd: OwnedFd,
    mtime: Timespec,
}

impl Parent {
    /// The descriptor, if `path` is the directory that is open.
    pub(super) fn get(&self, path: &Path) -> Option<BorrowedFd<'_>> {
        let open = self.open.as_ref()?;
        (open.path == path).then(|| open.fd.as_fd())
    }

    /// Makes `fd` the open parent.
    pub(super) fn set(&mut self, path: &Path, fd: OwnedFd) -> Result<(), PathError> {
        self.close()?;
        let mtime = stat_fd(&fd, path)?.mtime_spec();
        self.open = Some(Open {
            path: path.to_owned(),
            fd,
            mtime,
        });
        Ok(())
    }

    /// Gives the open directory its time back and forgets it. Needed before
    /// anything may move or replace directories, or sets the time of this one.
    pub(super) fn close(&mut self) -> Result<(), PathError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        set_mtime(open.fd.as_fd(), open.mtime)
            .map_err(|errno| PathError::new("set the time of", &open.path, errno))
    }
}

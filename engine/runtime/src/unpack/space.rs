//! Room on the disk, asked for before an archive takes it.
//!
//! An archive of a few megabytes may unpack to many gigabytes and be honest.
//! What it may never do is fill the disk, where the databases are as well.

use std::{os::fd::BorrowedFd, path::Path};

use crate::root::{ErrnoContext as _, PathError};

/// Bytes of files between two looks at the disk.
const STEP_BYTES: u64 = 64 << 20;

/// What stays free: enough for the databases to write on while somebody makes
/// room, and for the steps of several layers that are unpacked at once.
const RESERVE_BYTES_MAX: u64 = 512 << 20;

/// On small disks the reserve is this part of them.
const RESERVE_PART: u64 = 20;

#[derive(Debug, Default)]
pub(super) struct Space {
    unchecked_bytes: u64,
}

impl Space {
    /// Makes sure that `bytes` more fit where `file` is.
    ///
    /// # Errors
    /// [`PathError::NoSpace`] of `path`, before a byte is written.
    pub(super) fn claim(
        &mut self,
        file: BorrowedFd<'_>,
        path: &Path,
        bytes: u64,
    ) -> Result<(), PathError> {
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(bytes);
        if self.unchecked_bytes < STEP_BYTES {
            return Ok(());
        }
        self.unchecked_bytes = 0;
        let disk = rustix::fs::fstatvfs(file).at("look for space for", path)?;
        let size_bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        // A tmpfs without a size tells zero.
        if size_bytes > 0 && free_bytes < bytes.saturating_add(reserve_bytes(size_bytes)) {
            return Err(PathError::NoSpace(path.to_owned()));
        }
        Ok(())
    }
}

fn reserve_bytes(size_bytes: u64) -> u64 {
    RESERVE_BYTES_MAX.min(size_bytes / RESERVE_PART)
}

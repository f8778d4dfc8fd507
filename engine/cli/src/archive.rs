//! Tar archives of `cp` and of build contexts: POSIX ustar with pax records, and GNU long names
//! when reading.
//!
//! Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Interchange
//! Format". What is read comes from a container and is hostile: names are
//! resolved below the destination only, nothing is written through a link,
//! and every length that a header claims is bounded.

mod pack;
mod reader;
mod unpack;
mod writer;

use std::path::PathBuf;

pub use pack::pack;
pub use unpack::{Rename, Unpack};
pub use writer::Writer;

/// Size of a header and unit of padding.
const BLOCK_BYTES: usize = 512;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    /// `size_bytes` of content follow.
    File,
    Symlink(PathBuf),
    /// Another name of an entry before it.
    Hardlink(PathBuf),
    /// A device, FIFO or socket.
    Special,
}

/// One entry without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: PathBuf,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since the epoch; earlier times are written as the epoch.
    pub mtime: i64,
    pub size_bytes: u64,
}

#[cfg(test)]
#[path = "archive/tests.rs"]
mod tests;

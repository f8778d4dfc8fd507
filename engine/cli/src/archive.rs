//! Tar archives of `cp`: POSIX ustar with pax records, and GNU long names
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

/// Size of a header and unit of padding.
const BLOCK_BYTES: usize = 512;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Symlink(PathBuf),
    /// Another name of an entry before it.
    Hardlink(PathBuf),
    /// A device, FIFO or socket.
    Special,
}

/// One entry without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: PathBuf,
    kind: Kind,
    mode: u32,
    uid: u32,
    gid: u32,
    /// Seconds since the epoch.
    mtime: i64,
    size_bytes: u64,
}

#[cfg(test)]
#[path = "archive/tests.rs"]
mod tests;

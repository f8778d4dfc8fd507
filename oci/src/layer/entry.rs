//! One member of a tar archive, in a form independent of the header dialect.

use std::path::PathBuf;

/// What an entry creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Followed by [`Entry::size_bytes`] bytes of content.
    Regular,
    Directory,
    /// The text of the link, as is.
    Symlink(PathBuf),
    /// Path of an earlier entry, relative, without `.` and `..`.
    HardLink(PathBuf),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// A point in time; `nsec` counts forward from `sec`, also before the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtime {
    pub sec: i64,
    pub nsec: u32,
}

/// A file of the archive with its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative, without empty, `.` and `..` components; empty for the root itself.
    pub path: PathBuf,
    pub kind: EntryKind,
    /// Low 12 bits: permissions, setuid, setgid, sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Mtime,
    /// Length of the content; 0 unless [`EntryKind::Regular`].
    pub size_bytes: u64,
    /// Name and value, as in `SCHILY.xattr.` records; sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry owned by 0:0 with time 0 and no content.
    pub fn new(path: impl Into<PathBuf>, kind: EntryKind, mode: u32) -> Self {
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            size_bytes: 0,
            xattrs: Vec::new(),
        }
    }
}

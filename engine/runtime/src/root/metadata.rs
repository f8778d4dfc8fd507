//! What a path inside a root is: type, mode, owner, size and time.

use std::fmt;

use rustix::fs::{FileType, Stat, Timespec};

/// The type of a file, closed: the kernel knows no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl FileKind {
    /// From the type bits of `st_mode`; `None` for the all-zero "unknown" of
    /// some file systems' readdir.
    pub(crate) fn from_type(file_type: FileType) -> Option<Self> {
        Some(match file_type {
            FileType::RegularFile => Self::Regular,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            _ => return None,
        })
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "regular file",
            Self::Directory => "directory",
            Self::Symlink => "symbolic link",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
        })
    }
}

/// The result of stat(2), in our words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky: the low 12 bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size_bytes: u64,
    /// Seconds since the epoch, may be negative.
    pub mtime: i64,
    pub mtime_nsec: u32,
    /// Device number of a device node: (major, minor).
    pub rdev: (u32, u32),
    pub links: u64,
    /// Identity of the inode: device and inode number.
    pub inode: (u64, u64),
    /// Space taken on disk.
    pub allocated_bytes: u64,
}

impl Metadata {
    /// The modification time for `utimensat(2)`.
    pub(crate) fn mtime_spec(&self) -> Timespec {
        Timespec {
            tv_sec: self.mtime,
            tv_nsec: i64::from(self.mtime_nsec),
        }
    }

    /// Whether the kernel's overlayfs reads this entry as a deletion
    /// (kernel documentation, filesystems/overlayfs.rst, "whiteouts and opaque directories").
    pub fn is_whiteout(&self) -> bool {
        self.kind == FileKind::CharDevice && self.rdev == (0, 0)
    }
}

impl From<Stat> for Metadata {
    fn from(stat: Stat) -> Self {
        let kind = FileKind::from_type(FileType::from_raw_mode(stat.st_mode))
            .expect("stat(2) always fills in the file type");
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: stat.st_mtime,
            mtime_nsec: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            rdev: (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            ),
            #[allow(
                clippy::useless_conversion,
                reason = "32 bits wide on some architectures"
            )]
            links: u64::from(stat.st_nlink),
            inode: (stat.st_dev, stat.st_ino),
            allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
        }
    }
}

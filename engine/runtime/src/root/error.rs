//! Errors of path operations inside a root.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::FileKind;

/// Why a path operation inside a root failed. Paths are as the caller gave
/// them, relative to the root.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    #[error("{}: no such file or directory", .0.display())]
    NotFound(PathBuf),
    #[error("{}: not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("{}: already exists", .0.display())]
    Exists(PathBuf),
    #[error("{}: too many levels of symbolic links", .0.display())]
    SymlinkLoop(PathBuf),
    /// The path ends in `..`, or is the root itself, where a name was needed.
    #[error("{}: does not end in a file name", .0.display())]
    NoName(PathBuf),
    #[error("{}: is a {kind}, only regular files can be read here", .path.display())]
    NotRegular { path: PathBuf, kind: FileKind },
    #[error("{}: larger than the limit of {max_bytes} bytes", .path.display())]
    TooLarge { path: PathBuf, max_bytes: u64 },
    /// The kernel gave up resolving because directories kept moving
    /// (openat2(2), EAGAIN).
    #[error("{}: directories on the way keep being moved by another process; try again when it has stopped", .0.display())]
    Unstable(PathBuf),
    #[error("{}: more than {depth_max} directories deep", .path.display())]
    TooDeep { path: PathBuf, depth_max: usize },
    /// A copy met an entry of another type at its target.
    #[error("{}: cannot put a {new} in place of a {old}", .path.display())]
    TypeConflict {
        path: PathBuf,
        old: FileKind,
        new: FileKind,
    },
    #[error("{}: no space left on device", .0.display())]
    NoSpace(PathBuf),
    #[error("{operation} {}", .path.display())]
    System {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl PathError {
    /// Turns the errno of `operation` on `path` into the variant a caller can act on.
    pub(crate) fn new(operation: &'static str, path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::NOENT => Self::NotFound(path),
            Errno::NOTDIR => Self::NotADirectory(path),
            Errno::EXIST => Self::Exists(path),
            Errno::LOOP => Self::SymlinkLoop(path),
            Errno::AGAIN => Self::Unstable(path),
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace(path),
            errno => Self::System {
                operation,
                path,
                source: errno.into(),
            },
        }
    }

    /// Like [`PathError::new`] for errors of `std::io` calls.
    pub(crate) fn from_io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            Some(errno) => Self::new(operation, path, errno),
            None => Self::System {
                operation,
                path: path.to_owned(),
                source,
            },
        }
    }

    /// Nothing has that name, or something on the way is not a directory.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NotFound(_) | Self::NotADirectory(_))
    }
}

/// For call sites that turn an errno into a [`PathError`] with its context.
pub(crate) trait ErrnoContext<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, PathError>;
}

impl<T> ErrnoContext<T> for Result<T, Errno> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, PathError> {
        self.map_err(|errno| PathError::new(operation, path, errno))
    }
}

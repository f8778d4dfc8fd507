//! Why an archive was not unpacked.

use std::{io, path::PathBuf};

use oci::{Digest, layer::LayerError};

use crate::{mount::MountError, root::PathError, snapshot::SnapshotError};

/// Nothing of a layer that failed is visible; of a plain archive, what was
/// extracted before stays.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive itself is refused.
    #[error(transparent)]
    Archive(#[from] LayerError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(
        "the layer unpacks to {got}, but the image's configuration says {want}: it was changed or damaged on the way"
    )]
    DiffIdMismatch { want: Box<Digest>, got: Box<Digest> },
    #[error("{}: {problem}", .path.display())]
    BadWhiteout {
        path: PathBuf,
        problem: &'static str,
    },
    #[error("{}: device nodes are not allowed here", .0.display())]
    DeviceRefused(PathBuf),
    #[error("cannot overwrite non-directory {} with directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("cannot overwrite directory {} with non-directory", .0.display())]
    IsADirectory(PathBuf),
    /// Overlayfs would read it as a deletion.
    #[error("{}: a character device 0:0 is refused in a layer", .0.display())]
    FakeWhiteout(PathBuf),
    #[error("{}: its hard link target {} is neither in the layer nor in those below", .path.display(), .target.display())]
    LinkTarget { path: PathBuf, target: PathBuf },
    #[error("the archive leaves out more than {limit} parent directories or link targets")]
    TooManyImplied { limit: u64 },
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Store(#[from] Box<SnapshotError>),
    #[error("start the decompressor thread")]
    Thread(#[source] io::Error),
}

impl From<SnapshotError> for UnpackError {
    fn from(error: SnapshotError) -> Self {
        Self::Store(Box::new(error))
    }
}

//! Errors of the layer store.

use std::{
    io,
    path::{Path, PathBuf},
};

use oci::layer::LayerError;

use super::LayerName;
use crate::{diff::DiffError, mount::MountError, root::PathError, unpack::UnpackError};

/// Why an operation on layers or snapshots failed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(
        "{0:?} cannot name a layer or snapshot: use letters, digits, `-`, `_`, `.` and `:`, at most 160"
    )]
    BadName(String),
    #[error("layer {0} is not in the layer store")]
    LayerNotFound(LayerName),
    #[error("layer {0} already exists")]
    LayerExists(LayerName),
    /// Removing it would take a container's or build step's files away.
    #[error("layer {layer} is in use by snapshot {snapshot}")]
    LayerInUse { layer: LayerName, snapshot: String },
    /// Its files are mounted, or a build step is about to mount them.
    #[error("layer {0} is being read")]
    LayerPinned(LayerName),
    #[error("layer {0} is kept for the builds that stand on it")]
    LayerKept(LayerName),
    #[error("snapshot {0} does not exist")]
    NotFound(String),
    #[error("snapshot {0} already exists")]
    Exists(String),
    #[error("no space left on device for the layer store")]
    NoSpace(#[source] io::Error),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Archive(#[from] LayerError),
    #[error(transparent)]
    Diff(#[from] DiffError),
    /// A layer that waited for those below could not be completed.
    #[error("complete layer {layer} from those below")]
    Complete {
        layer: LayerName,
        source: Box<UnpackError>,
    },
    #[error("{}: damaged record of a layer; remove this directory and pull or build again", .path.display())]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{operation} {}", .path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl SnapshotError {
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(source),
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }
}

//! The small JSON file next to a layer's or snapshot's files.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::SnapshotError;

pub(super) const FILE: &str = "record.json";

/// What the store knows of a layer besides its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    /// Size of its regular files; absent until someone asked.
    pub(super) size_bytes: Option<u64>,
    /// Boot of the machine in which it was written without being synced.
    /// After another boot its files may be empty, so it is dropped then.
    pub(super) unsynced_since: Option<String>,
    /// Whether it takes something from the layers it is used on.
    #[serde(default)]
    pub(super) pending: bool,
    /// Its archive says nothing of the root directory: a container sees the
    /// one of the layers below.
    #[serde(default)]
    pub(super) root_from_below: bool,
    /// Its root directory is opaque. Overlayfs ignores that of a root, so the
    /// layers below are left out of the mount.
    #[serde(default)]
    pub(super) hides_below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SnapshotRecord {
    /// Bottom first.
    pub(super) parents: Vec<String>,
}

/// Writes a file that is whole or absent.
pub(super) fn write(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), SnapshotError> {
    let path = dir.join(name);
    let temporary = dir.join(format!(".{name}"));
    let data = serde_json::to_vec(value).map_err(|source| SnapshotError::Damaged {
        path: path.clone(),
        source,
    })?;
    fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(&data))
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(SnapshotError::io("write", &path))
}

/// `None` when there is no such file.
pub(super) fn read<T: DeserializeOwned>(
    dir: &Path,
    name: &str,
) -> Result<Option<T>, SnapshotError> {
    let path = dir.join(name);
    let data = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        data => data.map_err(SnapshotError::io("read", &path))?,
    };
    serde_json::from_slice(&data)
        .map(Some)
        .map_err(|source| SnapshotError::Damaged { path, source })
}

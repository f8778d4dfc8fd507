//! What the handles of a store share: its directory, the index of what is in
//! it, and the moves that make entries visible and put them out of sight.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    FILES, LayerName, SnapshotError,
    dirs::{Temporary, entries, make_private_dir},
    flight::Flights,
    record::{self, LayerRecord, SnapshotRecord},
};
use crate::root::random_name;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) boot: String,
    pub(super) index: Mutex<Index>,
    pub(super) flights: Flights,
    /// Held while a layer is completed from those below.
    pub(super) completing: Mutex<()>,
}

/// What is on disk, in memory.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) layers: HashMap<LayerName, LayerRecord>,
    /// Key → parents, bottom first.
    pub(super) snapshots: HashMap<String, Vec<LayerName>>,
    /// Layers that somebody wants to find again, see [`LayerStore::keep`].
    pub(super) kept: HashSet<LayerName>,
    /// Layers that are mounted or about to be, see [`LayerStore::pin`].
    pub(super) pins: HashMap<u64, Vec<LayerName>>,
    pub(super) next_pin: u64,
}

impl Inner {
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn layer_dir(&self, name: &LayerName) -> PathBuf {
        self.dir.join("layers").join(name.dir_name())
    }

    pub(super) fn snapshot_dir(&self, key: &str) -> PathBuf {
        self.dir.join("snapshots").join(key)
    }

    /// The topmost layer that says what the root directory is like.
    pub(super) fn root_of<'a>(&self, bottom_first: &'a [LayerName]) -> Option<&'a LayerName> {
        let index = self.index();
        bottom_first.iter().rev().find(|name| {
            let record = index.layers.get(name);
            record.is_some_and(|record| !record.root_from_below)
        })
    }

    /// Directories for overlayfs, topmost first; never none. The layers must
    /// have been completed.
    pub(super) fn lower(&self, index: &Index, bottom_first: &[LayerName]) -> Vec<PathBuf> {
        let mut lower = Vec::with_capacity(bottom_first.len());
        for (at, name) in bottom_first.iter().enumerate().rev() {
            let record = index.layers.get(name);
            if record.is_some_and(|record| record.pending) {
                let below = &bottom_first[..at];
                lower.push(self.completion_dir(name, below).join(FILES));
            }
            lower.push(self.layer_dir(name).join(FILES));
            if record.is_some_and(|record| record.hides_below) {
                break;
            }
        }
        if lower.is_empty() {
            lower.push(self.dir.join("empty"));
        }
        lower
    }

    /// Like [`Inner::lower`], but the two that a mount without upper needs.
    pub(super) fn view_dirs(&self, bottom_first: &[LayerName]) -> Vec<PathBuf> {
        let mut lower = self.lower(&self.index(), bottom_first);
        if lower.len() == 1 {
            lower.push(self.dir.join("empty"));
        }
        lower
    }

    /// Reads what is on disk and throws out what cannot be trusted.
    pub(super) fn load(&self) -> Result<(), SnapshotError> {
        let mut index = self.index();
        for entry in entries(&self.dir.join("layers"))? {
            let name = entry.file_name().and_then(|n| n.to_str());
            let record: Option<LayerRecord> = record::read(&entry, record::FILE)?;
            match (name.and_then(LayerName::from_dir_name), record) {
                (Some(name), Some(record)) if self.is_trusted(&record) => {
                    index.layers.insert(name, record);
                }
                _ => {
                    tracing::warn!(layer.dir = %entry.display(), "dropping a layer that was not on disk when the machine stopped");
                    self.trash(&entry)?;
                }
            }
        }
        self.sweep_completions(&index)?;
        for entry in entries(&self.dir.join("snapshots"))? {
            let key = entry.file_name().and_then(|n| n.to_str());
            let record: Option<SnapshotRecord> = record::read(&entry, record::FILE)?;
            match (key, record) {
                (Some(key), Some(record)) if entry.join(FILES).is_dir() => {
                    let parents = record
                        .parents
                        .iter()
                        .map(|name| LayerName::parse(name))
                        .collect::<Result<_, _>>()?;
                    index.snapshots.insert(key.to_owned(), parents);
                }
                // Its files became a layer just before a crash.
                _ => {
                    self.trash(&entry)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn is_trusted(&self, record: &LayerRecord) -> bool {
        record
            .unsynced_since
            .as_ref()
            .is_none_or(|boot| *boot == self.boot)
    }

    pub(super) fn temporary(&self) -> Result<Temporary, SnapshotError> {
        let path = self.dir.join("tmp").join(random_name());
        make_private_dir(&path)?;
        Ok(Temporary::of(path))
    }

    /// Moves a directory out of sight.
    pub(super) fn trash(&self, dir: &Path) -> Result<Temporary, SnapshotError> {
        let path = self.dir.join("tmp").join(random_name());
        fs::rename(dir, &path).map_err(SnapshotError::io("move", dir))?;
        Ok(Temporary::of(path))
    }

    pub(super) fn discard(&self, dir: &Path) -> Result<(), SnapshotError> {
        self.trash(dir)?.delete()
    }

    pub(super) fn publish_layer(
        &self,
        temporary: Temporary,
        name: &LayerName,
        record: LayerRecord,
    ) -> Result<(), SnapshotError> {
        let mut index = self.index();
        temporary.rename(&self.layer_dir(name))?;
        index.layers.insert(name.clone(), record);
        Ok(())
    }

    /// Snapshots on a renamed layer must find it again, and pins must hold it.
    pub(super) fn repoint(
        &self,
        index: &mut Index,
        from: &LayerName,
        to: &LayerName,
    ) -> Result<(), SnapshotError> {
        let pinned = index.pins.values_mut().flatten();
        for name in pinned.filter(|name| *name == from) {
            *name = to.clone();
        }
        for (key, parents) in &mut index.snapshots {
            if !parents.contains(from) {
                continue;
            }
            for parent in parents.iter_mut().filter(|parent| *parent == from) {
                *parent = to.clone();
            }
            let record = SnapshotRecord {
                parents: parents.iter().map(LayerName::to_string).collect(),
            };
            record::write(&self.snapshot_dir(key), record::FILE, &record)?;
        }
        Ok(())
    }
}

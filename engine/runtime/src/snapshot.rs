//! The layer store: immutable layers in overlay form and the writable
//! snapshots on top of them.
//!
//! ```text
//! layers/<name>/{fs/, record.json[, pending.json, on/…]}
//! snapshots/<key>/{fs/, work/, record.json}
//! tmp/…                  being made or being removed; emptied at open
//! empty/                 stands in where overlayfs wants one more layer
//! ```
//!
//! What lies in `fs` of a layer depends on its archive alone; what the archive
//! leaves to the layers below it is in `on`, see [`complete`].
//!
//! Owns that directory; one process at a time. Everything becomes visible and
//! disappears by one rename, so a crash leaves at most something in `tmp`. A
//! layer named by its diff_id is on disk before it is visible (one syncfs). A
//! layer of a build step is not: it is marked with the machine's boot, and
//! dropped at the next open if the machine went down before it was synced.

mod complete;
mod dirs;
mod error;
mod export;
mod flight;
mod inner;
mod name;
mod pin;
mod record;

use std::{
    fs,
    io::Read,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use oci::{Digest, MediaType, layer::Limits};

pub use error::SnapshotError;
pub use export::Exported;
pub use name::LayerName;
pub use oci::layer::Compression;
pub use pin::LayerPin;

use crate::{
    diff,
    mount::Overlay,
    root::Root,
    unpack::{UnpackError, unpack_layer},
};
use dirs::{boot_id, copy_root_attributes, make_private_dir, make_root_dir, sync_file_system};
use flight::Flights;
use inner::{Index, Inner};
use record::{LayerRecord, SnapshotRecord};

const FILES: &str = "fs";
const PENDING: &str = "pending.json";

/// A handle of the store; clones share it.
#[derive(Clone, Debug)]
pub struct LayerStore {
    inner: Arc<Inner>,
}

/// A layer that is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Size of its regular files.
    pub size_bytes: u64,
}

/// A writable tree on top of layers: the directories overlayfs needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Topmost first; at least one.
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    /// Mounted without ever syncing, see [`Overlay::volatile`]. Off unless the
    /// caller sets it.
    pub volatile: bool,
}

impl Snapshot {
    /// Mounts it for writing, attached nowhere. At most one such mount may
    /// exist at a time.
    pub fn mount_detached(&self) -> Result<OwnedFd, SnapshotError> {
        let overlay = Overlay {
            lower: &self.lower,
            upper: Some((&self.upper, &self.work)),
            read_only: false,
            volatile: self.volatile,
        };
        Ok(overlay.mount_detached()?)
    }

    /// Mounts what it holds now for reading, attached nowhere. What is written
    /// through another mount meanwhile may or may not show.
    pub fn mount_detached_read_only(&self) -> Result<OwnedFd, SnapshotError> {
        let mut lower = vec![self.upper.clone()];
        lower.extend_from_slice(&self.lower);
        let overlay = Overlay {
            lower: &lower,
            upper: None,
            read_only: true,
            volatile: false,
        };
        Ok(overlay.mount_detached()?)
    }
}

impl LayerStore {
    /// Opens or makes the store in `dir`, drops what an earlier process left
    /// half-made and layers that a crash of the machine may have damaged.
    pub fn open(dir: &Path) -> Result<Self, SnapshotError> {
        for dir in [
            dir.to_owned(),
            dir.join("layers"),
            dir.join("snapshots"),
            dir.join("tmp"),
            dir.join("empty"),
        ] {
            make_private_dir(&dir)?;
        }
        let inner = Inner {
            boot: boot_id()?,
            dir: dir.to_owned(),
            index: Mutex::default(),
            flights: Flights::default(),
            completing: Mutex::new(()),
        };
        // It shows as the root of images without layers.
        let empty = inner.dir.join("empty");
        fs::set_permissions(&empty, fs::Permissions::from_mode(0o755))
            .map_err(SnapshotError::io("set the mode of", &empty))?;
        inner.load()?;
        Root::open(&inner.dir)?.clear_dir(Path::new("tmp"))?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Whether the layer is there and whole.
    pub fn contains(&self, name: &LayerName) -> bool {
        self.inner.index().layers.contains_key(name)
    }

    /// Unpacks a layer from its compressed stream: decompresses, hashes and
    /// extracts in one pass, and makes it visible when the diff_id is right. A
    /// layer that is there is left alone and its stream not read; when another
    /// caller is at it, waits for that one.
    ///
    /// `parents` are the layers below, bottom first. They need not be there
    /// yet: what this layer takes from those it is used on is settled when it
    /// is, for each stack of layers apart.
    pub fn unpack(
        &self,
        diff_id: &Digest,
        parents: &[LayerName],
        compressed: impl Read + Send,
        media_type: &MediaType,
    ) -> Result<Unpacked, UnpackError> {
        let inner = &*self.inner;
        let name = LayerName::from(diff_id);
        let _flight = inner.flights.board(&name);
        if let Some(record) = inner.index().layers.get(&name) {
            return Ok(Unpacked {
                size_bytes: record.size_bytes.unwrap_or(0),
            });
        }
        let temporary = inner.temporary()?;
        let files = temporary.path().join(FILES);
        make_root_dir(&files)?;
        let root = Root::open(&files)?;
        let mut layer = unpack_layer(&root, diff_id, compressed, media_type, Limits::default())?;
        layer.pending.resolve_within(&root)?;
        if parents.is_empty() {
            layer.pending.check_without_below()?;
        }
        let size_bytes = layer.extracted.size_bytes;
        let record = LayerRecord {
            size_bytes: Some(size_bytes),
            unsynced_since: None,
            pending: !layer.pending.is_empty(),
            root_from_below: !layer.describes_root,
            hides_below: layer.hides_below,
        };
        if record.pending {
            record::write(temporary.path(), PENDING, &layer.pending)?;
        }
        record::write(temporary.path(), record::FILE, &record)?;
        sync_file_system(&root, &files)?;
        inner.publish_layer(temporary, &name, record)?;
        Ok(Unpacked { size_bytes })
    }

    /// Makes a writable snapshot on top of `parents`, bottom first.
    pub fn prepare(&self, key: &str, parents: &[LayerName]) -> Result<Snapshot, SnapshotError> {
        name::check(key)?;
        let inner = &*self.inner;
        let _pin = self.pin(parents);
        inner.complete(parents)?;
        let temporary = inner.temporary()?;
        let files = temporary.path().join(FILES);
        make_root_dir(&files)?;
        make_private_dir(&temporary.path().join("work"))?;
        if let Some(layer) = inner.root_of(parents) {
            copy_root_attributes(&inner.layer_dir(layer).join(FILES), &files)?;
        }
        let record = SnapshotRecord {
            parents: parents.iter().map(LayerName::to_string).collect(),
        };
        record::write(temporary.path(), record::FILE, &record)?;
        let mut index = inner.index();
        if index.snapshots.contains_key(key) {
            return Err(SnapshotError::Exists(key.to_owned()));
        }
        // Again under the lock: from here on a parent cannot be removed.
        if let Some(missing) = parents.iter().find(|p| !index.layers.contains_key(p)) {
            return Err(SnapshotError::LayerNotFound(missing.clone()));
        }
        temporary.rename(&inner.snapshot_dir(key))?;
        index.snapshots.insert(key.to_owned(), parents.to_vec());
        drop(index);
        self.get(key)
    }

    /// The directories of an active snapshot.
    pub fn get(&self, key: &str) -> Result<Snapshot, SnapshotError> {
        let inner = &*self.inner;
        let missing = || SnapshotError::NotFound(key.to_owned());
        let parents = inner.index().snapshots.get(key).cloned();
        // Again: a parent may have another name since the snapshot was made.
        inner.complete(&parents.ok_or_else(missing)?)?;
        let index = inner.index();
        let parents = index.snapshots.get(key).ok_or_else(missing)?;
        let dir = inner.snapshot_dir(key);
        Ok(Snapshot {
            lower: inner.lower(&index, parents),
            upper: dir.join(FILES),
            work: dir.join("work"),
            volatile: false,
        })
    }

    /// The layers that a snapshot stands on, bottom first.
    pub fn parents(&self, key: &str) -> Result<Vec<LayerName>, SnapshotError> {
        let parents = self.inner.index().snapshots.get(key).cloned();
        parents.ok_or_else(|| SnapshotError::NotFound(key.to_owned()))
    }

    /// Mounts layers, bottom first, for reading, attached nowhere. They cannot
    /// be removed until the last handle of this root is dropped.
    pub fn view(&self, layers: &[LayerName]) -> Result<Root, SnapshotError> {
        let inner = &*self.inner;
        let pin = self.pin(layers);
        inner.complete(layers)?;
        let overlay_of = inner.view_dirs(layers);
        let overlay = Overlay {
            lower: &overlay_of,
            upper: None,
            read_only: true,
            volatile: false,
        };
        Ok(Root::from_fd(overlay.mount_detached()?).with_guard(Arc::new(pin)))
    }

    /// Turns an active snapshot into the immutable layer `name`. Nothing may
    /// have it mounted. The files are not synced yet, see
    /// [`LayerStore::rename_layer`] and [`LayerStore::sync`].
    pub fn commit(&self, key: &str, name: &LayerName) -> Result<(), SnapshotError> {
        let inner = &*self.inner;
        let temporary = inner.temporary()?;
        let mut index = inner.index();
        if !index.snapshots.contains_key(key) {
            return Err(SnapshotError::NotFound(key.to_owned()));
        }
        if index.layers.contains_key(name) {
            return Err(SnapshotError::LayerExists(name.clone()));
        }
        let record = LayerRecord {
            unsynced_since: Some(inner.boot.clone()),
            ..LayerRecord::default()
        };
        record::write(temporary.path(), record::FILE, &record)?;
        let dir = inner.snapshot_dir(key);
        let files = dir.join(FILES);
        fs::rename(&files, temporary.path().join(FILES))
            .map_err(SnapshotError::io("move", &files))?;
        temporary.rename(&inner.layer_dir(name))?;
        index.layers.insert(name.clone(), record);
        index.snapshots.remove(key);
        drop(index);
        inner.discard(&dir)
    }

    /// Gives a layer its final name and, if that is a diff_id, makes sure that
    /// it is on disk first. When `to` exists, both stay: the content is the
    /// same, and `from` may be mounted.
    pub fn rename_layer(&self, from: &LayerName, to: &LayerName) -> Result<(), SnapshotError> {
        let inner = &*self.inner;
        let _flight = inner.flights.board(to);
        if !self.contains(from) {
            return Err(SnapshotError::LayerNotFound(from.clone()));
        }
        if self.contains(to) {
            return Ok(());
        }
        if to.is_diff_id() {
            self.sync()?;
        }
        let mut index = inner.index();
        let record = index
            .layers
            .remove(from)
            .ok_or_else(|| SnapshotError::LayerNotFound(from.clone()))?;
        let (old, new) = (inner.layer_dir(from), inner.layer_dir(to));
        if let Err(source) = fs::rename(&old, &new) {
            index.layers.insert(from.clone(), record);
            return Err(SnapshotError::io("rename", &old)(source));
        }
        index.layers.insert(to.clone(), record);
        inner.repoint(&mut index, from, to)
    }

    /// Puts all committed layers on disk, so that they survive a crash of the
    /// machine.
    pub fn sync(&self) -> Result<(), SnapshotError> {
        let inner = &*self.inner;
        let unsynced: Vec<LayerName> = inner
            .index()
            .layers
            .iter()
            .filter(|(_, record)| record.unsynced_since.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        if unsynced.is_empty() {
            return Ok(());
        }
        sync_file_system(&Root::open(&inner.dir)?, &inner.dir)?;
        let mut index = inner.index();
        for name in unsynced {
            // Removed or renamed meanwhile.
            let Some(record) = index.layers.get_mut(&name) else {
                continue;
            };
            record.unsynced_since = None;
            record::write(&inner.layer_dir(&name), record::FILE, record)?;
        }
        Ok(())
    }

    /// Removes an active snapshot; one that does not exist is no error.
    pub fn remove(&self, key: &str) -> Result<(), SnapshotError> {
        name::check(key)?;
        let inner = &*self.inner;
        let mut index = inner.index();
        if index.snapshots.remove(key).is_none() {
            return Ok(());
        }
        let trash = inner.trash(&inner.snapshot_dir(key))?;
        drop(index);
        trash.delete()
    }

    /// Keeps layers from being removed until [`LayerStore::release`], or until
    /// the store is opened again: for a cache that stands on them. The names
    /// need not exist yet.
    pub fn keep(&self, names: impl IntoIterator<Item = LayerName>) {
        self.inner.index().kept.extend(names);
    }

    /// Lets layers be removed again.
    pub fn release(&self, names: &[LayerName]) {
        let mut index = self.inner.index();
        for name in names {
            index.kept.remove(name);
        }
    }

    /// Removes a layer; one that does not exist is no error.
    ///
    /// # Errors
    /// [`SnapshotError::LayerInUse`], [`SnapshotError::LayerPinned`],
    /// [`SnapshotError::LayerKept`].
    pub fn remove_layer(&self, name: &LayerName) -> Result<(), SnapshotError> {
        let inner = &*self.inner;
        let mut index = inner.index();
        if index.kept.contains(name) {
            return Err(SnapshotError::LayerKept(name.clone()));
        }
        if index.pins.values().any(|pinned| pinned.contains(name)) {
            return Err(SnapshotError::LayerPinned(name.clone()));
        }
        if let Some((key, _)) = index.snapshots.iter().find(|(_, p)| p.contains(name)) {
            return Err(SnapshotError::LayerInUse {
                layer: name.clone(),
                snapshot: key.clone(),
            });
        }
        if index.layers.remove(name).is_none() {
            return Ok(());
        }
        let trash = inner.trash(&inner.layer_dir(name))?;
        drop(index);
        trash.delete()
    }

    /// Size of the regular files that were written to a snapshot, in bytes.
    pub fn usage(&self, key: &str) -> Result<u64, SnapshotError> {
        let inner = &*self.inner;
        if !inner.index().snapshots.contains_key(key) {
            return Err(SnapshotError::NotFound(key.to_owned()));
        }
        let upper = inner.snapshot_dir(key).join(FILES);
        Ok(diff::size_bytes(&Root::open(&upper)?)?)
    }

    /// Size of the regular files of a layer, in bytes.
    pub fn layer_usage(&self, name: &LayerName) -> Result<u64, SnapshotError> {
        let inner = &*self.inner;
        let known = match inner.index().layers.get(name) {
            Some(record) => record.size_bytes,
            None => return Err(SnapshotError::LayerNotFound(name.clone())),
        };
        if let Some(size) = known {
            return Ok(size);
        }
        let size = diff::size_bytes(&Root::open(&inner.layer_dir(name).join(FILES))?)?;
        let mut index = inner.index();
        if let Some(record) = index.layers.get_mut(name) {
            record.size_bytes = Some(size);
            record::write(&inner.layer_dir(name), record::FILE, record)?;
        }
        Ok(size)
    }

    /// All layers, sorted.
    pub fn list_layers(&self) -> Result<Vec<LayerName>, SnapshotError> {
        let mut names: Vec<LayerName> = self.inner.index().layers.keys().cloned().collect();
        names.sort();
        Ok(names)
    }

    /// Keys of all active snapshots, sorted.
    pub fn list(&self) -> Result<Vec<String>, SnapshotError> {
        let mut keys: Vec<String> = self.inner.index().snapshots.keys().cloned().collect();
        keys.sort();
        Ok(keys)
    }
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
mod tests;

//! Layers by name, while names change.
//!
//! A step's layer is called `build-<uuid>` until it is exported; then it takes
//! the digest of its tar as its name, so that an engine that pulls the image
//! finds it. Values of running builds keep the name they were given; [`Layers`]
//! knows what it is now. A rename waits until nobody is between asking for a
//! name and having mounted it.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::Path,
    sync::Arc,
};

use runtime::{
    root::Root,
    snapshot::{LayerName, LayerPin, LayerStore, Snapshot, SnapshotError},
};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::{db::Db, solver::OpError};

/// Prefix of the names of layers that are not exported yet.
const BUILD_PREFIX: &str = "build-";
/// Prefix of the keys of snapshots that steps write.
const SNAPSHOT_PREFIX: &str = "step-";

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    store: LayerStore,
    /// A directory without anything in it.
    empty: Arc<Path>,
    renamed: Arc<RwLock<HashMap<String, String>>>,
}

/// Layers that keep their names and stay in the store while this exists.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// Private, so that a closure that uses the names owns the pin as well.
    names: Vec<LayerName>,
    _names_stay: OwnedRwLockReadGuard<HashMap<String, String>>,
    _layers_stay: LayerPin,
}

impl Pinned {
    pub(crate) fn names(&self) -> &[LayerName] {
        &self.names
    }
}

impl Layers {
    /// `empty` is made: it stands for file systems without layers.
    pub(crate) fn new(store: LayerStore, empty: &Path) -> io::Result<Self> {
        fs::create_dir_all(empty)?;
        Ok(Self {
            store,
            empty: empty.into(),
            renamed: Arc::default(),
        })
    }

    /// The files of layers, to be read only; blocks.
    pub(crate) fn read(&self, layers: &Pinned) -> Result<Root, OpError> {
        if layers.names.is_empty() {
            return Root::open(&self.empty)
                .map_err(|error| OpError::host("open an empty directory", &error));
        }
        self.store
            .view(&layers.names)
            .map_err(|error| OpError::host("mount layers", &error))
    }

    pub(crate) fn store(&self) -> &LayerStore {
        &self.store
    }

    /// The layers as they are called now.
    pub(crate) async fn pin(&self, names: &[String]) -> Result<Pinned, OpError> {
        let renamed = self.renamed.clone().read_owned().await;
        let mut now = Vec::with_capacity(names.len());
        for name in names {
            now.push(layer_name(renamed.get(name).unwrap_or(name))?);
        }
        Ok(Pinned {
            _layers_stay: self.store.pin(&now),
            _names_stay: renamed,
            names: now,
        })
    }

    /// Keeps layers while the cache may lead to them: the engine, which shares
    /// the store, would else remove them with its last image of them.
    pub(crate) fn keep<'a>(&self, names: impl IntoIterator<Item = &'a String>) {
        let names = names.into_iter().filter_map(|name| layer_name(name).ok());
        self.store.keep(names);
    }

    /// What a layer is called now, and may not be called any more in a moment.
    pub(crate) async fn now(&self, name: &str) -> String {
        let renamed = self.renamed.read().await;
        renamed.get(name).map_or(name, String::as_str).to_owned()
    }

    /// Gives an exported layer its final name. When a layer of that name is
    /// there already it is used from now on; the other stays until the next
    /// start, since a running step may have it mounted.
    pub(crate) async fn rename(&self, db: &Db, from: &str, to: &str) -> Result<(), OpError> {
        if from == to {
            return Ok(());
        }
        let mut renamed = self.renamed.write().await;
        let (old, new) = (layer_name(from)?, layer_name(to)?);
        self.store.keep([new.clone()]);
        let store = self.store.clone();
        let done = blocking(move || store.rename_layer(&old, &new)).await;
        done.map_err(|error| OpError::host("name an exported layer", &error))?;
        renamed.insert(from.to_owned(), to.to_owned());
        db.system_rename_layer(from, to).await?;
        Ok(())
    }

    /// Removes what an earlier process left: snapshots of steps that did not
    /// end, and layers that no record names; blocks.
    pub(crate) fn sweep(&self, used: &HashSet<String>) -> Result<usize, SnapshotError> {
        let mut removed = 0;
        for key in self.store.list()? {
            if key.starts_with(SNAPSHOT_PREFIX) {
                self.store.remove(&key)?;
                removed += 1;
            }
        }
        for name in self.store.list_layers()? {
            let text = name.as_str();
            if text.starts_with(BUILD_PREFIX) && !used.contains(text) {
                self.store.remove_layer(&name)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Makes all layers durable in one go; blocks.
    pub(crate) fn sync(&self) -> Result<(), SnapshotError> {
        self.store.sync()
    }

    /// Bytes of a layer's files; 0 when it is not there; blocks.
    pub(crate) fn size_bytes(&self, name: &str) -> u64 {
        let known = layer_name(name).map(|name| self.store.layer_usage(&name));
        known.map_or(0, |size| size.unwrap_or(0))
    }

    /// Removes layers from the store, unless others than the cache use them.
    pub(crate) async fn remove(&self, names: &[String]) {
        let names: Vec<LayerName> = names.iter().filter_map(|n| layer_name(n).ok()).collect();
        let store = self.store.clone();
        blocking(move || {
            store.release(&names);
            for name in names {
                match store.remove_layer(&name) {
                    Ok(()) => {}
                    // An image or a container of the engine has it.
                    Err(
                        error @ (SnapshotError::LayerInUse { .. } | SnapshotError::LayerPinned(_)),
                    ) => tracing::debug!(layer = name.as_str(), %error, "a layer stays"),
                    Err(error) => {
                        tracing::warn!(layer = name.as_str(), %error, "cannot remove a layer");
                    }
                }
            }
        })
        .await;
    }
}

/// A new name for a step's layer.
pub(crate) fn new_name() -> String {
    format!("{BUILD_PREFIX}{}", uuid::Uuid::new_v4().simple())
}

pub(crate) fn layer_name(text: &str) -> Result<LayerName, OpError> {
    LayerName::parse(text).map_err(|error| OpError::host("name a layer", &error))
}

/// A snapshot being written. Removed when dropped, unless committed.
#[derive(Debug)]
pub(crate) struct Scratch {
    store: LayerStore,
    key: Option<String>,
    pub(crate) snapshot: Snapshot,
}

impl Scratch {
    /// Prepares a snapshot on top of `below`; blocks. The names must stay
    /// pinned until it is mounted.
    pub(crate) fn prepare(store: &LayerStore, below: &Pinned) -> Result<Self, SnapshotError> {
        let key = format!("{SNAPSHOT_PREFIX}{}", uuid::Uuid::new_v4().simple());
        let mut snapshot = store.prepare(&key, &below.names)?;
        // Steps are synced together when a build ends, and dropped if the
        // machine crashes before.
        snapshot.volatile = true;
        Ok(Self {
            store: store.clone(),
            key: Some(key),
            snapshot,
        })
    }

    /// The snapshot, mounted nowhere; blocks.
    pub(crate) fn mount(&self) -> Result<Root, SnapshotError> {
        self.snapshot.mount_detached().map(Root::from_fd)
    }

    /// What was written so far, without what is below.
    pub(crate) fn upper(&self) -> Result<Root, runtime::root::PathError> {
        Root::open(&self.snapshot.upper)
    }

    /// Makes what was written a layer; blocks. Every mount must be gone.
    pub(crate) fn commit(mut self, name: &str) -> Result<(), OpError> {
        let layer = layer_name(name)?;
        let key = self.key.as_deref().expect("a snapshot is committed once");
        let done = self.store.commit(key, &layer);
        done.map_err(|error| OpError::host("keep the result of a step", &error))?;
        self.key = None;
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(key) = self.key.take()
            && let Err(error) = self.store.remove(&key)
        {
            tracing::warn!(snapshot = key, %error, "cannot remove a snapshot");
        }
    }
}

/// Runs blocking work on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The pool runs everything it was given before the runtime ends.
            Err(error) => panic!("blocking work was cancelled: {error}"),
        },
    }
}

#[cfg(test)]
#[path = "layers/tests.rs"]
mod tests;

//! Layers that take something from those below, completed when these are there.

use std::{fs, sync::PoisonError};

use super::{FILES, Inner, LayerName, PENDING, SnapshotError, dirs::sync_file_system, record};
use crate::{
    mount::{MountError, Overlay},
    root::Root,
    unpack::{Pending, UnpackError},
};

impl Inner {
    /// Takes from the layers below what a layer needs, if they are all there.
    /// False when it must wait.
    pub(super) fn complete_now(
        &self,
        layer: &Root,
        pending: &Pending,
        parents: &[LayerName],
    ) -> Result<bool, UnpackError> {
        if pending.is_empty() {
            return Ok(true);
        }
        let whole = |name: &LayerName| {
            let index = self.index();
            index.layers.get(name).is_some_and(|record| !record.pending)
        };
        if !parents.iter().all(whole) {
            return Ok(false);
        }
        let below = self.below(parents)?;
        pending.resolve(layer, below.as_ref())?;
        Ok(true)
    }

    /// Completes every layer of a stack, bottom first.
    pub(super) fn complete(&self, parents: &[LayerName]) -> Result<(), SnapshotError> {
        let is_pending = |name: &LayerName| match self.index().layers.get(name) {
            Some(record) => Ok(record.pending),
            None => Err(SnapshotError::LayerNotFound(name.clone())),
        };
        for (at, name) in parents.iter().enumerate() {
            if !is_pending(name)? {
                continue;
            }
            let _completing = self
                .completing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if is_pending(name)? {
                self.complete_one(name, &parents[..at])?;
            }
        }
        Ok(())
    }

    fn complete_one(&self, name: &LayerName, below: &[LayerName]) -> Result<(), SnapshotError> {
        let failed = |source: UnpackError| SnapshotError::Complete {
            layer: name.clone(),
            source: Box::new(source),
        };
        let dir = self.layer_dir(name);
        let pending: Pending = record::read(&dir, PENDING)?.unwrap_or_default();
        let root = Root::open(&dir.join(FILES))?;
        let below = self.below(below).map_err(|error| failed(error.into()))?;
        pending.resolve(&root, below.as_ref()).map_err(failed)?;
        // The files must be there before the record says so.
        sync_file_system(&root, &dir)?;
        let mut index = self.index();
        if let Some(record) = index.layers.get_mut(name) {
            record.pending = false;
            record::write(&dir, record::FILE, record)?;
        }
        drop(index);
        let left = dir.join(PENDING);
        fs::remove_file(&left).map_err(SnapshotError::io("remove", &left))
    }

    fn below(&self, layers: &[LayerName]) -> Result<Option<Root>, MountError> {
        if layers.is_empty() {
            return Ok(None);
        }
        let overlay = Overlay {
            lower: &self.view_dirs(layers),
            upper: None,
            read_only: true,
            volatile: false,
        };
        Ok(Some(Root::from_fd(overlay.mount_detached()?)))
    }
}

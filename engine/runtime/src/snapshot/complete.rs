//! Layers that take something from those below.
//!
//! A layer is shared by all images that contain it, so it is never changed by
//! what it happens to stand on: a stranger's image could otherwise choose the
//! mode of another's `/etc`. What it takes from the layers below lies in a
//! completion, a directory of its own for each stack the layer is used on. It
//! is made before the first use there and mounted right above the layer.
//!
//! ```text
//! layers/<name>/on/<digest of the names below>/{fs/, below.json}
//! ```
//!
//! A completion is on disk before it is visible, never changes, and goes with
//! its layer, or at the next open if a layer below it is gone.

use std::{
    path::{Path, PathBuf},
    sync::PoisonError,
};

use oci::Digest;

use super::{
    FILES, Index, Inner, LayerName, PENDING, SnapshotError,
    dirs::{copy_root_attributes, entries, make_private_dir, make_root_dir, sync_file_system},
    record::{self, SnapshotRecord},
};
use crate::{
    mount::{MountError, Overlay},
    root::Root,
    unpack::{Pending, Stack},
};

const COMPLETIONS: &str = "on";
const BELOW: &str = "below.json";

impl Inner {
    /// Where the completion of a layer on those below lies, bottom first.
    pub(super) fn completion_dir(&self, name: &LayerName, below: &[LayerName]) -> PathBuf {
        let mut names = String::new();
        for name in below {
            names += name.as_str();
            names.push('\n');
        }
        let stack = Digest::sha256(names.as_bytes()).hex();
        self.layer_dir(name).join(COMPLETIONS).join(stack)
    }

    /// Completes every layer of a stack, bottom first.
    pub(super) fn complete(&self, parents: &[LayerName]) -> Result<(), SnapshotError> {
        for (at, name) in parents.iter().enumerate() {
            let pending = match self.index().layers.get(name) {
                Some(record) => record.pending,
                None => return Err(SnapshotError::LayerNotFound(name.clone())),
            };
            if !pending {
                continue;
            }
            let below = &parents[..at];
            let dir = self.completion_dir(name, below);
            if dir.exists() {
                continue;
            }
            let _completing = self
                .completing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if !dir.exists() {
                self.complete_one(name, below, &dir)?;
            }
        }
        Ok(())
    }

    fn complete_one(
        &self,
        name: &LayerName,
        below: &[LayerName],
        dir: &Path,
    ) -> Result<(), SnapshotError> {
        let layer_dir = self.layer_dir(name);
        let layer_files = layer_dir.join(FILES);
        let pending: Pending = record::read(&layer_dir, PENDING)?.unwrap_or_default();
        let (made, work) = (self.temporary()?, self.temporary()?);
        let files = made.path().join(FILES);
        make_root_dir(&files)?;
        let mut lower = vec![layer_files.clone()];
        {
            let index = self.index();
            let record = index.layers.get(name);
            if !record.is_some_and(|record| record.hides_below) {
                lower.extend(self.lower(&index, below));
            }
        }
        let overlay = Overlay {
            lower: &lower,
            upper: Some((&files, work.path())),
            read_only: false,
            // Synced below, once.
            volatile: true,
        };
        let merged = Root::from_fd(overlay.mount_detached()?);
        let (root, under) = (Root::open(&files)?, self.below(below)?);
        let stack = Stack {
            merged: &merged,
            made: &root,
            layer: &Root::open(&layer_files)?,
            below: under.as_ref(),
        };
        pending
            .resolve(&stack)
            .map_err(|source| SnapshotError::Complete {
                layer: name.clone(),
                source: Box::new(source),
            })?;
        drop(merged);
        copy_root_attributes(&layer_files, &files)?;
        let record = SnapshotRecord {
            parents: below.iter().map(LayerName::to_string).collect(),
        };
        record::write(made.path(), BELOW, &record)?;
        sync_file_system(&root, &files)?;
        make_private_dir(&layer_dir.join(COMPLETIONS))?;
        made.rename(dir)
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

    /// Drops completions on layers that are gone.
    pub(super) fn sweep_completions(&self, index: &Index) -> Result<(), SnapshotError> {
        for (name, _) in index.layers.iter().filter(|(_, record)| record.pending) {
            let completions = self.layer_dir(name).join(COMPLETIONS);
            if !completions.exists() {
                continue;
            }
            for dir in entries(&completions)? {
                let record: Option<SnapshotRecord> = record::read(&dir, BELOW)?;
                let known = |name: &String| {
                    LayerName::parse(name).is_ok_and(|name| index.layers.contains_key(&name))
                };
                if !record.is_some_and(|record| record.parents.iter().all(known)) {
                    self.trash(&dir)?;
                }
            }
        }
        Ok(())
    }
}

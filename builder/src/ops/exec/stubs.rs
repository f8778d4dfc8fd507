//! Mount points that a sandbox needs and its image does not have.
//!
//! They are made in the snapshot when the sandbox starts; left there, every
//! RUN would put an empty `/etc/hosts` into its layer. What was missing before
//! and is an empty file or directory afterwards is removed again.

use std::path::{Path, PathBuf};

use runtime::root::{FileKind, Root};

use crate::{
    ops::{
        layers::{Layers, Pinned},
        select::relative,
    },
    solver::OpError,
};

/// Paths that did not exist, parents first.
#[derive(Debug, Default)]
pub(crate) struct Stubs(Vec<PathBuf>);

impl Stubs {
    /// Looks for `targets` and their parents in the layers; blocks.
    pub(crate) fn find(
        layers: &Layers,
        below: &Pinned,
        targets: &[String],
    ) -> Result<Self, OpError> {
        let root = layers.read(below)?;
        let mut missing: Vec<PathBuf> = Vec::new();
        for target in targets {
            let target = relative(target);
            let mut parts: Vec<&Path> = target.ancestors().collect();
            parts.reverse();
            for path in parts.into_iter().filter(|p| !p.as_os_str().is_empty()) {
                let there = root.symlink_metadata(path).is_ok();
                if !there && !missing.iter().any(|known| known == path) {
                    missing.push(path.to_owned());
                }
            }
        }
        Ok(Self(missing))
    }

    /// Removes the stubs from what a sandbox wrote; blocks. What is not empty
    /// was used by the step and stays.
    pub(crate) fn remove(&self, upper: &Root) {
        for path in self.0.iter().rev() {
            let Ok(metadata) = upper.symlink_metadata(path) else {
                continue;
            };
            let empty = match metadata.kind {
                FileKind::Regular => metadata.size_bytes == 0,
                FileKind::Directory => upper.read_dir(path).is_ok_and(|names| names.is_empty()),
                _ => false,
            };
            if empty && let Err(error) = upper.remove_all(path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove a mount point");
            }
        }
    }
}

//! Manifests in memory, so that the most frequent request asks no database.
//!
//! Correct because one process owns the database: its writer forgets a
//! repository after each commit that changes it and before the commit is
//! answered. A reader that began before such a commit may not put what it found
//! into the cache any more; the epoch tells.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use oci::{Digest, Repository, Tag};

use super::ManifestRow;

/// Manifest bytes kept. A manifest has a few KiB, so this is some thousand of them.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Larger manifests are read anew each time.
const ENTRY_BYTES_MAX: usize = 128 * 1024;
/// Tags and manifests kept of one repository.
const ENTRIES_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Known {
    tags: HashMap<Tag, Digest>,
    manifests: HashMap<Digest, Arc<ManifestRow>>,
}

#[derive(Debug, Default)]
struct State {
    repositories: HashMap<Repository, Known>,
    bytes: usize,
    /// Counts the changes.
    epoch: u64,
}

/// The manifests that were asked for lately.
#[derive(Debug, Default)]
pub(super) struct ManifestCache(Mutex<State>);

/// A moment in the cache's life, taken before the database is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch(u64);

impl ManifestCache {
    pub(super) fn by_tag(&self, repo: &Repository, tag: &Tag) -> Result<Arc<ManifestRow>, Epoch> {
        let state = self.lock();
        let found = state
            .repositories
            .get(repo)
            .and_then(|known| known.manifests.get(known.tags.get(tag)?));
        found.cloned().ok_or(Epoch(state.epoch))
    }

    pub(super) fn by_digest(
        &self,
        repo: &Repository,
        digest: &Digest,
    ) -> Result<Arc<ManifestRow>, Epoch> {
        let state = self.lock();
        let found = state
            .repositories
            .get(repo)
            .and_then(|known| known.manifests.get(digest));
        found.cloned().ok_or(Epoch(state.epoch))
    }

    /// Keeps what was read from the database, unless something changed since `epoch`.
    pub(super) fn keep(
        &self,
        epoch: Epoch,
        repo: &Repository,
        tag: Option<&Tag>,
        row: &Arc<ManifestRow>,
    ) {
        let mut state = self.lock();
        if state.epoch != epoch.0 || row.payload.len() > ENTRY_BYTES_MAX {
            return;
        }
        if state.bytes + row.payload.len() > BYTES_MAX {
            // Rare, and what is hot comes back at once: no order is kept.
            state.repositories.clear();
            state.bytes = 0;
        }
        let known = state.repositories.entry(repo.clone()).or_default();
        if known.tags.len() >= ENTRIES_MAX || known.manifests.len() >= ENTRIES_MAX {
            return;
        }
        if let Some(tag) = tag {
            known.tags.insert(tag.clone(), row.digest);
        }
        let new = known
            .manifests
            .insert(row.digest, Arc::clone(row))
            .is_none();
        if new {
            state.bytes += row.payload.len();
        }
    }

    /// Forgets what is known of a repository that changed.
    pub(super) fn forget(&self, repo: &Repository) {
        let mut state = self.lock();
        state.epoch += 1;
        if let Some(known) = state.repositories.remove(repo) {
            let bytes: usize = known.manifests.values().map(|row| row.payload.len()).sum();
            state.bytes -= bytes;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "cache/tests.rs"]
mod tests;

//! Keeps what builds leave within bounds: cached steps with their layers and
//! compressed forms, and cache mounts, all in one order, the least recently used
//! first; cache mounts that no step has used for long go in any case.
//!
//! Runs only while no build does (its caller holds builds off), so it never
//! takes what a build is about to use. Layers that the engine has an image or a
//! container of stay in the store; only the cache no longer leads to them. A
//! crash in the middle leaves records whose layers are gone, which the cache
//! forgets when it opens.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
};

use oci::Digest;

use super::{Workshop, cache_mount::CacheUsage, layers::blocking};
use crate::{
    db::{DbError, OldRecord},
    solver::OpError,
};

/// How much of the cache stays, in hundredths of the bound, when it is over
/// it: less often, and more at once, since builds wait meanwhile.
const REST_PERCENT: u64 = 80;

/// What the cache holds.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    records: Vec<OldRecord>,
    /// Bytes of each layer with its compressed forms.
    sizes: BTreeMap<String, u64>,
    /// The least recently used first.
    mounts: Vec<CacheUsage>,
}

/// What is to go.
#[derive(Debug, Default, PartialEq, Eq)]
struct Surplus {
    records: Vec<i64>,
    /// Layers that only those records lead to.
    layers: Vec<String>,
    mounts: Vec<PathBuf>,
}

impl Stock {
    pub(crate) fn bytes(&self) -> u64 {
        let mounts = self.mounts.iter().filter_map(|mount| mount.bytes);
        self.sizes.values().sum::<u64>() + mounts.sum::<u64>()
    }

    /// Whether something has to go.
    pub(crate) fn is_over(&self, bytes_max: u64) -> bool {
        self.bytes() > bytes_max || self.mounts.iter().any(|mount| mount.bytes.is_none())
    }

    /// What to drop so that at most `bytes_max` are left. Cache mounts whose
    /// size cannot be told go first: they could hold anything.
    fn surplus(&self, bytes_max: u64) -> Surplus {
        let mut users: HashMap<&str, usize> = HashMap::new();
        for name in self.records.iter().flat_map(|record| &record.layers) {
            *users.entry(name).or_default() += 1;
        }
        let mut left = self.bytes();
        let (unknown, known): (Vec<_>, Vec<_>) =
            self.mounts.iter().partition(|mount| mount.bytes.is_none());
        let mut surplus = Surplus {
            mounts: unknown.iter().map(|mount| mount.path.clone()).collect(),
            ..Surplus::default()
        };
        let (mut records, mut mounts) = (self.records.iter().peekable(), known.iter().peekable());
        while left > bytes_max {
            let mount_is_older = match (records.peek(), mounts.peek()) {
                (None, None) => break,
                (Some(record), Some(mount)) => mount.used_at < record.used_at,
                (record, _) => record.is_none(),
            };
            if mount_is_older {
                if let Some(mount) = mounts.next() {
                    left -= mount.bytes.unwrap_or(0);
                    surplus.mounts.push(mount.path.clone());
                }
            } else if let Some(record) = records.next() {
                surplus.records.push(record.id);
                for name in &record.layers {
                    let count = users.get_mut(name.as_str()).expect("counted above");
                    *count -= 1;
                    if *count == 0 {
                        left -= self.sizes.get(name).copied().unwrap_or(0);
                        surplus.layers.push(name.clone());
                    }
                }
            }
        }
        surplus
    }
}

impl Workshop {
    /// What the cache holds now.
    pub(crate) async fn stock(&self) -> Result<Stock, DbError> {
        let records = self.0.db.system_old_records().await?;
        let blobs = self.0.db.system_local_blob_sizes().await?;
        let mut names: Vec<String> = records.iter().flat_map(|r| r.layers.clone()).collect();
        names.sort();
        names.dedup();
        let (layers, caches) = (self.0.layers.clone(), self.0.sandboxes.caches.clone());
        let (sizes, mounts) = blocking(move || {
            let sizes = names.into_iter().map(|name| {
                let size = layers.size_bytes(&name) + blobs.get(&name).copied().unwrap_or(0);
                (name, size)
            });
            (sizes.collect(), caches.usage())
        })
        .await;
        let mut mounts = mounts.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot measure the cache mounts");
            Vec::new()
        });
        mounts.sort_by_key(|mount| mount.used_at);
        Ok(Stock {
            records,
            sizes,
            mounts,
        })
    }

    /// Removes the least recently used until the cache is well below
    /// `bytes_max`. No build may run.
    pub(crate) async fn shrink(&self, stock: &Stock, bytes_max: u64) -> Result<(), OpError> {
        let rest = bytes_max / 100 * REST_PERCENT;
        let Surplus {
            records,
            layers,
            mounts,
        } = stock.surplus(rest);
        // Layers first: what a crash leaves then still has records, and counts.
        self.0.layers.remove(&layers).await;
        for diff_id in layers.iter().filter_map(|name| name.parse::<Digest>().ok()) {
            let blobs = self.0.db.system_drop_blobs(&diff_id).await?;
            self.0.exporter.remove(blobs).await;
        }
        self.0.db.system_drop_records(&records).await?;
        let removed = mounts.len();
        let caches = self.0.sandboxes.caches.clone();
        blocking(move || mounts.iter().try_for_each(|path| caches.remove(path)))
            .await
            .map_err(|error: io::Error| OpError::host("remove a cache mount", &error))?;
        tracing::info!(
            steps = records.len(),
            layers = layers.len(),
            cache_mounts = removed,
            bytes = stock.bytes(),
            "the build cache was over its bound: removed what was not used for longest"
        );
        Ok(())
    }

    /// Removes cache mounts that no step has used for long. No build may run.
    pub(crate) async fn expire_cache_mounts(&self) {
        let caches = self.0.sandboxes.caches.clone();
        if let Err(error) = blocking(move || caches.expire()).await {
            tracing::warn!(%error, "cannot remove old cache mounts");
        }
    }
}

#[cfg(test)]
#[path = "retention/tests.rs"]
mod tests;

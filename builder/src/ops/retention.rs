//! Keeps what builds leave within bounds: cached steps with their layers and
//! compressed forms, the least recently used first, and cache mounts that no
//! step has used for long.
//!
//! Runs only while no build does (its caller holds builds off), so it never
//! takes what a build is about to use. Layers that the engine has an image or a
//! container of stay in the store; only the cache no longer leads to them. A
//! crash in the middle leaves records whose layers are gone, which the cache
//! forgets when it opens.

use std::collections::{BTreeMap, HashMap};

use oci::Digest;

use super::{Workshop, layers::blocking};
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
}

impl Stock {
    pub(crate) fn bytes(&self) -> u64 {
        self.sizes.values().sum()
    }

    /// The records to drop so that at most `bytes_max` are left, and the
    /// layers that go with them.
    fn surplus(&self, bytes_max: u64) -> (Vec<i64>, Vec<String>) {
        let mut users: HashMap<&str, usize> = HashMap::new();
        for name in self.records.iter().flat_map(|record| &record.layers) {
            *users.entry(name).or_default() += 1;
        }
        let mut left = self.bytes();
        let (mut records, mut layers) = (Vec::new(), Vec::new());
        for record in &self.records {
            if left <= bytes_max {
                break;
            }
            records.push(record.id);
            for name in &record.layers {
                let count = users.get_mut(name.as_str()).expect("counted above");
                *count -= 1;
                if *count == 0 {
                    left -= self.sizes.get(name).copied().unwrap_or(0);
                    layers.push(name.clone());
                }
            }
        }
        (records, layers)
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
        let layers = self.0.layers.clone();
        let sizes = blocking(move || {
            names
                .into_iter()
                .map(|name| {
                    let size = layers.size_bytes(&name) + blobs.get(&name).copied().unwrap_or(0);
                    (name, size)
                })
                .collect()
        });
        Ok(Stock {
            records,
            sizes: sizes.await,
        })
    }

    /// Removes the least recently used until the cache is well below
    /// `bytes_max`. No build may run.
    pub(crate) async fn shrink(&self, stock: &Stock, bytes_max: u64) -> Result<(), OpError> {
        let rest = bytes_max / 100 * REST_PERCENT;
        let (records, layers) = stock.surplus(rest);
        // Layers first: what a crash leaves then still has records, and counts.
        self.0.layers.remove(&layers).await;
        for diff_id in layers.iter().filter_map(|name| name.parse::<Digest>().ok()) {
            let blobs = self.0.db.system_drop_blobs(&diff_id).await?;
            self.0.exporter.remove(blobs).await;
        }
        self.0.db.system_drop_records(&records).await?;
        tracing::info!(
            steps = records.len(),
            layers = layers.len(),
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

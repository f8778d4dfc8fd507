//! The step cache: from keys to layers that are known to exist.
//!
//! A record is used only while every layer it names is in the layer store, so
//! a lost layer costs a rebuild, never a wrong image. The store itself drops
//! layers that a crash of the host may have damaged.

use std::{collections::HashSet, sync::Arc};

use oci::Digest;

use super::Executed;
use crate::db::{CacheRecord, Db, DbError, NewRecord};

/// Tells whether a layer of this name is in the store.
pub(crate) type LayerExists = dyn Fn(&str) -> bool + Send + Sync;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cache {
    db: Db,
    exists: Arc<LayerExists>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens the cache and forgets records whose layers are gone.
    pub(crate) async fn open(db: Db, exists: Arc<LayerExists>) -> Result<Self, DbError> {
        let mut lost = 0;
        for name in db.system_layer_names().await? {
            if !exists(&name) {
                lost += db.system_forget_layer(&name).await?;
            }
        }
        db.system_sweep_cache().await?;
        if lost > 0 {
            tracing::warn!(lost, "forgot cached steps whose layers are gone");
        }
        Ok(Self { db, exists })
    }

    /// Names of all layers that records use.
    pub(crate) async fn layer_names(&self) -> Result<HashSet<String>, DbError> {
        Ok(self.db.system_layer_names().await?.into_iter().collect())
    }

    /// The record that `key` leads to, if its layers exist.
    pub(crate) async fn lookup(&self, key: &Digest) -> Result<Option<CacheRecord>, DbError> {
        let Some(record) = self.db.system_cache_record(key).await? else {
            return Ok(None);
        };
        if record
            .outputs
            .iter()
            .flatten()
            .all(|name| (self.exists)(name))
        {
            self.db.system_touch_record(record.id).await?;
            return Ok(Some(record));
        }
        self.db.system_drop_record(record.id).await?;
        Ok(None)
    }

    /// Stores what a step produced under `keys`.
    pub(crate) async fn store(
        &self,
        identity: &Digest,
        keys: &[Digest],
        executed: &Executed,
    ) -> Result<CacheRecord, DbError> {
        let id = self
            .db
            .system_store_record(&NewRecord {
                identity,
                keys,
                outputs: &executed.outputs,
                created: &executed.created,
            })
            .await?;
        Ok(CacheRecord {
            id,
            identity: *identity,
            outputs: executed.outputs.clone(),
        })
    }

    /// Lets one more key lead to a record.
    pub(crate) async fn alias(&self, key: &Digest, record: &CacheRecord) -> Result<(), DbError> {
        self.db.system_add_key(key, record.id).await
    }
}

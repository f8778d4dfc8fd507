//! Rows of the step cache: keys lead to records, records to layers.
//!
//! Everything here can be made again, so it is written through the handle
//! that does not sync.

use oci::Digest;
use sqlx::Row;

use super::{Db, DbError, now_ms};

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheRecord {
    pub(crate) id: i64,
    pub(crate) identity: Digest,
    /// Layer names of each output, lowest first.
    pub(crate) outputs: Vec<Vec<String>>,
}

/// A record about to be stored under `keys`.
#[derive(Debug)]
pub(crate) struct NewRecord<'a> {
    pub(crate) identity: &'a Digest,
    pub(crate) keys: &'a [Digest],
    pub(crate) outputs: &'a [Vec<String>],
    /// Names among them of layers that the step made.
    pub(crate) created: &'a [String],
}

impl Db {
    /// The record that `key` leads to.
    pub(crate) async fn system_cache_record(
        &self,
        key: &Digest,
    ) -> Result<Option<CacheRecord>, DbError> {
        let row = sqlx::query(
            "SELECT r.id, r.identity, r.outputs FROM cache_keys k \
             JOIN cache_records r ON r.id = k.record_id WHERE k.cache_key = ?",
        )
        .bind(key.to_column())
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let id: i64 = row.try_get("id")?;
        let identity: Vec<u8> = row.try_get("identity")?;
        let identity = Digest::from_column(&identity).ok_or_else(|| DbError::Corrupt {
            column: "cache_records.identity",
            value: hex::encode(&identity),
        })?;
        let count: i64 = row.try_get("outputs")?;
        let mut outputs = vec![Vec::new(); usize::try_from(count).unwrap_or(0)];
        let rows = sqlx::query(
            "SELECT o.output, l.name FROM cache_outputs o JOIN cache_layers l ON l.id = o.layer_id \
             WHERE o.record_id = ? ORDER BY o.output, o.position",
        )
        .bind(id)
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            let output: i64 = row.try_get("output")?;
            if let Some(layers) = usize::try_from(output)
                .ok()
                .and_then(|output| outputs.get_mut(output))
            {
                layers.push(row.try_get("name")?);
            }
        }
        Ok(Some(CacheRecord {
            id,
            identity,
            outputs,
        }))
    }

    /// Stores a record and points its keys at it, replacing what they led to.
    pub(crate) async fn system_store_record(&self, record: &NewRecord<'_>) -> Result<i64, DbError> {
        let mut tx = self.pool.begin().await?;
        let now = now_ms();
        let id: i64 = sqlx::query(
            "INSERT INTO cache_records (identity, outputs, created_at, used_at) \
             VALUES (?, ?, ?, ?) RETURNING id",
        )
        .bind(record.identity.to_column())
        .bind(i64::try_from(record.outputs.len()).unwrap_or(i64::MAX))
        .bind(now)
        .bind(now)
        .fetch_one(&mut *tx)
        .await?
        .try_get("id")?;
        for (output, layers) in record.outputs.iter().enumerate() {
            for (position, name) in layers.iter().enumerate() {
                let layer: i64 = match sqlx::query("SELECT id FROM cache_layers WHERE name = ?")
                    .bind(name)
                    .fetch_optional(&mut *tx)
                    .await?
                {
                    Some(row) => row.try_get("id")?,
                    None => sqlx::query("INSERT INTO cache_layers (name, created_at, made_here) VALUES (?, ?, ?) RETURNING id")
                        .bind(name)
                        .bind(now)
                        .bind(record.created.contains(name))
                        .fetch_one(&mut *tx)
                        .await?
                        .try_get("id")?,
                };
                sqlx::query(
                    "INSERT INTO cache_outputs (record_id, output, position, layer_id) \
                     VALUES (?, ?, ?, ?)",
                )
                .bind(id)
                .bind(i64::try_from(output).unwrap_or(i64::MAX))
                .bind(i64::try_from(position).unwrap_or(i64::MAX))
                .bind(layer)
                .execute(&mut *tx)
                .await?;
            }
        }
        for key in record.keys {
            sqlx::query(
                "INSERT INTO cache_keys (cache_key, record_id) VALUES (?, ?) \
                 ON CONFLICT (cache_key) DO UPDATE SET record_id = excluded.record_id",
            )
            .bind(key.to_column())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(id)
    }

    /// Lets one more key lead to a record.
    pub(crate) async fn system_add_key(&self, key: &Digest, record: i64) -> Result<(), DbError> {
        sqlx::query(
            "INSERT INTO cache_keys (cache_key, record_id) VALUES (?, ?) \
             ON CONFLICT (cache_key) DO UPDATE SET record_id = excluded.record_id",
        )
        .bind(key.to_column())
        .bind(record)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn system_drop_record(&self, record: i64) -> Result<(), DbError> {
        sqlx::query("DELETE FROM cache_records WHERE id = ?")
            .bind(record)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Every layer name that some record uses.
    pub(crate) async fn system_layer_names(&self) -> Result<Vec<String>, DbError> {
        let rows = sqlx::query("SELECT DISTINCT name FROM cache_layers")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Ok(row.try_get("name")?)).collect()
    }

    /// Forgets every record that uses the layer, and the layer.
    pub(crate) async fn system_forget_layer(&self, name: &str) -> Result<u64, DbError> {
        let mut tx = self.pool.begin().await?;
        let done = sqlx::query(
            "DELETE FROM cache_records WHERE id IN (SELECT o.record_id FROM cache_outputs o \
             JOIN cache_layers l ON l.id = o.layer_id WHERE l.name = ?)",
        )
        .bind(name)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM cache_layers WHERE name = ?")
            .bind(name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }

    /// Drops names that no record uses any more, and records without keys.
    pub(crate) async fn system_sweep_cache(&self) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query(
            "DELETE FROM cache_records WHERE NOT EXISTS \
             (SELECT 1 FROM cache_keys k WHERE k.record_id = cache_records.id)",
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "DELETE FROM cache_layers WHERE NOT EXISTS \
             (SELECT 1 FROM cache_outputs o WHERE o.layer_id = cache_layers.id)",
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// When a step made the layer, in milliseconds since the epoch.
    pub(crate) async fn system_layer_time(&self, name: &str) -> Result<Option<i64>, DbError> {
        let row = sqlx::query(
            "SELECT min(created_at) AS made FROM cache_layers WHERE name = ? AND made_here = 1",
        )
        .bind(name)
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get("made")?)
    }

    /// Follows a rename in the layer store.
    pub(crate) async fn system_rename_layer(&self, from: &str, to: &str) -> Result<(), DbError> {
        sqlx::query("UPDATE cache_layers SET name = ? WHERE name = ?")
            .bind(to)
            .bind(from)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

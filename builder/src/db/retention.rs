//! What old rows are, and their removal.

use std::collections::BTreeMap;

use oci::Digest;
use sqlx::Row;

use super::{Db, DbError, LayerBlob, now_ms};

/// A cached step as retention sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OldRecord {
    pub(crate) id: i64,
    /// Milliseconds since the Unix epoch.
    pub(crate) used_at: i64,
    /// Names of all layers that it leads to.
    pub(crate) layers: Vec<String>,
}

/// A record's time of use is written at most this often, in milliseconds.
const USE_NOTED_EVERY: i64 = 60_000;

impl Db {
    /// Notes that a build found the record.
    pub(crate) async fn system_touch_record(&self, record: i64) -> Result<(), DbError> {
        let now = now_ms();
        sqlx::query("UPDATE cache_records SET used_at = ? WHERE id = ? AND used_at < ?")
            .bind(now)
            .bind(record)
            .bind(now - USE_NOTED_EVERY)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// All records, the least recently used first.
    pub(crate) async fn system_old_records(&self) -> Result<Vec<OldRecord>, DbError> {
        let rows = sqlx::query(
            "SELECT DISTINCT r.used_at, r.id, l.name FROM cache_records r \
             LEFT JOIN cache_outputs o ON o.record_id = r.id \
             LEFT JOIN cache_layers l ON l.id = o.layer_id ORDER BY r.used_at, r.id",
        )
        .fetch_all(&self.pool)
        .await?;
        let mut records: Vec<OldRecord> = Vec::new();
        for row in rows {
            let id = row.try_get("id")?;
            if records.last().is_none_or(|last| last.id != id) {
                records.push(OldRecord {
                    id,
                    used_at: row.try_get("used_at")?,
                    layers: Vec::new(),
                });
            }
            let name: Option<String> = row.try_get("name")?;
            let last = records.last_mut().expect("one was just pushed");
            last.layers.extend(name);
        }
        Ok(records)
    }

    /// Forgets records, and the layers that no other record leads to.
    pub(crate) async fn system_drop_records(&self, records: &[i64]) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        for record in records {
            sqlx::query("DELETE FROM cache_records WHERE id = ?")
                .bind(record)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        self.system_sweep_cache().await
    }

    /// Sizes in bytes of the compressed forms that were made here, by the
    /// layer's name.
    pub(crate) async fn system_local_blob_sizes(&self) -> Result<BTreeMap<String, u64>, DbError> {
        let rows = sqlx::query(
            "SELECT diff_id, sum(size_bytes) AS size FROM layer_blobs WHERE origin IS NULL \
             GROUP BY diff_id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let size: i64 = row.try_get("size")?;
                Ok((row.try_get("diff_id")?, u64::try_from(size).unwrap_or(0)))
            })
            .collect()
    }

    /// Forgets all forms of a layer; those whose bytes are here.
    pub(crate) async fn system_drop_blobs(
        &self,
        diff_id: &Digest,
    ) -> Result<Vec<LayerBlob>, DbError> {
        let mut blobs = self.system_blobs(diff_id).await?;
        sqlx::query("DELETE FROM layer_blobs WHERE diff_id = ?")
            .bind(diff_id.to_string())
            .execute(&self.pool)
            .await?;
        blobs.retain(|blob| blob.origin.is_none());
        Ok(blobs)
    }

    /// Forgets ended builds, with their logs: all but the newest `keep`, and
    /// those before which newer logs of more than `log_bytes_max` were written.
    pub(crate) async fn system_drop_old_builds(
        &self,
        keep: i64,
        log_bytes_max: i64,
    ) -> Result<u64, DbError> {
        let done = sqlx::query(
            "DELETE FROM builds WHERE state NOT IN ('queued', 'running') AND id IN \
             (SELECT id FROM \
               (SELECT id, row_number() OVER age AS place, \
                       sum(log_bytes) OVER (age ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) \
                         AS newer \
                FROM builds WINDOW age AS (ORDER BY created_at DESC, id DESC)) \
              WHERE place > ? OR newer > ?)",
        )
        .bind(keep)
        .bind(log_bytes_max)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}

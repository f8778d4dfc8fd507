//! Rows of `layer_blobs`: the compressed forms of layers that are known.

use oci::{Descriptor, Digest};
use sqlx::Row;

use super::{Db, DbError};

/// A compressed layer: its descriptor and where its bytes can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerBlob {
    pub(crate) diff_id: Digest,
    pub(crate) descriptor: Descriptor,
    /// `registry/repository` it was pulled from; `None` when it was made here
    /// and its bytes lie in the blob directory.
    pub(crate) origin: Option<String>,
}

fn digest(column: &'static str, text: &str) -> Result<Digest, DbError> {
    text.parse().map_err(|_| DbError::Corrupt {
        column,
        value: text.to_owned(),
    })
}

impl Db {
    /// Notes a compressed form of a layer. A form made here wins over the note
    /// of where the same bytes were pulled from.
    pub(crate) async fn system_store_blob(&self, blob: &LayerBlob) -> Result<(), DbError> {
        sqlx::query(
            "INSERT INTO layer_blobs (diff_id, digest, media_type, size_bytes, origin) \
             VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (diff_id, digest) DO UPDATE SET origin = excluded.origin \
             WHERE layer_blobs.origin IS NOT NULL",
        )
        .bind(blob.diff_id.to_string())
        .bind(blob.descriptor.digest.to_string())
        .bind(blob.descriptor.media_type.as_str())
        .bind(i64::try_from(blob.descriptor.size).unwrap_or(i64::MAX))
        .bind(blob.origin.as_deref())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The known forms of a layer, those made here first.
    pub(crate) async fn system_blobs(&self, diff_id: &Digest) -> Result<Vec<LayerBlob>, DbError> {
        let rows = sqlx::query(
            "SELECT digest, media_type, size_bytes, origin FROM layer_blobs WHERE diff_id = ? \
             ORDER BY origin IS NOT NULL, digest",
        )
        .bind(diff_id.to_string())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let size: i64 = row.try_get("size_bytes")?;
                Ok(LayerBlob {
                    diff_id: *diff_id,
                    descriptor: Descriptor::new(
                        row.try_get("media_type")?,
                        digest("layer_blobs.digest", row.try_get("digest")?)?,
                        u64::try_from(size).unwrap_or(0),
                    ),
                    origin: row.try_get("origin")?,
                })
            })
            .collect()
    }

    /// Digests of all forms made here.
    pub(crate) async fn system_local_blobs(&self) -> Result<Vec<Digest>, DbError> {
        let rows = sqlx::query("SELECT digest FROM layer_blobs WHERE origin IS NULL")
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| digest("layer_blobs.digest", row.try_get("digest")?))
            .collect()
    }

    pub(crate) async fn system_forget_blob(&self, digest: &Digest) -> Result<(), DbError> {
        sqlx::query("DELETE FROM layer_blobs WHERE digest = ? AND origin IS NULL")
            .bind(digest.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

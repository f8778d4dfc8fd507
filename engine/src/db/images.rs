//! Rows of images, their layers, tags and digests.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Db;
use super::orphans::{self, Origin};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerRow {
    pub(crate) diff_id: String,
    /// Bytes unpacked.
    pub(crate) size_bytes: i64,
}

/// An image with its names.
#[derive(Clone, Debug)]
pub(crate) struct ImageRow {
    pub(crate) id: String,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) manifest_media_type: String,
    pub(crate) size_bytes: i64,
    /// RFC 3339.
    pub(crate) created_at: String,
    pub(crate) tags: Vec<String>,
    pub(crate) digests: Vec<String>,
}

/// What a pull or load adds.
#[derive(Clone, Debug)]
pub(crate) struct NewImage<'a> {
    pub(crate) id: &'a str,
    pub(crate) config: &'a [u8],
    pub(crate) manifest: &'a [u8],
    pub(crate) manifest_media_type: &'a str,
    pub(crate) manifest_digest: &'a str,
    pub(crate) created_at: &'a str,
    pub(crate) layers: &'a [LayerRow],
}

impl Db {
    /// All images, or the one with `id`.
    pub(crate) async fn images(&self, id: Option<&str>) -> Result<Vec<ImageRow>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT i.*,
                    (SELECT json_group_array(reference) FROM image_tags t WHERE t.image_id = i.id) AS tags,
                    (SELECT json_group_array(reference) FROM image_digests d WHERE d.image_id = i.id) AS digests
             FROM images i WHERE ?1 IS NULL OR i.id = ?1 ORDER BY i.created_at DESC",
        )
        .bind(id)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_image).collect()
    }

    pub(crate) async fn image(&self, id: &str) -> Result<Option<ImageRow>, sqlx::Error> {
        Ok(self.images(Some(id)).await?.pop())
    }

    /// The image that a tag or digest reference names.
    pub(crate) async fn image_id_by_reference(
        &self,
        reference: &str,
    ) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT image_id FROM image_tags WHERE reference = ?1
             UNION SELECT image_id FROM image_digests WHERE reference = ?1",
        )
        .bind(reference)
        .fetch_optional(&self.pool)
        .await
    }

    /// Ids that begin with `prefix`, at most two: enough to see ambiguity.
    pub(crate) async fn image_ids_by_prefix(
        &self,
        prefix: &str,
    ) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT id FROM images WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2")
            .bind(prefix)
            .fetch_all(&self.pool)
            .await
    }

    /// Adds an image, or keeps the one with the same configuration, and its
    /// names; a tag moves here from the image that had it.
    ///
    /// Returns the image that lost the tag, if any did.
    pub(crate) async fn insert_image(
        &self,
        image: &NewImage<'_>,
        tag: Option<&str>,
        digest: Option<&str>,
    ) -> Result<Option<String>, sqlx::Error> {
        let mut tx = self.durable.begin().await?;
        let size: i64 = image.layers.iter().map(|layer| layer.size_bytes).sum();
        let added = sqlx::query(
            "INSERT INTO images (id, config, manifest, manifest_media_type, manifest_digest,
                                 size_bytes, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(image.id)
        .bind(image.config)
        .bind(image.manifest)
        .bind(image.manifest_media_type)
        .bind(image.manifest_digest)
        .bind(size)
        .bind(image.created_at)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if added == 1 {
            for (position, layer) in (0_i64..).zip(image.layers) {
                sqlx::query("DELETE FROM orphan_layers WHERE diff_id = ?")
                    .bind(&layer.diff_id)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(
                    "INSERT INTO image_layers (image_id, position, diff_id, size_bytes)
                     VALUES (?, ?, ?, ?)",
                )
                .bind(image.id)
                .bind(position)
                .bind(&layer.diff_id)
                .bind(layer.size_bytes)
                .execute(&mut *tx)
                .await?;
            }
        }
        let mut lost = None;
        if let Some(tag) = tag {
            lost = sqlx::query_scalar("SELECT image_id FROM image_tags WHERE reference = ?")
                .bind(tag)
                .fetch_optional(&mut *tx)
                .await?
                .filter(|old: &String| old != image.id);
            set_tag(&mut tx, tag, image.id, image.created_at).await?;
        }
        if let Some(digest) = digest {
            sqlx::query(
                "INSERT INTO image_digests (reference, image_id) VALUES (?, ?)
                 ON CONFLICT (reference) DO UPDATE SET image_id = excluded.image_id",
            )
            .bind(digest)
            .bind(image.id)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(lost)
    }

    pub(crate) async fn tag_image(
        &self,
        reference: &str,
        image_id: &str,
        at: &str,
    ) -> Result<(), sqlx::Error> {
        let mut tx = self.durable.begin().await?;
        set_tag(&mut tx, reference, image_id, at).await?;
        tx.commit().await
    }

    pub(crate) async fn add_image_digest(
        &self,
        reference: &str,
        image_id: &str,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO image_digests (reference, image_id) VALUES (?, ?)
             ON CONFLICT (reference) DO UPDATE SET image_id = excluded.image_id",
        )
        .bind(reference)
        .bind(image_id)
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// Removes a tag or digest reference.
    pub(crate) async fn untag_image(&self, reference: &str) -> Result<(), sqlx::Error> {
        let mut tx = self.durable.begin().await?;
        sqlx::query("DELETE FROM image_tags WHERE reference = ?")
            .bind(reference)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM image_digests WHERE reference = ?")
            .bind(reference)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    /// Deletes an image with its names.
    ///
    /// Returns the layers that no image needs any more, topmost first; they
    /// are orphans until each is removed.
    pub(crate) async fn delete_image(&self, id: &str) -> Result<Vec<String>, sqlx::Error> {
        let mut tx = self.durable.begin().await?;
        let orphans: Vec<String> = sqlx::query_scalar(
            "SELECT diff_id FROM image_layers l WHERE image_id = ?1
             AND NOT EXISTS (SELECT 1 FROM image_layers o
                             WHERE o.diff_id = l.diff_id AND o.image_id <> ?1)
             GROUP BY diff_id ORDER BY max(position) DESC",
        )
        .bind(id)
        .fetch_all(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM images WHERE id = ?")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        for orphan in &orphans {
            orphans::add(&mut tx, orphan, Origin::Image).await?;
        }
        tx.commit().await?;
        Ok(orphans)
    }

    /// The layers of an image, lowest first.
    pub(crate) async fn image_layers(&self, id: &str) -> Result<Vec<LayerRow>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT diff_id, size_bytes FROM image_layers WHERE image_id = ? ORDER BY position",
        )
        .bind(id)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(LayerRow {
                    diff_id: row.try_get("diff_id")?,
                    size_bytes: row.try_get("size_bytes")?,
                })
            })
            .collect()
    }

    /// `registry/repository@digest` of all images that have a layer.
    pub(crate) async fn layer_sources(&self, diff_id: &str) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT DISTINCT d.reference FROM image_digests d
             JOIN image_layers l ON l.image_id = d.image_id WHERE l.diff_id = ?
             ORDER BY d.reference",
        )
        .bind(diff_id)
        .fetch_all(&self.pool)
        .await
    }

    /// Bytes of all distinct layers.
    pub(crate) async fn layers_size(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT coalesce(sum(size), 0) FROM
                (SELECT max(size_bytes) AS size FROM image_layers GROUP BY diff_id)",
        )
        .fetch_one(&self.pool)
        .await
    }
}

async fn set_tag(
    tx: &mut sqlx::Transaction<'_, sqlx::Sqlite>,
    reference: &str,
    image_id: &str,
    at: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO image_tags (reference, image_id, tagged_at) VALUES (?, ?, ?)
         ON CONFLICT (reference) DO UPDATE
         SET image_id = excluded.image_id, tagged_at = excluded.tagged_at",
    )
    .bind(reference)
    .bind(image_id)
    .bind(at)
    .execute(&mut **tx)
    .await
    .map(drop)
}

fn read_image(row: &SqliteRow) -> Result<ImageRow, sqlx::Error> {
    Ok(ImageRow {
        id: row.try_get("id")?,
        config: row.try_get("config")?,
        manifest: row.try_get("manifest")?,
        manifest_media_type: row.try_get("manifest_media_type")?,
        size_bytes: row.try_get("size_bytes")?,
        created_at: row.try_get("created_at")?,
        tags: super::from_json(row.try_get("tags")?)?,
        digests: super::from_json(row.try_get("digests")?)?,
    })
}

//! Rows of layers that no image has.

use super::Db;

/// Why a layer has no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A pull or load fetched it and has not ended, or failed: the next try
    /// finds it.
    Transfer,
    /// Its last image was deleted while somebody held it.
    Image,
}

impl Origin {
    fn as_str(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Image => "image",
        }
    }
}

impl Db {
    /// Notes layers that are about to be fetched and that no image has.
    pub(crate) async fn expect_layers(&self, diff_ids: &[String]) -> Result<(), sqlx::Error> {
        let mut tx = self.durable.begin().await?;
        for diff_id in diff_ids {
            add(&mut tx, diff_id, Origin::Transfer).await?;
        }
        tx.commit().await
    }

    /// Layers without an image: all, or those of one origin.
    pub(crate) async fn orphan_layers(
        &self,
        origin: Option<Origin>,
    ) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT diff_id FROM orphan_layers WHERE ?1 IS NULL OR origin = ?1 ORDER BY diff_id",
        )
        .bind(origin.map(Origin::as_str))
        .fetch_all(&self.pool)
        .await
    }

    /// The layer is gone.
    pub(crate) async fn forget_orphan(&self, diff_id: &str) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM orphan_layers WHERE diff_id = ?")
            .bind(diff_id)
            .execute(&self.pool)
            .await
            .map(drop)
    }
}

/// A layer that an image has is none.
pub(super) async fn add(
    tx: &mut sqlx::Transaction<'_, sqlx::Sqlite>,
    diff_id: &str,
    origin: Origin,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO orphan_layers (diff_id, origin)
         SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM image_layers WHERE diff_id = ?1)
         ON CONFLICT DO NOTHING",
    )
    .bind(diff_id)
    .bind(origin.as_str())
    .execute(&mut **tx)
    .await
    .map(drop)
}

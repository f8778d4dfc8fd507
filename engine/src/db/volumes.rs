//! Rows of volumes.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Db, from_json, to_json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeRow {
    pub(crate) name: String,
    /// RFC 3339.
    pub(crate) created_at: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Made by the engine for a container, so `rm -v` removes it.
    pub(crate) anonymous: bool,
}

impl VolumeRow {
    fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            created_at: row.try_get("created_at")?,
            labels: from_json(row.try_get("labels")?)?,
            anonymous: row.try_get("anonymous")?,
        })
    }
}

impl Db {
    pub(crate) async fn volumes(&self) -> Result<Vec<VolumeRow>, sqlx::Error> {
        let rows = sqlx::query("SELECT * FROM volumes ORDER BY name")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(VolumeRow::read).collect()
    }

    pub(crate) async fn volume(&self, name: &str) -> Result<Option<VolumeRow>, sqlx::Error> {
        sqlx::query("SELECT * FROM volumes WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?
            .as_ref()
            .map(VolumeRow::read)
            .transpose()
    }

    /// Keeps a volume of the same name as it is; `true` when this call made it.
    pub(crate) async fn insert_volume(&self, row: &VolumeRow) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(
            "INSERT INTO volumes (name, created_at, labels, anonymous) VALUES (?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(&row.name)
        .bind(&row.created_at)
        .bind(to_json(&row.labels)?)
        .bind(row.anonymous)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    pub(crate) async fn delete_volume(&self, name: &str) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM volumes WHERE name = ?")
            .bind(name)
            .execute(&self.pool)
            .await
            .map(drop)
    }
}

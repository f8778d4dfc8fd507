//! Rows of volumes.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, Transaction};

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

/// How the removal of a volume's row went.
#[derive(Debug)]
pub(crate) enum VolumeRemoval {
    Absent,
    /// By these containers; nothing was changed.
    Used(Vec<String>),
    /// Done once it is committed; undone when it is dropped.
    Pending(Transaction<'static, Sqlite>),
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
        let mut tx = self.durable.begin().await?;
        let added = add(&mut tx, row).await?;
        tx.commit().await?;
        Ok(added)
    }

    /// Removes the row of a volume that no container uses.
    pub(crate) async fn remove_volume(&self, name: &str) -> Result<VolumeRemoval, sqlx::Error> {
        let mut transaction = self.durable.begin().await?;
        // Deletes first: that takes the write lock, so no container can come
        // to use the volume between the look and the end of the transaction.
        let done = sqlx::query("DELETE FROM volumes WHERE name = ?")
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(VolumeRemoval::Absent);
        }
        let users = users(&mut transaction, name).await?;
        if users.is_empty() {
            Ok(VolumeRemoval::Pending(transaction))
        } else {
            Ok(VolumeRemoval::Used(users))
        }
    }
}

/// `true` when the row was not there.
pub(super) async fn add(
    tx: &mut Transaction<'_, Sqlite>,
    row: &VolumeRow,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "INSERT INTO volumes (name, created_at, labels, anonymous) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(&row.name)
    .bind(&row.created_at)
    .bind(to_json(&row.labels)?)
    .bind(row.anonymous)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes the row of an anonymous volume that no container uses.
pub(super) async fn delete_if_anonymous(
    tx: &mut Transaction<'_, Sqlite>,
    name: &str,
) -> Result<bool, sqlx::Error> {
    if !users(tx, name).await?.is_empty() {
        return Ok(false);
    }
    let done = sqlx::query("DELETE FROM volumes WHERE name = ? AND anonymous")
        .bind(name)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Ids of the containers that use a volume.
async fn users(tx: &mut Transaction<'_, Sqlite>, name: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT DISTINCT c.id FROM containers c, json_each(c.mounts) m
         WHERE json_extract(m.value, '$.Type') = 'volume'
           AND json_extract(m.value, '$.Name') = ?",
    )
    .bind(name)
    .fetch_all(&mut **tx)
    .await
}

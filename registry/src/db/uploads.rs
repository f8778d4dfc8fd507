//! Upload sessions: where each stands, so that any later request can go on.

use oci::{Algorithm, Repository};

use super::{
    Database, DbError, Durability, now_micros,
    query::{Row, query},
    repositories,
};
use crate::content::ObjectKey;

/// An unfinished upload.
#[derive(Clone, Debug)]
pub(crate) struct UploadRow {
    pub(crate) id: String,
    /// The name of the caller who began it; nobody else may touch it.
    pub(crate) owner: String,
    pub(crate) object_key: ObjectKey,
    /// Bytes received and hashed.
    pub(crate) offset_bytes: u64,
    pub(crate) algorithm: Algorithm,
    /// Midstate of the hasher after `offset_bytes`.
    pub(crate) hash_state: Option<Vec<u8>>,
    /// The boot in which `hash_state` and the object's bytes were written.
    pub(crate) boot_id: String,
    /// Unix microseconds.
    pub(crate) expires_at: i64,
}

impl Database {
    /// Begins a session; the repository is made when it is not there.
    pub(crate) async fn create_upload(
        &self,
        repo: Repository,
        upload: UploadRow,
    ) -> Result<(), DbError> {
        self.write(Durability::Lazy, move |connection| {
            Box::pin(async move {
                let repo_id = repositories::ensure(connection, &repo).await?;
                query(
                    "INSERT INTO uploads (id, repo_id, owner, object_key, offset_bytes, \
                     hash_algorithm, hash_state, boot_id, expires_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                )
                .bind(upload.id)
                .bind(repo_id.0)
                .bind(upload.owner)
                .bind(upload.object_key.to_string())
                .bind(offset_column(upload.offset_bytes))
                .bind(upload.algorithm.as_str())
                .bind(upload.hash_state)
                .bind(upload.boot_id)
                .bind(upload.expires_at)
                .execute(&mut *connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// The session, when it belongs to `repo` and `owner`.
    pub(crate) async fn upload(
        &self,
        repo: &Repository,
        owner: &str,
        id: &str,
    ) -> Result<Option<UploadRow>, DbError> {
        let mut connection = self.read().await?;
        let row = query(
            "SELECT u.id, u.owner, u.object_key, u.offset_bytes, u.hash_algorithm, u.hash_state, \
             u.boot_id, u.expires_at FROM uploads u JOIN repositories r ON r.id = u.repo_id \
             WHERE u.id = $1 AND u.owner = $2 AND r.path = $3 AND u.expires_at > $4",
        )
        .bind(id)
        .bind(owner)
        .bind(repo.as_str())
        .bind(now_micros())
        .fetch_optional(&mut *connection)
        .await?;
        row.map(|row| read_row(&row)).transpose()
    }

    /// Records how far the session is.
    pub(crate) async fn advance_upload(&self, upload: UploadRow) -> Result<(), DbError> {
        self.write(Durability::Lazy, move |connection| {
            Box::pin(async move {
                query(
                    "UPDATE uploads SET offset_bytes = $2, hash_algorithm = $3, hash_state = $4, \
                     boot_id = $5, expires_at = $6 WHERE id = $1",
                )
                .bind(upload.id)
                .bind(offset_column(upload.offset_bytes))
                .bind(upload.algorithm.as_str())
                .bind(upload.hash_state)
                .bind(upload.boot_id)
                .bind(upload.expires_at)
                .execute(&mut *connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Forgets the session; its object becomes an orphan that the caller removes.
    pub(crate) async fn delete_upload(&self, id: String) -> Result<(), DbError> {
        self.write(Durability::Lazy, move |connection| {
            Box::pin(async move {
                query("DELETE FROM uploads WHERE id = $1")
                    .bind(id)
                    .execute(&mut *connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Sessions past their time, at most `limit`.
    pub(crate) async fn system_expired_uploads(
        &self,
        limit: i64,
    ) -> Result<Vec<(String, ObjectKey)>, DbError> {
        let mut connection = self.read().await?;
        let rows = query(
            "SELECT id, object_key FROM uploads WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2",
        )
        .bind(now_micros())
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
        rows.iter()
            .map(|row| {
                let key = ObjectKey::parse(row.get(1)?).ok_or(DbError::Unreadable("object key"))?;
                Ok((row.get(0)?, key))
            })
            .collect()
    }
}

fn offset_column(offset_bytes: u64) -> i64 {
    i64::try_from(offset_bytes).unwrap_or(i64::MAX)
}

fn read_row(row: &Row) -> Result<UploadRow, DbError> {
    let algorithm = match row.get::<&str>(4)? {
        "sha256" => Algorithm::Sha256,
        "sha512" => Algorithm::Sha512,
        _ => return Err(DbError::Unreadable("hash algorithm")),
    };
    Ok(UploadRow {
        id: row.get(0)?,
        owner: row.get(1)?,
        object_key: ObjectKey::parse(row.get(2)?).ok_or(DbError::Unreadable("object key"))?,
        offset_bytes: u64::try_from(row.get::<i64>(3)?)
            .map_err(|_| DbError::Unreadable("upload offset"))?,
        algorithm,
        hash_state: row.get(5)?,
        boot_id: row.get(6)?,
        expires_at: row.get(7)?,
    })
}

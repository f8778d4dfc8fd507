//! Blobs, and which repository may serve which.

use std::collections::HashSet;

use oci::{Digest, Repository};

use super::{
    Database, DbError, Durability, RepoId, now_micros, placeholders,
    query::{Connection, Row, query},
    repositories,
};
use crate::content::ObjectKey;

/// Digests asked for in one statement; SQLite allows 32,766 placeholders.
const DIGESTS_MAX: usize = 8000;

/// Where a blob's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BlobLocation {
    /// In the row: blobs up to 64 KiB.
    Row(Vec<u8>),
    Object(ObjectKey),
}

#[derive(Clone, Debug)]
pub(crate) struct BlobRow {
    pub(crate) size_bytes: u64,
    pub(crate) location: BlobLocation,
}

/// What committing a blob did with the bytes that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// They are the blob now.
    New,
    /// The blob was there already; the new bytes are not needed.
    Known,
    /// They replaced an object that was found damaged, which can go.
    Replaced(Option<ObjectKey>),
}

impl Database {
    /// The blob, when `repo` may serve it. `payload` says whether small bytes are wanted too.
    pub(crate) async fn blob(
        &self,
        repo: &Repository,
        digest: &Digest,
    ) -> Result<Option<BlobRow>, DbError> {
        let mut connection = self.read().await?;
        let row = query(
            "SELECT b.size_bytes, b.object_key, b.payload \
             FROM repositories r \
             JOIN repo_blobs l ON l.repo_id = r.id AND l.digest = $2 \
             JOIN blobs b ON b.digest = l.digest AND b.state = 'live' \
             WHERE r.path = $1",
        )
        .bind(repo.as_str())
        .bind(digest.to_column())
        .fetch_optional(&mut *connection)
        .await?;
        row.map(|row| read_row(&row)).transpose()
    }

    /// The blob wherever it is; only for deciding where new bytes go.
    pub(crate) async fn system_blob(&self, digest: &Digest) -> Result<Option<BlobRow>, DbError> {
        let mut connection = self.read().await?;
        let row = query(
            "SELECT size_bytes, object_key, payload FROM blobs WHERE digest = $1 AND state = 'live'",
        )
        .bind(digest.to_column())
        .fetch_optional(&mut *connection)
        .await?;
        row.map(|row| read_row(&row)).transpose()
    }

    /// Makes an uploaded blob visible in `repo` and ends its upload session, in one commit.
    ///
    /// `damaged` is set when the caller found the stored object of this digest unusable.
    /// `Lazy` is for sealed objects, which are found again without this commit.
    pub(crate) async fn commit_blob(
        &self,
        repo: Repository,
        digest: Digest,
        blob: BlobRow,
        upload: Option<String>,
        damaged: bool,
        durability: Durability,
    ) -> Result<Placement, DbError> {
        self.write(durability, move |connection| {
            Box::pin(async move {
                let repo_id = repositories::ensure(connection, &repo).await?;
                let placement = place(connection, &digest, blob, damaged).await?;
                link(connection, repo_id, &digest).await?;
                if let Some(upload) = upload {
                    query("DELETE FROM uploads WHERE id = $1")
                        .bind(upload)
                        .execute(&mut *connection)
                        .await?;
                }
                Ok(placement)
            })
        })
        .await
    }

    /// Links a blob into `to` when one of `sources` may serve it; `false` otherwise.
    /// With `sources` = `None` any repository will do.
    pub(crate) async fn mount_blob(
        &self,
        to: Repository,
        digest: Digest,
        sources: Option<Vec<Repository>>,
    ) -> Result<bool, DbError> {
        self.write(Durability::Durable, move |connection| {
            Box::pin(async move {
                if !may_mount(connection, &digest, sources.as_deref()).await? {
                    return Ok(false);
                }
                let repo_id = repositories::ensure(connection, &to).await?;
                link(connection, repo_id, &digest).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Takes the blob out of `repo`; `false` when it was not in it.
    /// The bytes stay until no repository links them.
    pub(crate) async fn unlink_blob(
        &self,
        repo: Repository,
        digest: Digest,
    ) -> Result<bool, DbError> {
        self.write(Durability::Durable, move |connection| {
            Box::pin(async move {
                let done = query(
                    "DELETE FROM repo_blobs WHERE digest = $1 \
                     AND repo_id = (SELECT id FROM repositories WHERE path = $2)",
                )
                .bind(digest.to_column())
                .bind(repo.as_str())
                .execute(&mut *connection)
                .await?;
                Ok(done > 0)
            })
        })
        .await
    }

    /// Makes every commit so far durable, by a change of its own.
    pub(crate) async fn system_flush(&self, repo: Repository) -> Result<(), DbError> {
        self.write(Durability::Durable, move |connection| {
            Box::pin(async move {
                query("UPDATE repositories SET last_push_at = $2 WHERE path = $1")
                    .bind(repo.as_str())
                    .bind(now_micros())
                    .execute(&mut *connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// The upload session whose object this is.
    pub(crate) async fn system_upload_of(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<String>, DbError> {
        let mut connection = self.read().await?;
        let row = query("SELECT id FROM uploads WHERE object_key = $1")
            .bind(key.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        row.map(|row| row.get(0)).transpose()
    }

    /// Whether a blob's row names this object.
    pub(crate) async fn system_is_blob(&self, key: &ObjectKey) -> Result<bool, DbError> {
        let mut connection = self.read().await?;
        let row = query("SELECT 1 FROM blobs WHERE object_key = $1")
            .bind(key.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        Ok(row.is_some())
    }

    /// Which of `keys` belong to a blob or to an unfinished upload.
    pub(crate) async fn system_known_objects(
        &self,
        keys: &[ObjectKey],
    ) -> Result<HashSet<ObjectKey>, DbError> {
        let mut connection = self.read().await?;
        let mut known = HashSet::new();
        for chunk in keys.chunks(500) {
            let list = placeholders(1, chunk.len());
            let text = format!(
                "SELECT object_key FROM blobs WHERE object_key IN {list} \
                 UNION SELECT object_key FROM uploads WHERE object_key IN {list}"
            );
            let mut statement = query(text);
            for key in chunk {
                statement = statement.bind(key.as_str());
            }
            for row in statement.fetch_all(&mut *connection).await? {
                known.extend(ObjectKey::parse(row.get(0)?));
            }
        }
        Ok(known)
    }
}

/// Those of `digests` that `repo_id` cannot serve as blobs, in order.
pub(super) async fn missing(
    connection: &mut dyn Connection,
    repo_id: RepoId,
    digests: &[Digest],
) -> Result<Vec<Digest>, DbError> {
    let mut present = HashSet::new();
    for chunk in digests.chunks(DIGESTS_MAX) {
        let list: Vec<String> = (2..chunk.len() + 2).map(|n| format!("${n}")).collect();
        let text = format!(
            "SELECT l.digest FROM repo_blobs l \
             JOIN blobs b ON b.digest = l.digest AND b.state = 'live' \
             WHERE l.repo_id = $1 AND l.digest IN ({})",
            list.join(",")
        );
        let mut statement = query(text).bind(repo_id.0);
        for digest in chunk {
            statement = statement.bind(digest.to_column());
        }
        for row in statement.fetch_all(&mut *connection).await? {
            present.extend(Digest::from_column(row.get(0)?));
        }
    }
    Ok(digests
        .iter()
        .filter(|digest| !present.contains(digest))
        .copied()
        .collect())
}

async fn place(
    connection: &mut dyn Connection,
    digest: &Digest,
    blob: BlobRow,
    damaged: bool,
) -> Result<Placement, DbError> {
    let column = digest.to_column();
    let old = query("SELECT size_bytes, object_key, payload FROM blobs WHERE digest = $1")
        .bind(&column)
        .fetch_optional(&mut *connection)
        .await?;
    if old.is_some() && !damaged {
        return Ok(Placement::Known);
    }
    let (key, payload) = match blob.location {
        BlobLocation::Row(payload) => (None, Some(payload)),
        BlobLocation::Object(key) => (Some(key.to_string()), None),
    };
    query(
        "INSERT INTO blobs (digest, size_bytes, object_key, payload, state, lease_until, created_at) \
         VALUES ($1, $2, $3, $4, 'live', 0, $5) \
         ON CONFLICT (digest) DO UPDATE SET size_bytes = $2, object_key = $3, payload = $4, \
         state = 'live'",
    )
    .bind(&column)
    .bind(i64::try_from(blob.size_bytes).unwrap_or(i64::MAX))
    .bind(key)
    .bind(payload)
    .bind(now_micros())
    .execute(&mut *connection)
    .await?;
    match old {
        None => Ok(Placement::New),
        Some(row) => {
            let key: Option<&str> = row.get(1)?;
            Ok(Placement::Replaced(key.and_then(ObjectKey::parse)))
        }
    }
}

async fn link(
    connection: &mut dyn Connection,
    repo_id: RepoId,
    digest: &Digest,
) -> Result<(), DbError> {
    query(
        "INSERT INTO repo_blobs (repo_id, digest, created_at) VALUES ($1, $2, $3) \
         ON CONFLICT (repo_id, digest) DO NOTHING",
    )
    .bind(repo_id.0)
    .bind(digest.to_column())
    .bind(now_micros())
    .execute(connection)
    .await?;
    Ok(())
}

async fn may_mount(
    connection: &mut dyn Connection,
    digest: &Digest,
    sources: Option<&[Repository]>,
) -> Result<bool, DbError> {
    let Some(sources) = sources else {
        let row = query(
            "SELECT 1 FROM repo_blobs l JOIN blobs b ON b.digest = l.digest \
             WHERE l.digest = $1 AND b.state = 'live' LIMIT 1",
        )
        .bind(digest.to_column())
        .fetch_optional(connection)
        .await?;
        return Ok(row.is_some());
    };
    for source in sources {
        let row = query(
            "SELECT 1 FROM repositories r \
             JOIN repo_blobs l ON l.repo_id = r.id AND l.digest = $2 \
             JOIN blobs b ON b.digest = l.digest AND b.state = 'live' WHERE r.path = $1",
        )
        .bind(source.as_str())
        .bind(digest.to_column())
        .fetch_optional(&mut *connection)
        .await?;
        if row.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_row(row: &Row) -> Result<BlobRow, DbError> {
    let size: i64 = row.get(0)?;
    let key: Option<&str> = row.get(1)?;
    let payload: Option<Vec<u8>> = row.get(2)?;
    let location = match (key, payload) {
        (Some(key), None) => ObjectKey::parse(key)
            .map(BlobLocation::Object)
            .ok_or(DbError::Unreadable("object key"))?,
        (None, Some(payload)) => BlobLocation::Row(payload),
        _ => return Err(DbError::Unreadable("blob location")),
    };
    Ok(BlobRow {
        size_bytes: u64::try_from(size).map_err(|_| DbError::Unreadable("blob size"))?,
        location,
    })
}

//! Manifests, what they refer to, and tags.

use std::sync::Arc;

use bytes::Bytes;
use oci::{Digest, Repository, Tag};

use super::{
    Database, DbError, Durability, RepoId, blobs, next_id, now_micros, placeholders,
    query::{Connection, Row, query},
    repositories,
};

/// Edges written by one statement.
const REFS_PER_INSERT: usize = 400;

/// A stored manifest, its bytes as they were pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestRow {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) payload: Bytes,
}

/// One edge from a manifest to content.
#[derive(Clone, Debug)]
pub(crate) struct RefRow {
    /// `config`, `layer`, `manifest`.
    pub(crate) kind: &'static str,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    /// Whether the blob must be in the repository for the manifest to be accepted.
    pub(crate) required: bool,
}

/// Everything that a manifest PUT writes.
#[derive(Clone, Debug)]
pub(crate) struct ManifestPut {
    pub(crate) repo: Repository,
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) artifact_type: Option<String>,
    pub(crate) payload: Vec<u8>,
    pub(crate) subject: Option<Digest>,
    /// JSON object.
    pub(crate) annotations: Option<String>,
    pub(crate) refs: Vec<RefRow>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) actor: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PutOutcome {
    Stored,
    /// Nothing was written: these blobs are not in the repository.
    BlobsMissing(Vec<Digest>),
}

impl Database {
    /// Stores a manifest with its edges and tags, all or nothing.
    pub(crate) async fn put_manifest(&self, put: ManifestPut) -> Result<PutOutcome, DbError> {
        let forget = self.forgetting(&put.repo);
        self.write_then(
            Durability::Durable,
            move |connection| {
                Box::pin(async move {
                    let required: Vec<Digest> = put
                        .refs
                        .iter()
                        .filter(|edge| edge.required)
                        .map(|edge| edge.digest)
                        .collect();
                    let found = repositories::find(connection, &put.repo).await?;
                    let missing = match found {
                        Some(repo) => blobs::missing(connection, repo.id, &required).await?,
                        None => required,
                    };
                    if !missing.is_empty() {
                        return Ok(PutOutcome::BlobsMissing(missing));
                    }
                    let repo_id = repositories::ensure(connection, &put.repo).await?;
                    if insert_manifest(connection, repo_id, &put).await? {
                        insert_refs(connection, repo_id, &put).await?;
                    }
                    for tag in &put.tags {
                        set_tag(connection, repo_id, tag, &put.digest, &put.actor).await?;
                    }
                    query("UPDATE repositories SET last_push_at = $2 WHERE id = $1")
                        .bind(repo_id.0)
                        .bind(now_micros())
                        .execute(&mut *connection)
                        .await?;
                    Ok(PutOutcome::Stored)
                })
            },
            forget,
        )
        .await
    }

    pub(crate) async fn manifest_by_tag(
        &self,
        repo: &Repository,
        tag: &Tag,
    ) -> Result<Option<Arc<ManifestRow>>, DbError> {
        let epoch = match self.manifests.by_tag(repo, tag) {
            Ok(known) => return Ok(Some(known)),
            Err(epoch) => epoch,
        };
        let mut connection = self.read().await?;
        let row = query(
            "SELECT m.digest, m.media_type, m.payload FROM repositories r \
             JOIN tags t ON t.repo_id = r.id AND t.name = $2 \
             JOIN manifests m ON m.repo_id = r.id AND m.digest = t.digest WHERE r.path = $1",
        )
        .bind(repo.as_str())
        .bind(tag.as_str())
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let found = Arc::new(read_row(&row)?);
        self.manifests.keep(epoch, repo, Some(tag), &found);
        Ok(Some(found))
    }

    pub(crate) async fn manifest_by_digest(
        &self,
        repo: &Repository,
        digest: &Digest,
    ) -> Result<Option<Arc<ManifestRow>>, DbError> {
        let epoch = match self.manifests.by_digest(repo, digest) {
            Ok(known) => return Ok(Some(known)),
            Err(epoch) => epoch,
        };
        let mut connection = self.read().await?;
        let row = query(
            "SELECT m.digest, m.media_type, m.payload FROM repositories r \
             JOIN manifests m ON m.repo_id = r.id AND m.digest = $2 WHERE r.path = $1",
        )
        .bind(repo.as_str())
        .bind(digest.to_column())
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let found = Arc::new(read_row(&row)?);
        self.manifests.keep(epoch, repo, None, &found);
        Ok(Some(found))
    }

    /// For [`Database::write_then`]: forgets what is known of `repo`.
    fn forgetting(&self, repo: &Repository) -> Box<dyn FnOnce() + Send> {
        let (manifests, repo) = (Arc::clone(&self.manifests), repo.clone());
        Box::new(move || manifests.forget(&repo))
    }

    /// Removes a tag and nothing else; `false` when it was not there.
    pub(crate) async fn delete_tag(
        &self,
        repo: Repository,
        tag: Tag,
        actor: String,
    ) -> Result<bool, DbError> {
        let forget = self.forgetting(&repo);
        self.write_then(
            Durability::Durable,
            move |connection| {
                Box::pin(async move {
                    let Some(found) = repositories::find(connection, &repo).await? else {
                        return Ok(false);
                    };
                    let done = query("DELETE FROM tags WHERE repo_id = $1 AND name = $2")
                        .bind(found.id.0)
                        .bind(tag.as_str())
                        .execute(&mut *connection)
                        .await?;
                    if done == 0 {
                        return Ok(false);
                    }
                    record(connection, found.id, tag.as_str(), None, &actor).await?;
                    Ok(true)
                })
            },
            forget,
        )
        .await
    }

    /// Removes a manifest, its edges and every tag that names it; `false` when absent.
    pub(crate) async fn delete_manifest(
        &self,
        repo: Repository,
        digest: Digest,
        actor: String,
    ) -> Result<bool, DbError> {
        let forget = self.forgetting(&repo);
        self.write_then(
            Durability::Durable,
            move |connection| {
                Box::pin(async move {
                    let Some(found) = repositories::find(connection, &repo).await? else {
                        return Ok(false);
                    };
                    let column = digest.to_column();
                    let done = query("DELETE FROM manifests WHERE repo_id = $1 AND digest = $2")
                        .bind(found.id.0)
                        .bind(&column)
                        .execute(&mut *connection)
                        .await?;
                    if done == 0 {
                        return Ok(false);
                    }
                    query("DELETE FROM manifest_refs WHERE repo_id = $1 AND parent_digest = $2")
                        .bind(found.id.0)
                        .bind(&column)
                        .execute(&mut *connection)
                        .await?;
                    let tags =
                        query("DELETE FROM tags WHERE repo_id = $1 AND digest = $2 RETURNING name")
                            .bind(found.id.0)
                            .bind(&column)
                            .fetch_all(&mut *connection)
                            .await?;
                    for tag in tags {
                        record(connection, found.id, tag.get(0)?, None, &actor).await?;
                    }
                    Ok(true)
                })
            },
            forget,
        )
        .await
    }
}

/// `false` when the repository has this manifest already.
async fn insert_manifest(
    connection: &mut dyn Connection,
    repo_id: RepoId,
    put: &ManifestPut,
) -> Result<bool, DbError> {
    let config = put.refs.iter().find(|edge| edge.kind == "config");
    let done = query(
        "INSERT INTO manifests (id, repo_id, digest, media_type, artifact_type, payload, \
         config_digest, subject_digest, annotations, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (repo_id, digest) DO NOTHING",
    )
    .bind(next_id())
    .bind(repo_id.0)
    .bind(put.digest.to_column())
    .bind(&put.media_type)
    .bind(put.artifact_type.as_deref())
    .bind(&put.payload)
    .bind(config.map(|edge| edge.digest.to_column()))
    .bind(put.subject.as_ref().map(Digest::to_column))
    .bind(put.annotations.as_deref())
    .bind(now_micros())
    .execute(connection)
    .await?;
    Ok(done > 0)
}

async fn insert_refs(
    connection: &mut dyn Connection,
    repo_id: RepoId,
    put: &ManifestPut,
) -> Result<(), DbError> {
    let parent = put.digest.to_column();
    let mut position = 0i64;
    for chunk in put.refs.chunks(REFS_PER_INSERT) {
        let text = format!(
            "INSERT INTO manifest_refs \
             (repo_id, parent_digest, position, kind, child_digest, size_bytes) VALUES {} \
             ON CONFLICT (repo_id, parent_digest, position) DO NOTHING",
            placeholders(chunk.len(), 6)
        );
        let mut statement = query(text);
        for edge in chunk {
            statement = statement
                .bind(repo_id.0)
                .bind(&parent)
                .bind(position)
                .bind(edge.kind)
                .bind(edge.digest.to_column())
                .bind(i64::try_from(edge.size_bytes).unwrap_or(i64::MAX));
            position += 1;
        }
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn set_tag(
    connection: &mut dyn Connection,
    repo_id: RepoId,
    tag: &Tag,
    digest: &Digest,
    actor: &str,
) -> Result<(), DbError> {
    query(
        "INSERT INTO tags (repo_id, name, digest, created_at, updated_at, updated_by) \
         VALUES ($1, $2, $3, $4, $4, $5) \
         ON CONFLICT (repo_id, name) DO UPDATE SET digest = $3, updated_at = $4, updated_by = $5",
    )
    .bind(repo_id.0)
    .bind(tag.as_str())
    .bind(digest.to_column())
    .bind(now_micros())
    .bind(actor)
    .execute(&mut *connection)
    .await?;
    record(connection, repo_id, tag.as_str(), Some(digest), actor).await
}

/// Appends to the tag's history; no digest means it was deleted.
async fn record(
    connection: &mut dyn Connection,
    repo_id: RepoId,
    tag: &str,
    digest: Option<&Digest>,
    actor: &str,
) -> Result<(), DbError> {
    query(
        "INSERT INTO tag_history (id, repo_id, name, digest, at, actor) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(next_id())
    .bind(repo_id.0)
    .bind(tag)
    .bind(digest.map(Digest::to_column))
    .bind(now_micros())
    .bind(actor)
    .execute(connection)
    .await?;
    Ok(())
}

fn read_row(row: &Row) -> Result<ManifestRow, DbError> {
    Ok(ManifestRow {
        digest: Digest::from_column(row.get(0)?).ok_or(DbError::Unreadable("manifest digest"))?,
        media_type: row.get(1)?,
        payload: row.get::<Vec<u8>>(2)?.into(),
    })
}

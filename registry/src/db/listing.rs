//! Lists in pages: tags and referrers.

use oci::{Digest, Repository};

use super::{Database, DbError, query::query};

/// A page of a list in byte order: what comes after `last`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Empty for the first page.
    pub(crate) last: String,
    pub(crate) limit: i64,
}

/// A manifest whose `subject` was asked for.
#[derive(Clone, Debug)]
pub(crate) struct ReferrerRow {
    /// Sorts by arrival; the key of the next page.
    pub(crate) id: i64,
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) artifact_type: Option<String>,
    /// JSON object.
    pub(crate) annotations: Option<String>,
    pub(crate) size_bytes: u64,
}

impl Database {
    /// Tags of `repo`; `None` when there is no such repository.
    pub(crate) async fn tag_names(
        &self,
        repo: &Repository,
        page: &Page,
    ) -> Result<Option<Vec<String>>, DbError> {
        let mut connection = self.read().await?;
        let found = super::repositories::find(&mut *connection, repo).await?;
        let Some(found) = found else { return Ok(None) };
        let rows =
            query("SELECT name FROM tags WHERE repo_id = $1 AND name > $2 ORDER BY name LIMIT $3")
                .bind(found.id.0)
                .bind(&page.last)
                .bind(page.limit)
                .fetch_all(&mut *connection)
                .await?;
        rows.iter()
            .map(|row| row.get(0))
            .collect::<Result<_, DbError>>()
            .map(Some)
    }

    /// Manifests of `repo` that name `subject`, after the row `after`.
    pub(crate) async fn referrers(
        &self,
        repo: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: i64,
        limit: i64,
    ) -> Result<Vec<ReferrerRow>, DbError> {
        let mut connection = self.read().await?;
        let rows = query(
            "SELECT m.id, m.digest, m.media_type, m.artifact_type, m.annotations, \
             LENGTH(m.payload) FROM repositories r \
             JOIN manifests m ON m.repo_id = r.id AND m.subject_digest = $2 AND m.id > $3 \
             WHERE r.path = $1 AND ($4 = '' OR m.artifact_type = $4) ORDER BY m.id LIMIT $5",
        )
        .bind(repo.as_str())
        .bind(subject.to_column())
        .bind(after)
        .bind(artifact_type.unwrap_or(""))
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(ReferrerRow {
                    id: row.get(0)?,
                    digest: Digest::from_column(row.get(1)?)
                        .ok_or(DbError::Unreadable("manifest digest"))?,
                    media_type: row.get(2)?,
                    artifact_type: row.get(3)?,
                    annotations: row.get(4)?,
                    size_bytes: u64::try_from(row.get::<i64>(5)?).unwrap_or(0),
                })
            })
            .collect()
    }
}

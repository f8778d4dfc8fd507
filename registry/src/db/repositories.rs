//! Organisations and repositories.

use oci::Repository;

use super::{
    Database, DbError, Page, next_id, now_micros,
    query::{Connection, query},
};

/// A repository's immutable id: what it is bound to when a name is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RepoId(pub(crate) i64);

/// Who may pull without a role in the organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    Private,
    /// Anybody, also without login.
    Public,
}

impl Visibility {
    fn parse(text: &str) -> Result<Self, DbError> {
        match text {
            "private" => Ok(Self::Private),
            "public" => Ok(Self::Public),
            _ => Err(DbError::Unreadable("repository visibility")),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RepoRow {
    pub(crate) id: RepoId,
    pub(crate) visibility: Visibility,
}

impl Database {
    pub(crate) async fn repository(&self, name: &Repository) -> Result<Option<RepoRow>, DbError> {
        let mut connection = self.read().await?;
        find(&mut *connection, name).await
    }

    /// Names of repositories after `page.last`, in byte order.
    pub(crate) async fn repository_names(&self, page: &Page) -> Result<Vec<String>, DbError> {
        let mut connection = self.read().await?;
        let rows = query("SELECT path FROM repositories WHERE path > $1 ORDER BY path LIMIT $2")
            .bind(&page.last)
            .bind(page.limit)
            .fetch_all(&mut *connection)
            .await?;
        rows.iter().map(|row| row.get(0)).collect()
    }
}

pub(super) async fn find(
    connection: &mut dyn Connection,
    name: &Repository,
) -> Result<Option<RepoRow>, DbError> {
    let row = query("SELECT id, visibility FROM repositories WHERE path = $1")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        Ok(RepoRow {
            id: RepoId(row.get(0)?),
            visibility: Visibility::parse(row.get(1)?)?,
        })
    })
    .transpose()
}

/// The repository's id; it and its organisation are made when they are not there.
pub(super) async fn ensure(
    connection: &mut dyn Connection,
    name: &Repository,
) -> Result<RepoId, DbError> {
    if let Some(found) = find(connection, name).await? {
        return Ok(found.id);
    }
    let now = now_micros();
    query(
        "INSERT INTO orgs (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
    )
    .bind(next_id())
    .bind(name.organisation())
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let id = next_id();
    query(
        "INSERT INTO repositories (id, org_id, path, visibility, created_at, last_push_at) \
         SELECT $1, id, $2, 'private', $3, $3 FROM orgs WHERE name = $4",
    )
    .bind(id)
    .bind(name.as_str())
    .bind(now)
    .bind(name.organisation())
    .execute(&mut *connection)
    .await?;
    Ok(RepoId(id))
}

//! Database errors by what the caller can do; the one place that reads codes.

use std::sync::Arc;

/// Why a query failed. Clones share the cause, since one failed commit fails many.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DbError {
    /// No space left for the database: free some, then try again.
    #[error("the registry's database has no space left")]
    Full(#[source] Arc<sqlx::Error>),
    /// A unique key exists already.
    #[error("the row exists already")]
    Conflict(#[source] Arc<sqlx::Error>),
    /// The writer is stopped or broken; the process must be restarted.
    #[error("the registry's database is closed")]
    Closed,
    /// A column holds what this release cannot read.
    #[error("the database holds an unreadable {0}")]
    Unreadable(&'static str),
    #[error("database error")]
    Other(#[source] Arc<sqlx::Error>),
    #[error("database migration failed")]
    Migrate(#[source] Arc<sqlx::migrate::MigrateError>),
}

/// SQLite result codes (sqlite.org/rescode.html).
const SQLITE_FULL: &str = "13";
const SQLITE_CONSTRAINT_PRIMARYKEY: &str = "1555";
const SQLITE_CONSTRAINT_UNIQUE: &str = "2067";

/// PostgreSQL error codes (its manual, appendix A), which are five characters.
const POSTGRES_UNIQUE_VIOLATION: &str = "23505";
const POSTGRES_DISK_FULL: &str = "53100";

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        let code = match &error {
            sqlx::Error::Database(database) => database.code().map(|code| code.into_owned()),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => return Self::Closed,
            _ => None,
        };
        let error = Arc::new(error);
        match code.as_deref() {
            Some(SQLITE_FULL | POSTGRES_DISK_FULL) => Self::Full(error),
            Some(
                SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_UNIQUE | POSTGRES_UNIQUE_VIOLATION,
            ) => Self::Conflict(error),
            _ => Self::Other(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for DbError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::Migrate(Arc::new(error))
    }
}

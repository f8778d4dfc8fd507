//! The builder's database, and all SQL of this crate.
//!
//! Owns `builder.db`: the build queue and history, the events, the step cache
//! and the known compressed layers. SQLite in WAL mode. Two handles on one
//! file: the *durable* one syncs each commit (what a client was promised), the
//! other does not (what can be made again); since the log is one file, a
//! durable commit also makes every earlier commit durable. After a crash the
//! log is replayed up to the last whole transaction.

mod blobs;
mod builds;
mod cache;
mod events;
mod retention;
mod tokens;

use std::path::Path;

use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub(crate) use blobs::LayerBlob;
pub(crate) use builds::{BuildRow, NewBuild};
pub(crate) use cache::{CacheRecord, NewRecord};
pub(crate) use events::StoredEvent;
pub(crate) use retention::OldRecord;

/// Readers and the unsynced writer share this many connections: more would
/// only queue on SQLite's single writer.
const CONNECTIONS_MAX: u32 = 4;

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("builder database: query failed")]
    Query(#[from] sqlx::Error),
    #[error("builder database: cannot bring the schema up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("builder database: column {column} holds {value:?}, which this version cannot read")]
    Corrupt { column: &'static str, value: String },
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Db {
    pool: SqlitePool,
    durable: SqlitePool,
}

impl Db {
    /// Opens or creates the database and brings its schema up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, DbError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .foreign_keys(true)
            .busy_timeout(std::time::Duration::from_secs(10))
            // Every statement of every event, even at debug level, is noise.
            .disable_statement_logging();
        let durable = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone().synchronous(SqliteSynchronous::Full))
            .await?;
        sqlx::migrate!("../migrations/builder")
            .run(&durable)
            .await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .connect_with(options.synchronous(SqliteSynchronous::Normal))
            .await?;
        Ok(Self { pool, durable })
    }

    /// Checkpoints and closes both handles.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
        self.durable.close().await;
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let nanos = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX)
}

/// A JSON column's text; the types written here always serialise.
fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("API types have string keys only, so they serialise")
}

fn from_json<T: serde::de::DeserializeOwned>(
    column: &'static str,
    text: &str,
) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|_| DbError::Corrupt {
        column,
        value: text.chars().take(160).collect(),
    })
}

#[cfg(test)]
#[path = "db/tests.rs"]
mod tests;

//! The engine's database: `engine.db`, SQLite in WAL mode.
//!
//! Holds what the user asked for (desired configuration) and the last state
//! that was seen. After a crash the state is only a hint: the monitors and
//! their `exit.json` files are the truth, and opening the engine asks them.
//! All SQL of this crate is below this module.

mod containers;
mod images;
mod meta;
mod orphans;
mod volumes;

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub(crate) use containers::{ContainerRow, NetworkRow, StateRow};
pub(crate) use images::{ImageRow, LayerRow, NewImage};
pub(crate) use orphans::Origin;
pub(crate) use volumes::{VolumeRemoval, VolumeRow};

/// Connections at once: one writes, the others answer lists meanwhile.
const CONNECTIONS_MAX: u32 = 4;

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Db {
    pool: SqlitePool,
    /// Of one connection, whose commits are on disk when they return: for what
    /// the user is told to exist. A row that a power cut took away would have
    /// the files that belong to it swept as left-overs.
    durable: SqlitePool,
}

impl Db {
    /// Opens or creates the file and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, or was written by a newer version.
    pub(crate) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Survives a crash of the process; a power cut may lose the last
            // states, which the state directories then correct.
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("../migrations/engine").run(&pool).await?;
        let durable = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.synchronous(SqliteSynchronous::Full))
            .await?;
        Ok(Self { pool, durable })
    }

    pub(crate) async fn close(&self) {
        self.durable.close().await;
        self.pool.close().await;
    }
}

/// A JSON column that this crate wrote itself.
fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

#[cfg(test)]
#[path = "db/tests.rs"]
mod tests;

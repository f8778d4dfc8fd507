//! The SQLite backend: one writing connection and a few readers, of one process.

use std::{path::Path, time::Duration};

use futures_util::future::BoxFuture;
use sqlx::{
    Column, ConnectOptions, Connection as _, Row as _, Sqlite, SqliteConnection, SqlitePool,
    TypeInfo, ValueRef,
    pool::PoolConnection,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};

use super::{
    DbError,
    database::{Backend, Durability, Writer},
    query::{Answer, Connection, Query, Row, Value, query, run_statement},
};

/// Reading connections. Each is a thread; point reads take tens of microseconds.
const READERS: u32 = 4;

pub(super) static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/registry");

/// Opens or creates the file and brings its schema up to date.
///
/// # Errors
/// When the file cannot be opened, is damaged, or is of a newer release.
pub(super) async fn open(file: &Path) -> Result<(Box<dyn Backend>, Box<dyn Writer>), DbError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        // A larger WAL between checkpoints: each checkpoint costs two fsyncs.
        .pragma("wal_autocheckpoint", "4000")
        // 2 MiB for each connection; the kernel's page cache holds the rest.
        .pragma("cache_size", "-2000")
        // Undo records of savepoints and sorts stay in memory: the process that
        // faces the network may not write to a temporary directory.
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging();
    let mut connection = SqliteConnection::connect_with(&options).await?;
    MIGRATIONS.run(&mut connection).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .min_connections(1)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.read_only(true))
        .await?;
    let writer = SqliteWriter {
        connection,
        synchronous: Durability::Durable,
    };
    Ok((Box::new(SqliteBackend { readers }), Box::new(writer)))
}

#[derive(Debug)]
struct SqliteBackend {
    readers: SqlitePool,
}

impl Backend for SqliteBackend {
    fn reader(&self) -> BoxFuture<'_, Result<Box<dyn Connection>, DbError>> {
        Box::pin(async move {
            let connection = self.readers.acquire().await?;
            Ok(Box::new(connection) as Box<dyn Connection>)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.readers.close())
    }
}

struct SqliteWriter {
    connection: SqliteConnection,
    /// What `PRAGMA synchronous` is set for.
    synchronous: Durability,
}

impl Writer for SqliteWriter {
    fn begin(&mut self, durability: Durability) -> BoxFuture<'_, Result<(), DbError>> {
        Box::pin(async move {
            if self.synchronous != durability {
                let pragma = match durability {
                    Durability::Durable => "PRAGMA synchronous = FULL",
                    Durability::Lazy => "PRAGMA synchronous = NORMAL",
                };
                query(pragma).execute(self).await?;
                self.synchronous = durability;
            }
            query("BEGIN IMMEDIATE").execute(self).await?;
            Ok(())
        })
    }

    /// The WAL is folded into the file.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Err(error) = self.connection.close().await {
                tracing::warn!(%error, "closing the database failed");
            }
        })
    }
}

impl Connection for SqliteWriter {
    fn run<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<Answer, DbError>> {
        Box::pin(run(&mut self.connection, query))
    }
}

impl Connection for PoolConnection<Sqlite> {
    fn run<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<Answer, DbError>> {
        Box::pin(run(self, query))
    }
}

async fn run(connection: &mut SqliteConnection, query: Query<'_>) -> Result<Answer, DbError> {
    run_statement!(connection, query, read)
}

fn read(row: &SqliteRow) -> Result<Row, DbError> {
    let column = |column: &sqlx::sqlite::SqliteColumn| {
        let index = column.ordinal();
        let raw = row.try_get_raw(index)?;
        let kind = raw.type_info();
        Ok(match kind.name() {
            "TEXT" => Value::Text(row.try_get::<Option<String>, _>(index)?.map(Into::into)),
            "BLOB" => Value::Bytes(row.try_get::<Option<Vec<u8>>, _>(index)?.map(Into::into)),
            _ => Value::Integer(row.try_get(index)?),
        })
    };
    Ok(Row(row
        .columns()
        .iter()
        .map(column)
        .collect::<Result<_, DbError>>()?))
}

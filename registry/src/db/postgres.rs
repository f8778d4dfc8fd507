//! The PostgreSQL backend. Only tests open it yet: they hold that every query
//! and the schema mean the same there, so that serving it is a matter of
//! settings and of running several registries.

use futures_util::future::BoxFuture;
use sqlx::{
    Column, Connection as _, Executor, PgConnection, PgPool, Postgres, Row as _, TypeInfo,
    migrate::{Migrate, Migrator},
    pool::PoolConnection,
    postgres::{PgColumn, PgConnectOptions, PgPoolOptions, PgRow},
};

use super::{
    DbError,
    database::{Backend, Durability, Writer},
    query::{Answer, Connection, Query, Row, Value, query, run_statement},
    sqlite::MIGRATIONS,
};

/// The registry's own schema. The migrations are SQLite's text, so two names
/// mean something else in here: BLOB, which PostgreSQL lacks, and TEXT, which
/// must compare by bytes for lists and pages to be in the same order everywhere.
const SCHEMA: [&str; 3] = [
    "CREATE SCHEMA registry",
    "CREATE DOMAIN registry.blob AS bytea",
    r#"CREATE DOMAIN registry.text AS pg_catalog.text COLLATE "C""#,
];

/// Taken by every writing transaction: one writes at a time, on however many hosts.
const WRITER_LOCK: i64 = 0x6361_7272_6163_6b00;

/// Opens the database and brings its schema up to date.
pub(super) async fn open(
    options: PgConnectOptions,
) -> Result<(Box<dyn Backend>, Box<dyn Writer>), DbError> {
    let options = options.options([("search_path", "registry,pg_catalog")]);
    let mut connection = PgConnection::connect_with(&options).await?;
    migrate(&mut connection, &MIGRATIONS).await?;
    let readers = PgPoolOptions::new()
        .max_connections(4)
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    Ok((
        Box::new(PgBackend { readers }),
        Box::new(PgWriter { connection }),
    ))
}

/// Runs the migrations that are new, each beginner waiting for the one before it.
async fn migrate(connection: &mut PgConnection, migrations: &Migrator) -> Result<(), DbError> {
    connection.lock().await?;
    let there = sqlx::query("SELECT 1 FROM pg_namespace WHERE nspname = 'registry'")
        .fetch_optional(&mut *connection)
        .await?;
    if there.is_none() {
        let mut transaction = connection.begin().await?;
        for statement in SCHEMA {
            transaction.execute(statement).await?;
        }
        transaction.commit().await?;
    }
    connection.unlock().await?;
    migrations.run(connection).await?;
    Ok(())
}

#[derive(Debug)]
struct PgBackend {
    readers: PgPool,
}

impl Backend for PgBackend {
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

struct PgWriter {
    connection: PgConnection,
}

impl Writer for PgWriter {
    fn begin(&mut self, durability: Durability) -> BoxFuture<'_, Result<(), DbError>> {
        Box::pin(async move {
            query("BEGIN").execute(self).await?;
            let synchronous = match durability {
                Durability::Durable => "SET LOCAL synchronous_commit = on",
                Durability::Lazy => "SET LOCAL synchronous_commit = off",
            };
            query(synchronous).execute(self).await?;
            query("SELECT pg_advisory_xact_lock($1)")
                .bind(WRITER_LOCK)
                .execute(self)
                .await?;
            Ok(())
        })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Err(error) = self.connection.close().await {
                tracing::warn!(%error, "closing the database failed");
            }
        })
    }
}

impl Connection for PgWriter {
    fn run<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<Answer, DbError>> {
        Box::pin(run(&mut self.connection, query))
    }
}

impl Connection for PoolConnection<Postgres> {
    fn run<'a>(&'a mut self, query: Query<'a>) -> BoxFuture<'a, Result<Answer, DbError>> {
        Box::pin(run(self, query))
    }
}

async fn run(connection: &mut PgConnection, query: Query<'_>) -> Result<Answer, DbError> {
    run_statement!(connection, query, read)
}

fn read(row: &PgRow) -> Result<Row, DbError> {
    let column = |column: &PgColumn| {
        let index = column.ordinal();
        let wide = |integer: Option<i32>| integer.map(i64::from);
        Ok(match column.type_info().name() {
            "BYTEA" => Value::Bytes(row.try_get::<Option<Vec<u8>>, _>(index)?.map(Into::into)),
            "INT8" => Value::Integer(row.try_get(index)?),
            "INT4" => Value::Integer(wide(row.try_get(index)?)),
            "INT2" => Value::Integer(row.try_get::<Option<i16>, _>(index)?.map(i64::from)),
            "VOID" => Value::Integer(None),
            _ => Value::Text(row.try_get::<Option<String>, _>(index)?.map(Into::into)),
        })
    };
    Ok(Row(row
        .columns()
        .iter()
        .map(column)
        .collect::<Result<_, DbError>>()?))
}

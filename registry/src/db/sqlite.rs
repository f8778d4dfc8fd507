//! The SQLite backend: one writer task that commits in groups, and a few readers.
//!
//! Every write is a closure that runs inside a savepoint of the current batch.
//! A batch is committed once and its callers are answered only then, so under
//! load one fsync pays for many requests. A batch in which nobody needs
//! durability (upload sessions, which a client restarts anyway) is committed
//! without fsync; a later durable commit syncs it along.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
};

use super::{DbError, cache::ManifestCache};

/// Writes that wait at most; beyond it callers wait in their own tasks.
const QUEUE_MAX: usize = 1024;
/// Writes in one commit: bounds how long the first of them waits for the last.
const BATCH_MAX: usize = 128;
/// Reading connections. Each is a thread; point reads take tens of microseconds.
const READERS: u32 = 4;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/registry");

/// Whether a commit must survive the loss of power before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The answer promises it: fsync before the answer.
    Durable,
    /// Losing it costs the client a retry at most. A killed process loses nothing.
    Lazy,
}

type Run =
    Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<(), DbError>> + Send>;

/// Runs after the commit, before anybody is told of it.
type After = Box<dyn FnOnce() + Send>;

struct Job {
    durability: Durability,
    run: Run,
    after: After,
    done: oneshot::Sender<Result<(), DbError>>,
}

/// The registry's database.
#[derive(Debug)]
pub(crate) struct Database {
    pub(super) manifests: Arc<ManifestCache>,
    readers: SqlitePool,
    queue: mpsc::Sender<Job>,
    writer: Mutex<Option<JoinHandle<()>>>,
    stop: tokio_util::sync::CancellationToken,
}

impl Database {
    /// Opens or creates the file and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or is of a newer release.
    pub(crate) async fn open(file: &Path) -> Result<Self, DbError> {
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
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let stop = tokio_util::sync::CancellationToken::new();
        let writer = tokio::spawn(write_loop(connection, jobs, stop.clone()));
        Ok(Self {
            manifests: Arc::default(),
            readers,
            queue,
            writer: Mutex::new(Some(writer)),
            stop,
        })
    }

    /// Runs `change` in a transaction and returns its value after the commit.
    ///
    /// # Cancellation
    /// Dropping the future may still let the change commit.
    pub(crate) async fn write<T, F>(&self, durability: Durability, change: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, DbError>>
            + Send
            + 'static,
    {
        self.write_then(durability, change, Box::new(|| {})).await
    }

    /// As [`Database::write`]; `after` runs once the change is committed and before
    /// anybody hears of it, also when the caller is gone.
    pub(super) async fn write_then<T, F>(
        &self,
        durability: Durability,
        change: F,
        after: After,
    ) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, DbError>>
            + Send
            + 'static,
    {
        let (value_sender, mut value) = oneshot::channel();
        let (done, committed) = oneshot::channel();
        let run: Run = Box::new(move |connection| {
            let change = change(connection);
            Box::pin(async move {
                let value = change.await?;
                // The caller may be gone; the change stands all the same.
                drop(value_sender.send(value));
                Ok(())
            })
        });
        let job = Job {
            durability,
            run,
            after,
            done,
        };
        self.queue.send(job).await.map_err(|_| DbError::Closed)?;
        committed.await.map_err(|_| DbError::Closed)??;
        value.try_recv().map_err(|_| DbError::Closed)
    }

    /// A connection that only reads.
    pub(crate) async fn read(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, DbError> {
        Ok(self.readers.acquire().await?)
    }

    /// Commits what is queued, then closes; the WAL is folded into the file.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        if let Some(writer) = self.writer.lock().await.take()
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the database writer ended abnormally");
        }
        self.readers.close().await;
    }
}

async fn write_loop(
    mut connection: SqliteConnection,
    mut jobs: mpsc::Receiver<Job>,
    stop: tokio_util::sync::CancellationToken,
) {
    let mut current = Durability::Durable;
    loop {
        let first = tokio::select! {
            biased;
            job = jobs.recv() => job,
            () = stop.cancelled() => None,
        };
        let Some(first) = first else { break };
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        run_batch(&mut connection, batch, &mut current).await;
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "closing the database failed");
    }
}

/// Runs a batch in one transaction and answers every caller after its commit.
async fn run_batch(connection: &mut SqliteConnection, batch: Vec<Job>, current: &mut Durability) {
    let durable = batch
        .iter()
        .any(|job| job.durability == Durability::Durable);
    let wanted = match durable {
        true => Durability::Durable,
        false => Durability::Lazy,
    };
    let mut waiting = Vec::with_capacity(batch.len());
    let outcome = async {
        if *current != wanted {
            let pragma = match wanted {
                Durability::Durable => "PRAGMA synchronous = FULL",
                Durability::Lazy => "PRAGMA synchronous = NORMAL",
            };
            sqlx::query(pragma).execute(&mut *connection).await?;
            *current = wanted;
        }
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut *connection)
            .await?;
        for job in batch {
            sqlx::query("SAVEPOINT job")
                .execute(&mut *connection)
                .await?;
            match (job.run)(connection).await {
                Ok(()) => {
                    sqlx::query("RELEASE job").execute(&mut *connection).await?;
                    waiting.push((job.after, job.done));
                }
                Err(error) => {
                    drop(job.done.send(Err(error)));
                    sqlx::query("ROLLBACK TO job")
                        .execute(&mut *connection)
                        .await?;
                    sqlx::query("RELEASE job").execute(&mut *connection).await?;
                }
            }
        }
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        Ok::<(), sqlx::Error>(())
    }
    .await;
    let outcome = outcome.map_err(|error| {
        tracing::error!(%error, "a commit failed; its writes are undone");
        DbError::from(error)
    });
    if outcome.is_err() {
        // Fails when SQLite rolled back by itself, as it does on a full disk.
        drop(sqlx::query("ROLLBACK").execute(&mut *connection).await);
    }
    for (after, done) in waiting {
        if outcome.is_ok() {
            after();
        }
        drop(done.send(outcome.clone()));
    }
}

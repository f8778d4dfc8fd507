//! The registry's database, whichever backend holds it: readers, and one writer
//! task that commits in groups.
//!
//! Every write is a closure that runs inside a savepoint of the current batch.
//! A batch is committed once and its callers are answered only then, so under
//! load one fsync pays for many requests. A batch in which nobody needs
//! durability (upload sessions, which a client restarts anyway) is committed
//! without fsync; a later durable commit syncs it along.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    DbError,
    cache::ManifestCache,
    query::{Connection, query},
    sqlite,
};
use crate::config::DatabaseUrl;

/// Writes that wait at most; beyond it callers wait in their own tasks.
const QUEUE_MAX: usize = 1024;
/// Writes in one commit: bounds how long the first of them waits for the last.
const BATCH_MAX: usize = 128;

/// Whether a commit must survive the loss of power before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The answer promises it: fsync before the answer.
    Durable,
    /// Losing it costs the client a retry at most. A killed process loses nothing.
    Lazy,
}

/// What differs between databases on the reading side.
pub(super) trait Backend: fmt::Debug + Send + Sync {
    /// A connection that only reads.
    fn reader(&self) -> BoxFuture<'_, Result<Box<dyn Connection>, DbError>>;

    /// Closes what readers use, once no write runs any more.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What differs between databases on the writing side.
pub(super) trait Writer: Connection {
    /// Begins a transaction beside which no other writes, in this process or any
    /// other, so that what it reads stays true until its end.
    fn begin(&mut self, durability: Durability) -> BoxFuture<'_, Result<(), DbError>>;

    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

type Run =
    Box<dyn for<'c> FnOnce(&'c mut dyn Connection) -> BoxFuture<'c, Result<(), DbError>> + Send>;

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
    backend: Box<dyn Backend>,
    queue: mpsc::Sender<Job>,
    writer: Mutex<Option<JoinHandle<()>>>,
    stop: CancellationToken,
}

impl Database {
    /// Opens or creates the database and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, or is of a newer release.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, DbError> {
        let (backend, writer) = match url {
            DatabaseUrl::Sqlite(file) => sqlite::open(file).await?,
        };
        Ok(Self::start(backend, writer))
    }

    /// Serves an open backend.
    pub(super) fn start(backend: Box<dyn Backend>, writer: Box<dyn Writer>) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let stop = CancellationToken::new();
        let writer = tokio::spawn(write_loop(writer, jobs, stop.clone()));
        Self {
            manifests: Arc::default(),
            backend,
            queue,
            writer: Mutex::new(Some(writer)),
            stop,
        }
    }

    /// Runs `change` in a transaction and returns its value after the commit.
    ///
    /// # Cancellation
    /// Dropping the future may still let the change commit.
    pub(crate) async fn write<T, F>(&self, durability: Durability, change: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut dyn Connection) -> BoxFuture<'c, Result<T, DbError>>
            + Send
            + 'static,
    {
        self.write_then(durability, change, Box::new(|| {})).await
    }

    /// As [`Database::write`]; `after` runs before anybody hears how the change
    /// went, also when the caller is gone, unless the change itself failed.
    pub(super) async fn write_then<T, F>(
        &self,
        durability: Durability,
        change: F,
        after: After,
    ) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut dyn Connection) -> BoxFuture<'c, Result<T, DbError>>
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
    pub(crate) async fn read(&self) -> Result<Box<dyn Connection>, DbError> {
        self.backend.reader().await
    }

    /// Commits what is queued, then closes.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        if let Some(writer) = self.writer.lock().await.take()
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the database writer ended abnormally");
        }
        self.backend.close().await;
    }
}

async fn write_loop(
    mut writer: Box<dyn Writer>,
    mut jobs: mpsc::Receiver<Job>,
    stop: CancellationToken,
) {
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
        run_batch(writer.as_mut(), batch).await;
    }
    writer.close().await;
}

/// Runs a batch in one transaction and answers every caller after its commit.
async fn run_batch(writer: &mut dyn Writer, batch: Vec<Job>) {
    let durable = |job: &Job| job.durability == Durability::Durable;
    let durability = match batch.iter().any(durable) {
        true => Durability::Durable,
        false => Durability::Lazy,
    };
    let mut waiting = Vec::with_capacity(batch.len());
    let outcome = async {
        writer.begin(durability).await?;
        for job in batch {
            query("SAVEPOINT job").execute(writer).await?;
            match (job.run)(writer).await {
                Ok(()) => {
                    query("RELEASE SAVEPOINT job").execute(writer).await?;
                    waiting.push((job.after, job.done));
                }
                Err(error) => {
                    drop(job.done.send(Err(error)));
                    query("ROLLBACK TO SAVEPOINT job").execute(writer).await?;
                    query("RELEASE SAVEPOINT job").execute(writer).await?;
                }
            }
        }
        query("COMMIT").execute(writer).await?;
        Ok::<(), DbError>(())
    }
    .await;
    if let Err(error) = &outcome {
        tracing::error!(%error, "a commit failed; its writes are undone");
        // Fails when the backend rolled back by itself, as SQLite does on a full disk.
        drop(query("ROLLBACK").execute(writer).await);
    }
    for (after, done) in waiting {
        // Also after a failure: a connection that broke may hide a commit.
        after();
        drop(done.send(outcome.clone()));
    }
}

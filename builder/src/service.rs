//! The build service: requests become rows, workers turn rows into images.
//!
//! Owns the build queue, the contexts and the running builds. A build is
//! acknowledged once its context and its row are on disk; from then on it
//! reaches exactly one ended state, whatever happens to the client or to this
//! process: what was running when the process ended is queued again, and the
//! steps it had finished are found in the cache.

mod contexts;
mod error;
mod follow;
mod http;
mod job;
mod live;
mod options;
mod recorder;
mod retention;
mod state;
mod token_key;
mod transcript;
mod worker;

use std::{
    collections::{HashMap, HashSet},
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body};
use builder_proto::api::{BuildFailure, BuildOptions, BuildState, Event};
use runtime::host::Host;
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    contexts::Contexts,
    error::ApiError,
    live::Live,
    retention::Retention,
    state::{Action, next},
    token_key::{SealBroken, TokenKey, TokenKeyError},
};
use crate::{
    config::BuilderConfig,
    db::{BuildRow, Db, DbError, NewBuild, StoredEvent},
    ops::{OpenError as OpsError, Workshop},
};

/// Contexts that are received at once.
const UPLOADS_MAX: usize = 32;
/// Starts of one build before a restart of the process gives up on it: the
/// build may be what brings the process down.
const ATTEMPTS_MAX: i64 = 3;
/// How long followers get to read the last events when the service ends.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);
/// How long a cancel request waits for the build to end before it answers.
const CANCEL_WAIT: Duration = Duration::from_secs(5);

/// Why the build service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use the build directory {path}")]
    Directory {
        path: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    #[error(transparent)]
    Ops(#[from] OpsError),
}

/// The build service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Builder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    token_key: TokenKey,
    contexts: Contexts,
    live: Live,
    workshop: Workshop,
    retention: Retention,
    queued_max: usize,
    uploads: Semaphore,
    /// Wakes a worker when a build was queued.
    queued: Notify,
    running: Mutex<HashMap<String, CancellationToken>>,
    workers: TaskTracker,
    /// No new builds are taken.
    draining: CancellationToken,
    /// Running builds go back to the queue.
    interrupt: CancellationToken,
    /// Nothing more is recorded: followers read what there is and end.
    silent: CancellationToken,
    followers: TaskTracker,
}

/// A request for a build, checked.
#[derive(Debug)]
struct NewRequest {
    options: BuildOptions,
    caller: String,
    registry_token: Option<String>,
    /// Size of the body in bytes, where the client said it.
    length: Option<u64>,
}

impl Builder {
    /// Opens the service and starts its workers.
    ///
    /// # Errors
    /// When the data directory or the database cannot be used.
    pub async fn open(config: BuilderConfig, host: Host) -> Result<Self, OpenError> {
        let directory = |source| OpenError::Directory {
            path: config.data_dir.display().to_string(),
            source,
        };
        std::fs::create_dir_all(&config.data_dir).map_err(directory)?;
        // Contexts and caches are their senders' business, whatever the umask.
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&config.data_dir, private).map_err(directory)?;
        let db = Db::open(&config.data_dir.join("builder.db")).await?;
        let token_key = TokenKey::open(&config.data_dir, &db).await?;
        let contexts = Contexts::open(config.data_dir.join("contexts"), config.context_bytes_max)
            .map_err(directory)?;
        let workshop = Workshop::open(&config, host, db.clone()).await?;
        let builder = Self(Arc::new(Inner {
            db,
            token_key,
            contexts,
            live: Live::default(),
            workshop,
            retention: Retention::new(&config),
            queued_max: config.queued_max,
            uploads: Semaphore::new(UPLOADS_MAX),
            queued: Notify::new(),
            running: Mutex::default(),
            workers: TaskTracker::new(),
            draining: CancellationToken::new(),
            interrupt: CancellationToken::new(),
            silent: CancellationToken::new(),
            followers: TaskTracker::new(),
        }));
        builder.recover().await?;
        let unended: HashSet<String> = builder.0.db.system_unended().await?.into_iter().collect();
        builder.0.contexts.sweep(&unended).map_err(directory)?;
        for _ in 0..config.workers.max(1) {
            builder.0.workers.spawn(worker::work(builder.clone()));
        }
        builder.0.workers.close();
        Ok(builder)
    }

    /// The build API, to be served on the builder socket.
    pub fn router(&self) -> Router {
        http::router(self.clone())
    }

    /// Stops taking builds, lets those that run end until `deadline` has
    /// passed, and puts the rest back into the queue. Returns when nothing of
    /// any build runs on this host.
    pub async fn shutdown(&self, deadline: Duration) {
        self.0.draining.cancel();
        let idle = async {
            self.0.workers.wait().await;
            // What is being sent is still taken; a later start builds it.
            let _ = self.0.uploads.acquire_many(UPLOADS_MAX as u32).await;
        };
        if tokio::time::timeout(deadline, idle).await.is_err() {
            self.0.interrupt.cancel();
            self.0.workers.wait().await;
        }
        self.0.silent.cancel();
        self.0.followers.close();
        // A client that does not read must not hold the end.
        let _ = tokio::time::timeout(LAST_WORDS_TIME, self.0.followers.wait()).await;
        self.0.workshop.drain().await;
        self.0.db.close().await;
    }

    fn db(&self) -> &Db {
        &self.0.db
    }

    fn live(&self) -> &Live {
        &self.0.live
    }

    async fn row(&self, id: &str) -> Result<BuildRow, ApiError> {
        self.0
            .db
            .system_build(id)
            .await?
            .ok_or_else(|| ApiError::NoSuchBuild(id.chars().take(80).collect()))
    }

    /// Receives a context and queues the build; both are durable when this
    /// returns.
    async fn create(&self, request: NewRequest, body: Body) -> Result<BuildRow, ApiError> {
        let inner = &*self.0;
        if inner.draining.is_cancelled() {
            return Err(ApiError::ShuttingDown);
        }
        let _upload = inner
            .uploads
            .try_acquire()
            .map_err(|_| ApiError::UploadsFull)?;
        let waiting = inner.db.system_count(BuildState::Queued).await?;
        if usize::try_from(waiting).unwrap_or(usize::MAX) >= inner.queued_max {
            return Err(ApiError::QueueFull(inner.queued_max));
        }
        inner.contexts.check_size(request.length)?;
        let id = uuid::Uuid::now_v7().simple().to_string();
        inner.contexts.store(&id, body).await?;
        let token = request.registry_token.as_deref();
        let sealed = token.map(|token| inner.token_key.seal(&id, token));
        let build = NewBuild {
            id: &id,
            options: &request.options,
            created_by: &request.caller,
            sealed_token: sealed.as_deref(),
        };
        let most = i64::try_from(inner.queued_max).unwrap_or(i64::MAX);
        match inner.db.system_enqueue(&build, most).await {
            Ok(true) => {}
            Ok(false) => {
                self.remove_context(&id).await;
                return Err(ApiError::QueueFull(inner.queued_max));
            }
            Err(error) => {
                self.remove_context(&id).await;
                return Err(error.into());
            }
        }
        inner.queued.notify_one();
        self.row(&id).await
    }

    /// Cancels a build and waits a moment for it to end. A build that has
    /// ended stays as it is.
    async fn cancel(&self, id: &str) -> Result<BuildRow, ApiError> {
        let row = self.row(id).await?;
        if row.state.is_ended() {
            return Ok(row);
        }
        self.0.db.system_request_cancel(id).await?;
        if self.end_queued(&row, Action::Cancel, None).await? {
            return self.row(id).await;
        }
        if let Some(cancel) = self.running().get(id) {
            cancel.cancel();
        }
        let mut more = self.0.live.follow(id);
        let ended = async {
            loop {
                more.mark_unchanged();
                let row = self.row(id).await?;
                if row.state.is_ended() || more.changed().await.is_err() {
                    return Ok(row);
                }
            }
        };
        match tokio::time::timeout(CANCEL_WAIT, ended).await {
            Ok(row) => row,
            Err(_) => self.row(id).await,
        }
    }

    /// Ends a build that no worker has; false when one has.
    async fn end_queued(
        &self,
        row: &BuildRow,
        action: Action,
        error: Option<BuildFailure>,
    ) -> Result<bool, ApiError> {
        Ok(self
            .change(row, BuildState::Queued, action, error)
            .await?
            .is_some())
    }

    /// Puts builds that the last process left running where they belong.
    async fn recover(&self) -> Result<(), DbError> {
        for row in self.0.db.system_running().await? {
            self.release(&row).await?;
        }
        Ok(())
    }

    /// Puts a build that is running, but that nobody runs, where it belongs:
    /// back into the queue, unless it was cancelled or tried often enough.
    async fn release(&self, row: &BuildRow) -> Result<(), DbError> {
        let (action, error) = if row.cancel_requested {
            (Action::Cancel, None)
        } else if row.attempt >= ATTEMPTS_MAX {
            let message = format!(
                "the build service stopped {} times while this build ran",
                row.attempt
            );
            (Action::Fail, Some(failure(message)))
        } else {
            (Action::Requeue, None)
        };
        let to = self.change(row, BuildState::Running, action, error).await?;
        tracing::info!(build.id = row.id, state = ?to, "found a build that nobody runs");
        Ok(())
    }

    /// Makes a change of state that no recorder makes: the new state, or
    /// `None` when the build was not in `from`.
    async fn change(
        &self,
        row: &BuildRow,
        from: BuildState,
        action: Action,
        error: Option<BuildFailure>,
    ) -> Result<Option<BuildState>, DbError> {
        let Some(to) = next(from, action) else {
            return Ok(None);
        };
        // A log that cannot grow must not keep its build from ending.
        let seq = self.0.db.system_last_seq(&row.id).await?.checked_add(1);
        let event = seq.map(|seq| StoredEvent {
            seq,
            event: Event::State {
                state: to,
                digest: None,
                error: error.clone(),
            },
        });
        let (db, events) = (&self.0.db, event.as_slice());
        let done = db
            .system_transition(&row.id, from, to, None, error.as_ref(), events)
            .await?;
        if !done {
            return Ok(None);
        }
        if to.is_ended() {
            self.remove_context(&row.id).await;
        }
        self.0.live.stored(&row.id);
        Ok(Some(to))
    }

    /// The token that came with a build.
    fn token(&self, row: &BuildRow) -> Result<Option<String>, SealBroken> {
        let sealed = row.sealed_token.as_deref();
        let open = |sealed| self.0.token_key.open_token(&row.id, sealed);
        sealed.map(open).transpose()
    }

    async fn remove_context(&self, id: &str) {
        let contexts = self.0.contexts.clone();
        let id = id.to_owned();
        let removed = tokio::task::spawn_blocking(move || contexts.remove(&id));
        removed.await.expect("removing files does not panic");
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn failure(message: String) -> BuildFailure {
    BuildFailure {
        message,
        ..BuildFailure::default()
    }
}

#[cfg(test)]
#[path = "service/tests.rs"]
mod tests;

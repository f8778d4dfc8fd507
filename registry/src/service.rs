//! The registry as a value: opened, served, closed.
//!
//! Owns the database, the store, authentication and every background task.
//! `open` leaves a data directory usable by the next `open`, however it ended.

use std::{io, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::Duration};

use ::http::HeaderMap;
use oci::Repository;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::{Auth, AuthError, AuthSetupError, Caller},
    config::{DatabaseUrl, RegistryConfig, Storage},
    content::{BlobStore, DiskStore, StoreError},
    db::{Database, DbError},
    http,
    metrics::Metrics,
    sweep,
    usecase::{self, Uploads},
};

/// Why a registry cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot make the data directory {path}: {source}")]
    DataDir { path: String, source: io::Error },
    #[error("cannot open the database {url}")]
    Database { url: String, source: DbError },
    #[error("cannot open the blob storage {path}")]
    Storage { path: String, source: StoreError },
    #[error("cannot recover from a loss of power: {reason}")]
    Recovery { reason: String },
    #[error("cannot set up authentication")]
    Auth(#[from] AuthSetupError),
    #[error("public URL {0:?} is not of the form http(s)://host[:port] without a path")]
    PublicUrl(String),
}

/// What every use case works with.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) db: Arc<Database>,
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) auth: Auth,
    pub(crate) uploads: Uploads,
    pub(crate) metrics: Metrics,
    pub(crate) public_url: Option<String>,
    /// Uploads that must finish or give up before the registry closes.
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// An open registry. Clones share it.
#[derive(Clone, Debug)]
pub struct Registry {
    service: Arc<Service>,
    generated_password: Option<String>,
}

impl Registry {
    /// Opens the registry, making what is not there, and starts its sweeper.
    ///
    /// # Errors
    /// See [`OpenError`]; each names the path it is about.
    pub async fn open(config: RegistryConfig) -> Result<Self, OpenError> {
        let data_dir = config.data_dir;
        if let Some(url) = &config.public_url {
            check_public_url(url)?;
        }
        // Password hashes and keys lie below: nobody else's to read.
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&data_dir)
            .map_err(|source| OpenError::DataDir {
                path: data_dir.display().to_string(),
                source,
            })?;
        let url = config
            .database
            .unwrap_or_else(|| DatabaseUrl::Sqlite(data_dir.join("registry.db")));
        let db = Database::open(&url)
            .await
            .map_err(|source| OpenError::Database {
                url: url.to_string(),
                source,
            })?;
        let db = Arc::new(db);
        let directory = match config.storage {
            Some(Storage::Directory(directory)) => directory,
            None => data_dir.join("blobs"),
        };
        let store = open_store(&directory)?;
        let (auth, generated_password) = Auth::open(
            Arc::clone(&db),
            &data_dir.join("keys"),
            config.admin_password,
        )
        .await?;
        let service = Arc::new(Service {
            db,
            store,
            auth,
            uploads: Uploads::new(),
            metrics: Metrics::new(),
            public_url: config
                .public_url
                .map(|url| url.trim_end_matches('/').to_owned()),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        recover(&service).await?;
        service.tasks.spawn(sweep::run(Arc::clone(&service)));
        Ok(Self {
            service,
            generated_password,
        })
    }

    /// `/v2/…` and `/auth/token`.
    pub fn router(&self) -> axum::Router {
        http::router(Arc::clone(&self.service))
    }

    /// The administrator's password, at the one start that made it up.
    pub fn generated_admin_password(&self) -> Option<String> {
        self.generated_password.clone()
    }

    /// Who a request comes from, by its `Authorization` (Basic or Bearer).
    /// Without one the caller is anonymous, which is no error.
    ///
    /// # Errors
    /// When credentials are there and not valid.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, AuthError> {
        self.service.auth.caller(headers).await
    }

    /// A bearer token for work done in the caller's name: it may pull what the
    /// caller may pull, and push to those of `push` that the caller may push to.
    pub fn job_token(&self, caller: &Caller, push: &[Repository], ttl: Duration) -> String {
        self.service.auth.job_token(caller, push, ttl)
    }

    /// The value of `WWW-Authenticate` for endpoints beside the registry's own.
    pub fn challenge(&self, headers: &HeaderMap) -> String {
        http::challenge(&self.service, headers, None, None)
    }

    /// Whether requests can be served, pushes included.
    pub async fn ready(&self) -> bool {
        self.service.store.is_writable() && self.service.db.system_users().await.is_ok()
    }

    /// All metrics as OpenMetrics text.
    pub fn metrics(&self) -> String {
        self.service.metrics.encode()
    }

    /// Ends background work, waits for running uploads, closes the database.
    /// Call it after the last connection is closed.
    pub async fn shutdown(&self) {
        self.service.stop.cancel();
        self.service.tasks.close();
        self.service.tasks.wait().await;
        let boot_id = self.service.uploads.boot_id.clone();
        if let Err(error) = self.service.db.system_end_run(boot_id).await {
            tracing::warn!(%error, "the next start checks all blobs, as after a loss of power");
        }
        self.service.db.close().await;
    }
}

/// Before the first request: after a loss of power, finds what was acknowledged.
async fn recover(service: &Arc<Service>) -> Result<(), OpenError> {
    let boot_id = &service.uploads.boot_id;
    let failed = |reason: String| OpenError::Recovery { reason };
    let lost = service.db.system_power_was_lost(boot_id).await;
    if lost.map_err(|error| failed(error.to_string()))? {
        tracing::info!("the last run did not end in order: looking for blobs it acknowledged");
        let adopted = usecase::adopt(service)
            .await
            .map_err(|error| failed(error.message))?;
        tracing::info!(blobs = adopted, "recovered after a loss of power");
    }
    let begun = service.db.system_begin_run(boot_id.clone()).await;
    begun.map_err(|error| failed(error.to_string()))
}

fn open_store(directory: &Path) -> Result<Arc<dyn BlobStore>, OpenError> {
    match DiskStore::open(directory) {
        Ok(store) => Ok(Arc::new(store)),
        Err(source) => Err(OpenError::Storage {
            path: directory.display().to_string(),
            source,
        }),
    }
}

fn check_public_url(url: &str) -> Result<(), OpenError> {
    let host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .map(|rest| rest.trim_end_matches('/'));
    match host {
        Some(host) if http::is_host(host) => Ok(()),
        _ => Err(OpenError::PublicUrl(url.to_owned())),
    }
}

#[cfg(test)]
#[path = "service/tests.rs"]
mod tests;

//! The container engine: Docker's REST API over images, containers, networks
//! and volumes of one host.
//!
//! Order inside the crate: `http` → use case (`container`, `image`, `volume`,
//! `network`) → `db` and the crate `runtime`. Every container has one actor
//! that owns its state; the monitors that hold the processes survive this
//! process, and [`Engine::open`] finds them again.
//!
//! Must not contain: Dockerfile or LLB details, registry tables.

mod archive;
mod blocking;
mod clock;
mod config;
mod container;
mod core;
mod db;
mod error;
mod events;
mod filters;
mod flights;
mod http;
mod id;
mod image;
mod logs;
mod names;
mod network;
mod query;
mod scratch;
mod volume;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oci::client::{Client, ClientConfig, ClientError};
use runtime::host::Host;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::EngineConfig;
pub use error::EngineError;

use crate::core::Core;

/// How long a shutdown waits for actors and transfers.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Why an engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("create the engine's directory {path}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("open the engine's database {path}")]
    Database { path: PathBuf, source: sqlx::Error },
    #[error("set up the registry client")]
    Registry(#[source] ClientError),
    #[error("find the images again")]
    Images(#[source] EngineError),
    #[error("bring the containers back")]
    Restore(#[source] EngineError),
}

/// The engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    core: Arc<Core>,
}

impl Engine {
    /// Opens the engine's data, and takes the containers that an earlier
    /// engine left running back under its care.
    ///
    /// # Errors
    /// When directory or database cannot be used.
    pub async fn open(config: EngineConfig, host: Host) -> Result<Self, OpenError> {
        for dir in ["archives", "containers", "tmp", "volumes"] {
            let path = config.data_dir.join(dir);
            make_private(&path).map_err(|source| OpenError::Directory { path, source })?;
        }
        scratch::sweep(&config).map_err(|source| OpenError::Directory {
            path: config.data_dir.join("tmp"),
            source,
        })?;
        let path = config.data_dir.join("engine.db");
        let database = |source| OpenError::Database {
            path: path.clone(),
            source,
        };
        let db = db::Db::open(&path).await.map_err(database)?;
        let id = db.engine_id().await.map_err(database)?;
        let volumes = config.data_dir.join("volumes");
        let known = db.volumes().await.map_err(database)?;
        volume::sweep(&volumes, &known).map_err(|source| OpenError::Directory {
            path: volumes,
            source,
        })?;
        let client = ClientConfig {
            user_agent: concat!("carrack/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..Default::default()
        };
        let core = Arc::new(Core {
            id,
            started_at: clock::now(),
            db,
            host,
            registry: Client::new(client).map_err(OpenError::Registry)?,
            events: events::EventBus::new(),
            containers: container::index::Index::default(),
            execs: container::exec::Execs::default(),
            images: image::store::Images::new(config.pulls_max),
            volumes: flights::Flights::default(),
            closing: CancellationToken::new(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        });
        core.images
            .hold_all(&core)
            .await
            .map_err(OpenError::Images)?;
        container::restore::restore(&core)
            .await
            .map_err(OpenError::Restore)?;
        image::orphans::sweep(&core, None)
            .await
            .map_err(OpenError::Images)?;
        Ok(Self { core })
    }

    /// Serves the API until `shutdown` resolves to the time that open requests
    /// then get to end.
    ///
    /// # Errors
    /// Of the listener.
    pub async fn serve(
        &self,
        listener: UnixListener,
        shutdown: impl Future<Output = Duration>,
    ) -> io::Result<()> {
        http::serve(&self.core, listener, shutdown).await
    }

    /// Ends actors and streams and closes the database. Containers go on; the
    /// next engine on the same directory finds them.
    pub async fn shutdown(&self) {
        self.core.shutdown.cancel();
        self.core.tasks.close();
        // A pull may go on for long; what it has not finished, the next one does.
        let _ = tokio::time::timeout(SHUTDOWN_PATIENCE, self.core.tasks.wait()).await;
        self.core.db.close().await;
    }
}

/// A directory that only root can look into.
fn make_private(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

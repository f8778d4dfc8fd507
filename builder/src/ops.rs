//! The operations of a build, on this host: sources, processes, files.
//!
//! [`Workshop`] is what all builds share: the solver with its cache, the layer
//! store, the launcher, the network, the registry client. [`Site`] is one
//! build in it: its context and its credentials, as the solver's executor.

mod cache_mount;
mod chmod;
mod content;
mod exec;
mod file;
mod glob;
mod image;
mod layers;
mod owner;
mod resolv;
mod retention;
mod select;
mod site;
mod tree;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use futures_util::{FutureExt, future::BoxFuture};
use oci::{
    Digest, ImageConfig, Platform, Reference,
    client::{Client, ClientConfig, ClientError, Credentials},
};
use runtime::{host::Host, snapshot::SnapshotError, spec::Limits};
use tokio_util::sync::CancellationToken;

use self::{cache_mount::CacheMounts, exec::Sandboxes, image::Images};
pub(crate) use self::{
    layers::{Layers, blocking},
    site::Site,
    tree::Tree,
};
use crate::{
    config::BuilderConfig,
    db::{Db, DbError},
    export::{ExportOpenError, Exporter},
    solver::{Cache, Graph, OpError, Reporter, SolveError, Solver, Value},
};

/// Why the operations of builds cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use the directory {path}")]
    Directory {
        path: String,
        source: std::io::Error,
    },
    #[error("cannot use the layer store")]
    Layers(#[from] SnapshotError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Export(#[from] ExportOpenError),
}

/// What all builds share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Workshop(Arc<Shop>);

#[derive(Debug)]
struct Shop {
    solver: Solver,
    layers: Layers,
    images: Images,
    sandboxes: Sandboxes,
    exporter: Exporter,
    registry_hosts: Vec<String>,
    db: Db,
}

impl Workshop {
    /// Opens what builds need, and removes what an earlier process left.
    pub(crate) async fn open(
        config: &BuilderConfig,
        host: Host,
        db: Db,
    ) -> Result<Self, OpenError> {
        let at = |path: &PathBuf, source| OpenError::Directory {
            path: path.display().to_string(),
            source,
        };
        let empty = config.data_dir.join("empty");
        let layers = Layers::new(host.layers, &empty).map_err(|e| at(&empty, e))?;
        let store = layers.store().clone();
        let exists =
            move |name: &str| layers::layer_name(name).is_ok_and(|name| store.contains(&name));
        let cache = Cache::open(db.clone(), Arc::new(exists)).await?;
        let used = cache.layer_names().await?;
        layers.keep(&used);
        let sweeper = layers.clone();
        let orphans = blocking(move || sweeper.sweep(&used)).await?;
        if orphans > 0 {
            tracing::info!(orphans, "removed layers of steps that no record names");
        }
        let run_dir = config.data_dir.join("run");
        sweep_sandboxes(&run_dir, &config.cgroup_parent).map_err(|e| at(&run_dir, e))?;
        let cache_dir = config.data_dir.join("cache");
        let caches = CacheMounts::open(&cache_dir).map_err(|e| at(&cache_dir, e))?;
        let blob_dir = config.data_dir.join("blobs");
        let client = Client::new(ClientConfig::default())?;
        let exporter =
            Exporter::open(&blob_dir, client.clone(), layers.clone(), db.clone()).await?;
        Ok(Self(Arc::new(Shop {
            solver: Solver::new(cache, config.steps_max),
            images: Images::new(client, layers.clone(), db.clone()),
            sandboxes: Sandboxes {
                layers: layers.clone(),
                launcher: host.launcher,
                bridge: host.bridge,
                caches,
                run_dir,
                cgroup_parent: config.cgroup_parent.clone(),
                limits: Limits {
                    memory_bytes: config.step_memory_bytes,
                    pids_max: config.step_pids_max,
                    ..Limits::default()
                },
            },
            layers,
            exporter,
            registry_hosts: config.registry_hosts.clone(),
            db,
        })))
    }

    /// A build's place: its context, and the token that came with it.
    pub(crate) fn site(
        &self,
        tree: Arc<Tree>,
        token: Option<String>,
        cancel: CancellationToken,
    ) -> Site {
        Site {
            shop: self.clone(),
            tree,
            token,
            pulled: Mutex::default(),
            cancel,
        }
    }

    pub(crate) fn solve<'a>(
        &'a self,
        graph: &'a Graph,
        site: Arc<Site>,
        reporter: Reporter,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Value, SolveError>> {
        self.0.solver.solve(graph, site, reporter, cancel).boxed()
    }

    /// What a base image's name means now.
    pub(crate) async fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
        token: Option<&str>,
    ) -> Result<(Digest, ImageConfig), OpError> {
        let credentials = self.credentials(reference, token);
        self.0
            .images
            .resolve(reference, platform, &credentials)
            .await
    }

    pub(crate) fn exporter(&self) -> &Exporter {
        &self.0.exporter
    }

    /// The token goes to our own registry and to no other.
    pub(crate) fn credentials(&self, reference: &Reference, token: Option<&str>) -> Credentials {
        let ours = self
            .0
            .registry_hosts
            .iter()
            .any(|host| host == reference.registry());
        match token {
            Some(token) if ours => Credentials::Bearer(token.to_owned()),
            _ => Credentials::Anonymous,
        }
    }

    /// Makes what builds have cached so far durable, in one sync of the layer
    /// store's file system.
    pub(crate) async fn settle(&self) {
        let layers = self.0.layers.clone();
        if let Err(error) = blocking(move || layers.sync()).await {
            tracing::warn!(%error, "cannot sync the layer store");
        }
    }

    /// Waits until no step runs.
    pub(crate) async fn drain(&self) {
        self.0.solver.drain().await;
        self.settle().await;
    }
}

/// Ends what sandboxes of an earlier process left running, and removes their
/// directories and cgroups.
fn sweep_sandboxes(run_dir: &PathBuf, cgroup_parent: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(run_dir)?;
    for entry in std::fs::read_dir(run_dir)? {
        let entry = entry?;
        let cgroup = format!("{cgroup_parent}/{}", entry.file_name().to_string_lossy());
        exec::end(&cgroup);
        std::fs::remove_dir_all(entry.path())?;
    }
    Ok(())
}

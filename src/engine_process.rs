//! The engine process: engine and build workers as root, on unix sockets only.
//! Both stand on one [`Host`]: layer store, launcher and bridge.

use std::{os::unix::net::UnixListener, sync::Arc};

use anyhow::{Context, Result};
use builder::{Builder, BuilderConfig};
use engine::{Engine, EngineConfig};
use runtime::{
    bridge::{Bridge, BridgeConfig, Subnet},
    host::Host,
    launcher::Launcher,
    snapshot::LayerStore,
};
use tokio::task::JoinSet;

use crate::{
    config::{Config, Role, Share},
    http_server::{self, Stop},
    logging,
    supervisor::channel::{self, ChildEnd, FromChild, Listener, Teller},
};

/// Runs the engine process; started by the supervisor only.
pub fn main() -> Result<()> {
    let ChildEnd {
        mut teller,
        listener,
        start,
        sockets,
    } = ChildEnd::take()?;
    logging::install(&start.config);
    let sockets = channel::unix_listeners(sockets);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the engine process")
        .and_then(|runtime| runtime.block_on(run(start.config, sockets, &mut teller, listener)));
    if let Err(error) = &outcome {
        teller.tell(&FromChild::Failed(format!("{error:#}")));
    }
    outcome
}

async fn run(
    config: Config,
    sockets: Vec<UnixListener>,
    teller: &mut Teller,
    listener: Listener,
) -> Result<()> {
    let (stopper, stop) = Stop::new(config.shutdown_timeout).context("watch for signals")?;
    listener.listen(|_| {}, move || stopper.stop())?;
    let [engine_socket, builder_socket, front_socket] = watch(sockets)?;
    let host = open_host(&config).await?;
    let bridge = host.bridge.clone();
    let mut serving = JoinSet::new();

    let (builder_stopper, builder_stop) = Stop::by_hand(config.shutdown_timeout);
    let builder = match config.has(Role::Builder) {
        true => Some(open_builder(&config, host.clone()).await?),
        false => None,
    };
    if let Some(builder) = &builder {
        for socket in [builder_socket, front_socket] {
            let (router, stop) = (builder.router(), builder_stop.clone());
            serving.spawn(async move {
                http_server::serve(socket, router, stop.stopped()).await;
                Ok(())
            });
        }
    }
    let engine = match config.has(Role::Engine) {
        true => Some(open_engine(&config, host).await?),
        false => None,
    };
    if let Some(engine) = engine.clone() {
        let stop = stop.clone();
        serving.spawn(async move {
            engine
                .serve(engine_socket, stop.stopped())
                .await
                .context("serve the engine")
        });
    }
    let host_bridge = bridge.clone();
    if let Some(bridge) = bridge.filter(|_| engine.is_none()) {
        // With an engine, it reconciles once its containers have their places.
        tokio::task::spawn_blocking(move || bridge.reconcile())
            .await
            .context("reconcile the network")?
            .context("reconcile the network")?;
    }
    teller.tell(&FromChild::Ready);
    let grace = stop.stopped().await;
    let deadline = tokio::time::Instant::now() + grace;
    if let Some(builder) = builder {
        // The other half is for what it then has to interrupt and clean up.
        // Meanwhile it answers: no to new builds, yes to who asks how others do.
        builder.shutdown(grace / 2).await;
    }
    builder_stopper.stop_within(deadline.saturating_duration_since(tokio::time::Instant::now()));
    let mut outcome = Ok(());
    // Each bounds itself.
    while let Some(ended) = serving.join_next().await {
        outcome = outcome.and(ended.context("a server task failed").flatten());
    }
    teller.tell(&FromChild::Drained);
    if let Some(engine) = engine {
        engine.shutdown().await;
    }
    if let Some(bridge) = host_bridge {
        release(bridge, config.cgroup_parent).await;
    }
    outcome
}

/// Takes the bridge with its rules and the parent cgroup away when no
/// container that lives on needs them; the next start makes them again.
async fn release(bridge: Arc<Bridge>, cgroup_parent: String) {
    let released = tokio::task::spawn_blocking(move || {
        runtime::cgroup::remove_if_unused(&cgroup_parent);
        bridge.teardown_if_unused()
    });
    match released.await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!("could not remove the bridge: {error}"),
        Err(error) => tracing::warn!("could not remove the bridge: {error}"),
    }
}

fn watch(sockets: Vec<UnixListener>) -> Result<[tokio::net::UnixListener; 3]> {
    let watched = sockets.into_iter().map(|socket| {
        socket
            .set_nonblocking(true)
            .context("set a socket non-blocking")?;
        tokio::net::UnixListener::from_std(socket).context("watch a socket")
    });
    let watched = watched.collect::<Result<Vec<_>>>()?;
    watched
        .try_into()
        .ok()
        .context("the supervisor must hand over three sockets")
}

async fn open_host(config: &Config) -> Result<Host> {
    let launcher = Launcher::start("/proc/self/exe".as_ref())
        .await
        .context("start the launcher")?;
    let layers_dir = config.data_dir.join("layers");
    let subnet = Subnet::new(
        config.bridge_subnet.address,
        config.bridge_subnet.prefix_len,
    )
    .context("read the bridge's subnet")?;
    let bridge_config = BridgeConfig::new(config.bridge.clone(), subnet);
    tokio::task::spawn_blocking(move || {
        let layers = LayerStore::open(&layers_dir).context("open the layer store")?;
        let bridge = Bridge::setup(bridge_config).context("set up the bridge")?;
        Ok(Host {
            layers,
            launcher,
            bridge: Some(Arc::new(bridge)),
        })
    })
    .await
    .context("set up the host")?
}

async fn open_builder(config: &Config, host: Host) -> Result<Builder> {
    let settings = BuilderConfig {
        workers: config.build_workers,
        cache_bytes_max: Some(build_cache_max(config)?),
        registry_hosts: registry_hosts(config),
        cgroup_parent: config.cgroup_parent.clone(),
        ..BuilderConfig::new(config.data_dir.join("builder"))
    };
    Builder::open(settings, host)
        .await
        .context("open the build service")
}

/// The bound of the build cache in bytes.
fn build_cache_max(config: &Config) -> Result<u64> {
    match config.build_cache_max {
        Share::Bytes(bytes) => Ok(bytes),
        Share::Percent(percent) => {
            let disk =
                rustix::fs::statvfs(&config.data_dir).context("read the size of the disk")?;
            Ok(disk.f_blocks * disk.f_frsize / 100 * u64::from(percent))
        }
    }
}

async fn open_engine(config: &Config, host: Host) -> Result<Engine> {
    let settings = EngineConfig {
        cgroup_parent: config.cgroup_parent.clone(),
        ..EngineConfig::new(config.data_dir.join("engine"))
    };
    Engine::open(settings, host)
        .await
        .context("open the engine")
}

/// The names under which builds may know our own registry; a job's token is
/// sent to these alone.
fn registry_hosts(config: &Config) -> Vec<String> {
    if !config.has(Role::Registry) {
        return Vec::new();
    }
    let mut hosts = vec![config.listen.to_string()];
    if config.listen.ip().is_loopback() || config.listen.ip().is_unspecified() {
        let port = config.listen.port();
        hosts.extend([format!("localhost:{port}"), format!("127.0.0.1:{port}")]);
    }
    if let Some((_, host)) = config
        .public_url
        .as_deref()
        .and_then(|url| url.split_once("://"))
    {
        hosts.push(host.split('/').next().unwrap_or(host).to_owned());
    }
    hosts.dedup();
    hosts
}

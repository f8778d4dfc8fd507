//! What the engine's tests start in the place of the product's binary: one
//! engine on a directory, and the launcher.
//!
//! `engine-test-daemon <dir> <bridge> <subnet>`: data in `<dir>/data`, socket
//! `<dir>/engine.sock`. SIGTERM ends it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, EngineConfig};
use runtime::bridge::{Bridge, BridgeConfig};
use runtime::host::Host;
use runtime::launcher::Launcher;
use runtime::snapshot::LayerStore;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

/// What open requests get to end.
const DRAIN: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    // The launcher forks, so it must be reached before any thread exists.
    if arguments
        .get(1)
        .is_some_and(|argument| argument == "launcher")
    {
        runtime::launcher_main();
    }
    tracing_subscriber::fmt()
        .with_env_filter("debug,sqlx=warn,hyper=info,reqwest=info")
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Runtime::new()?.block_on(serve(&arguments[1..]))
}

async fn serve(arguments: &[String]) -> Result<(), Failure> {
    let [dir, bridge, subnet] = arguments else {
        return Err("usage: engine-test-daemon <dir> <bridge> <subnet>".into());
    };
    let dir = PathBuf::from(dir);
    std::fs::create_dir_all(dir.join("data"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let bridge = Bridge::setup(BridgeConfig::new(bridge, subnet.parse()?))?;
    let bridge = Arc::new(bridge);
    let host = Host {
        layers: LayerStore::open(&dir.join("data/layers"))?,
        launcher: Launcher::start(&std::env::current_exe()?).await?,
        bridge: Some(Arc::clone(&bridge)),
    };
    let mut config = EngineConfig::new(dir.join("data/engine"));
    let cgroup_parent = format!("engine-test-{}", bridge.config().name);
    config.cgroup_parent.clone_from(&cgroup_parent);
    let engine = Engine::open(config, host).await?;
    let socket = dir.join("engine.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    engine
        .serve(listener, async move {
            terminate.recv().await;
            DRAIN
        })
        .await?;
    engine.shutdown().await;
    if bridge.teardown_if_unused()? {
        runtime::cgroup::remove_if_unused(&cgroup_parent);
    }
    Ok(())
}

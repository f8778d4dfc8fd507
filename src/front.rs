//! The front: the process that faces the network. It serves the registry, the
//! token service and `/api/v1`, runs as an unprivileged user without
//! capabilities, and reaches builds only through the engine process's socket.

mod builds;
mod health;
mod privileges;

use anyhow::{Context, Result};
use axum::{Router, routing::get};
use registry::{DatabaseUrl, Registry, RegistryConfig, Storage};
use tokio::net::TcpListener;

use crate::{
    config::{Config, Role},
    http_server::{self, Stop},
    logging,
    supervisor::channel::{self, ChildEnd, FromChild, Listener, Start, Teller, ToChild},
};
use health::Readiness;

/// Runs the front; started by the supervisor only.
pub fn main() -> Result<()> {
    let ChildEnd {
        mut teller,
        listener,
        start,
        sockets,
    } = ChildEnd::take()?;
    logging::install(&start.config);
    let outcome = confine(&start).and_then(|()| {
        let socket = channel::tcp_listener(sockets)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("start the front")?;
        runtime.block_on(run(start.config, socket, &mut teller, listener))
    });
    if let Err(error) = &outcome {
        teller.tell(&FromChild::Failed(format!("{error:#}")));
    }
    outcome
}

/// Gives up every right that the front does not need; before any thread exists.
fn confine(start: &Start) -> Result<()> {
    let Some((uid, gid)) = start.become_user else {
        return Ok(());
    };
    privileges::become_user(uid, gid)?;
    privileges::restrict_files(&start.config)
}

async fn run(
    config: Config,
    socket: std::net::TcpListener,
    teller: &mut Teller,
    listener: Listener,
) -> Result<()> {
    socket
        .set_nonblocking(true)
        .context("set the listening socket non-blocking")?;
    let socket = TcpListener::from_std(socket).context("watch the listening socket")?;
    let (stopper, stop) = Stop::new(config.shutdown_timeout).context("watch for signals")?;
    let readiness = Readiness::new(&config);
    let mut app = Router::new();
    let mut registry = None;
    if config.has(Role::Registry) {
        let opened = open_registry(&config).await?;
        if let Some(password) = opened.generated_admin_password() {
            teller.tell(&FromChild::AdminPassword(password));
        }
        app = app.merge(opened.router());
        if config.has(Role::Builder) {
            app = app.merge(builds::router(&config, opened.clone()));
        }
        registry = Some(opened);
    } else if config.has(Role::Builder) {
        tracing::warn!(
            "without the registry role there are no accounts: the build API is served on {} only, and pushes go without credentials",
            config.builder_socket.display()
        );
    }
    app = app.merge(health::router(readiness.clone(), registry.clone()));
    app = app.route("/", get(health::greeting));

    let (heard, told) = (readiness.clone(), stopper.clone());
    let mut answers = teller.another()?;
    let hear = move |message| match message {
        ToChild::EngineReady(ready) => {
            heard.engine_is(ready);
            answers.tell(&FromChild::Heard(ready));
        }
        ToChild::Stop { within } => told.stop_within(within),
    };
    listener.listen(hear, move || stopper.stop())?;
    readiness.front_is_ready();
    teller.tell(&FromChild::Ready);
    http_server::serve(socket, app, stop.stopped()).await;
    if let Some(registry) = registry {
        registry.shutdown().await;
    }
    Ok(())
}

async fn open_registry(config: &Config) -> Result<Registry> {
    let settings = RegistryConfig {
        storage: Some(Storage::parse(&config.storage)?),
        database: Some(DatabaseUrl::parse(&config.database_url)?),
        admin_password: config.admin_password.clone(),
        public_url: config.public_url.clone(),
        ..RegistryConfig::new(config.data_dir.join("registry"))
    };
    Registry::open(settings).await.context("open the registry")
}

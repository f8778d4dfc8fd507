//! `carrack serve` and `carrack config`.

use std::{
    io::Write,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::ArgMatches;

use crate::{
    config::{self, Config, Role},
    logging,
    service_manager::{self, Change},
    supervisor::{self, ChildPlan, Notice, Part, prepare},
};

/// Prints each effective setting and where it came from.
pub fn print_config(flags: &ArgMatches) -> Result<()> {
    let (_, effective) = config::resolve(flags)?;
    let mut out = std::io::stdout().lock();
    for line in effective.lines() {
        writeln!(out, "{line}").context("print the settings")?;
    }
    Ok(())
}

/// Runs the server until it is told to stop.
pub fn serve(flags: &ArgMatches) -> Result<()> {
    let (mut config, _) = config::resolve(flags)?;
    // As others will name it, from directories of their own.
    config.engine_socket = std::path::absolute(&config.engine_socket)
        .context("find the directory of the engine's socket")?;
    logging::install(&config);
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        without_root(&mut config)?;
    }
    prepare::run_dir(&config)?;
    let _lock = prepare::DataDirLock::take(&config)?;
    let front = is_root.then(|| prepare::front_user(&config)).transpose()?;
    prepare::role_dirs(&config, front)?;
    let _registry_locks = prepare::RegistryLocks::take(&config)?;

    let listener = prepare::bind_tcp(&config)?;
    let address = listener
        .local_addr()
        .context("read the listening address")?;
    config.listen = address;
    publish_address(&config.run_dir().join("address"), &address.to_string())?;
    let mut plans = vec![ChildPlan {
        part: Part::Front,
        become_user: front,
        sockets: vec![OwnedFd::from(listener)],
    }];
    if config.has(Role::Engine) || config.has(Role::Builder) {
        let front_gid = front.map_or(0, |(_, gid)| gid);
        let sockets = prepare::bind_unix(&config, front_gid)?;
        plans.push(ChildPlan {
            part: Part::Engine,
            become_user: None,
            sockets: sockets.into_iter().map(OwnedFd::from).collect(),
        });
    }
    let sockets = if plans.len() > 1 {
        vec![
            config.engine_socket.clone(),
            config.builder_socket.clone(),
            config.front_builder_socket(),
        ]
    } else {
        Vec::new()
    };
    let first_start = !marker(&config).exists();
    let greeting = Greeting {
        config: config.clone(),
        first_start,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the supervisor")?;
    let outcome = runtime.block_on(supervisor::run(config, plans, |notice| {
        greeting.tell(&notice)
    }));
    for socket in sockets {
        // Already gone is as good as removed.
        let _ = std::fs::remove_file(socket);
    }
    outcome
}

/// Without root there are no namespaces and no mounts: only the registry runs.
fn without_root(config: &mut Config) -> Result<()> {
    if !config.has(Role::Registry) {
        bail!(
            "the builder and the engine need root: run as root, or run only the registry with --role registry"
        );
    }
    if config.roles.len() > 1 {
        tracing::warn!(
            "not running as root: serving the registry only; run as root for the builder and the engine"
        );
    }
    config.roles = vec![Role::Registry];
    Ok(())
}

/// Writes the address for tools that let the system pick the port.
fn publish_address(path: &Path, address: &str) -> Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, address)
        .and_then(|()| std::fs::rename(&temporary, path))
        .with_context(|| format!("write {}", path.display()))
}

fn tell_service_manager(change: Change) {
    let told = config::notify_socket().map(|address| service_manager::tell(&address, change));
    if let Some(Err(error)) = told {
        tracing::warn!("could not tell the service manager: {error}");
    }
}

fn marker(config: &Config) -> PathBuf {
    config.run_dir().join("started-before")
}

/// What a person at the terminal is told.
struct Greeting {
    config: Config,
    first_start: bool,
}

impl Greeting {
    fn tell(&self, notice: &Notice) {
        match notice {
            Notice::AdminPassword(_) => {}
            Notice::Ready => tell_service_manager(Change::Ready),
            Notice::Stopping => tell_service_manager(Change::Stopping),
        }
        let text = match notice {
            Notice::AdminPassword(password) => format!(
                "\nGenerated the password of user admin; it is shown this once:\n\n    {password}\n"
            ),
            Notice::Ready => self.ready(),
            Notice::Stopping => return,
        };
        // A closed standard output must not stop the server.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    fn ready(&self) -> String {
        let config = &self.config;
        let address = config.listen;
        let roles: Vec<_> = config.roles.iter().map(|role| role.as_str()).collect();
        let mut text = format!("Carrack serves {} on http://{address}", roles.join(", "));
        if config.has(Role::Engine) {
            text.push_str(&format!(
                "\nEngine on unix://{}",
                config.engine_socket.display()
            ));
        }
        if config.has(Role::Builder) && !config.has(Role::Registry) {
            text.push_str(&format!(
                "\nBuilds on unix://{} only: accounts come with the registry",
                config.builder_socket.display()
            ));
        }
        // The commands need a registry to log in to.
        let greets = self.first_start && config.has(Role::Registry);
        if greets && std::fs::write(marker(config), "").is_ok() {
            text.push_str("\n\nNext:\n\n");
            for command in next_commands(config) {
                text.push_str(&format!("    {command}\n"));
            }
        }
        text
    }
}

/// What to type after the first start. The client is told where this instance
/// is, unless it would look there anyway.
fn next_commands(config: &Config) -> [String; 3] {
    let mut address = config.listen;
    if address.ip().is_unspecified() {
        // Everywhere includes here, where clients speak plain HTTP.
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let image = format!("{address}/demo/hello");
    let server = match address.to_string().as_str() {
        cli::DEFAULT_SERVER_ADDRESS => String::new(),
        other => format!("--server http://{other} "),
    };
    let engine = match config.engine_socket.as_path() {
        default if default == Path::new(cli::DEFAULT_ENGINE_SOCKET) => String::new(),
        other => format!("-H unix://{} ", other.display()),
    };
    let push = match config.has(Role::Builder) {
        true => format!("carrack {server}build -t {image} --push ."),
        false => format!("docker push {image}"),
    };
    let run = match config.has(Role::Engine) {
        true => format!("carrack {engine}run --rm {image}"),
        false => format!("docker pull {image}"),
    };
    [format!("carrack login {address} -u admin"), push, run]
}

#[cfg(test)]
#[path = "serve/tests.rs"]
mod tests;

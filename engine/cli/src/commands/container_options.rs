//! The options that `run` and `create` share, one file a heading of their help,
//! and the request they make.

mod file_systems;
mod health;
mod identity;
mod limits;
mod network;
mod process;
mod request;
mod security;

use clap::{Args, ValueEnum};

pub use file_systems::FileSystemOptions;
pub use health::HealthOptions;
pub use identity::IdentityOptions;
pub use limits::LimitOptions;
pub use network::NetworkOptions;
pub use process::ProcessOptions;
pub use security::SecurityOptions;

/// When to ask the registry for the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    Always,
    #[default]
    Missing,
    Never,
}

/// Which stream `-a` attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

/// Options of a new container.
#[derive(Args, Clone, Debug)]
pub struct ContainerOptions {
    #[command(flatten)]
    pub process: ProcessOptions,
    #[command(flatten)]
    pub identity: IdentityOptions,
    #[command(flatten)]
    pub file_systems: FileSystemOptions,
    #[command(flatten)]
    pub network: NetworkOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
    #[command(flatten)]
    pub security: SecurityOptions,
    #[command(flatten)]
    pub health: HealthOptions,
}

#[cfg(test)]
#[path = "container_options/tests.rs"]
mod tests;

//! `carrack container …`

use clap::Subcommand;

use super::{
    Context,
    attach::Attach,
    cp::Cp,
    exec::Exec,
    inspect::{Inspect, Kind},
    lifecycle,
    logs::Logs,
    ports::{Port, Top},
    ps::Ps,
    run,
    stats::Stats,
    system::Prune,
};
use crate::error::CliError;

/// Commands on containers.
#[derive(Subcommand, Debug)]
pub enum ContainerCommand {
    /// Connect to a running container's input and output
    Attach(Attach),
    /// Copy files between a container and this machine
    Cp(Cp),
    /// Create a container without starting it
    Create(Box<run::Create>),
    /// Run a command in a running container
    Exec(Exec),
    /// Show details of containers as JSON
    Inspect(Inspect),
    /// Send a signal to containers
    Kill(lifecycle::Kill),
    /// Show what a container wrote
    Logs(Logs),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(Ps),
    /// Freeze all processes of containers
    Pause(lifecycle::Pause),
    /// Show where a container's ports are published
    Port(Port),
    /// Remove all stopped containers
    Prune(Prune),
    /// Give a container another name
    Rename(lifecycle::Rename),
    /// Stop and start containers
    Restart(lifecycle::Restart),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(lifecycle::Rm),
    /// Create a container from an image and run it
    Run(Box<run::Run>),
    /// Start stopped containers
    Start(run::Start),
    /// Show what containers use of the host
    Stats(Stats),
    /// Stop containers
    Stop(lifecycle::Stop),
    /// List the processes of a container
    Top(Top),
    /// Let frozen containers go on
    Unpause(lifecycle::Unpause),
    /// Wait until containers stop and print their exit codes
    Wait(lifecycle::Wait),
}

impl ContainerCommand {
    pub(super) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        match self {
            Self::Attach(command) => command.run(ctx).await,
            Self::Cp(command) => command.run(ctx).await,
            Self::Create(command) => command.run(ctx).await,
            Self::Exec(command) => command.run(ctx).await,
            Self::Inspect(command) => command.run(ctx, Some(Kind::Container)).await,
            Self::Kill(command) => command.run(ctx).await,
            Self::Logs(command) => command.run(ctx).await,
            Self::Ls(command) => command.run(ctx).await,
            Self::Pause(command) => command.run(ctx).await,
            Self::Port(command) => command.run(ctx).await,
            Self::Prune(command) => command.containers(ctx).await,
            Self::Rename(command) => command.run(ctx).await,
            Self::Restart(command) => command.run(ctx).await,
            Self::Rm(command) => command.run(ctx).await,
            Self::Run(command) => command.run(ctx).await,
            Self::Start(command) => command.run(ctx).await,
            Self::Stats(command) => command.run(ctx).await,
            Self::Stop(command) => command.run(ctx).await,
            Self::Top(command) => command.run(ctx).await,
            Self::Unpause(command) => command.run(ctx).await,
            Self::Wait(command) => command.run(ctx).await,
        }
    }
}

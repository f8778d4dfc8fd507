//! The commands: which there are, and what each has in common.

mod attach;
mod completion;
mod container_options;
mod containers;
mod cp;
mod events;
mod exec;
mod images;
mod info;
mod inspect;
mod lifecycle;
mod login;
mod logs;
mod network;
mod ports;
mod ps;
mod pull;
mod run;
mod stats;
mod system;
mod volume;

use clap::Subcommand;

use crate::{
    build::{BuildImage, BuildsCommand},
    client::Engine,
    config::Settings,
    error::CliError,
    hint, output,
};

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) engine: Engine,
    pub(crate) settings: Settings,
    /// The whole program, for completion.
    pub(crate) root: Option<fn() -> clap::Command>,
}

/// A command of the command line.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Create a container from an image and run it
    Run(Box<run::Run>),
    /// Run a command in a running container
    Exec(exec::Exec),
    /// List containers
    Ps(ps::Ps),
    /// Show what a container wrote
    Logs(logs::Logs),
    /// Download an image
    Pull(pull::Pull),
    /// Upload an image
    Push(pull::Push),
    /// List images
    Images(images::Images),
    /// Build an image from a Dockerfile on a Carrack server
    Build(Box<BuildImage>),
    /// Log in to a registry
    Login(login::Login),
    /// Log out of a registry
    Logout(login::Logout),
    /// Show versions of this program and of the engine
    Version(info::Version),
    /// Show the engine's state and configuration
    Info(info::Info),

    /// Connect to a running container's input and output
    Attach(attach::Attach),
    /// Copy files between a container and this machine
    Cp(cp::Cp),
    /// Create a container without starting it
    Create(Box<run::Create>),
    /// Show the steps that made an image
    History(images::History),
    /// Show details of containers, images, networks and volumes as JSON
    Inspect(inspect::Inspect),
    /// Send a signal to containers
    Kill(lifecycle::Kill),
    /// Freeze all processes of containers
    Pause(lifecycle::Pause),
    /// Show where a container's ports are published
    Port(ports::Port),
    /// Give a container another name
    Rename(lifecycle::Rename),
    /// Stop and start containers
    Restart(lifecycle::Restart),
    /// Remove containers
    Rm(lifecycle::Rm),
    /// Remove images
    Rmi(images::Rmi),
    /// Start stopped containers
    Start(run::Start),
    /// Show what containers use of the host
    Stats(stats::Stats),
    /// Stop containers
    Stop(lifecycle::Stop),
    /// Give an image another name
    Tag(images::Tag),
    /// List the processes of a container
    Top(ports::Top),
    /// Let frozen containers go on
    Unpause(lifecycle::Unpause),
    /// Wait until containers stop and print their exit codes
    Wait(lifecycle::Wait),
    /// Show what happens in the engine
    Events(events::Events),

    /// Commands on the builds of a Carrack server
    #[command(subcommand)]
    Builds(BuildsCommand),
    /// Commands on containers
    #[command(subcommand)]
    Container(containers::ContainerCommand),
    /// Commands on images
    #[command(subcommand)]
    Image(images::ImageCommand),
    /// Commands on networks
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Commands on volumes
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// Commands on the engine
    #[command(subcommand)]
    System(system::SystemCommand),

    /// Print a completion script for a shell
    Completion(completion::Completion),
}

impl Command {
    /// Runs the command; the number is the exit code of the program.
    pub(crate) async fn run(self, ctx: &Context) -> Result<u8, CliError> {
        match self {
            Self::Run(command) => command.run(ctx).await,
            Self::Exec(command) => command.run(ctx).await,
            Self::Ps(command) => command.run(ctx).await,
            Self::Logs(command) => command.run(ctx).await,
            Self::Pull(command) => command.run(ctx).await,
            Self::Push(command) => command.run(ctx).await,
            Self::Images(command) => command.run(ctx).await,
            Self::Build(command) => command.run(&ctx.settings).await,
            Self::Builds(command) => command.run(&ctx.settings).await,
            Self::Login(command) => command.run(ctx).await,
            Self::Logout(command) => command.run(ctx).await,
            Self::Version(command) => command.run(ctx).await,
            Self::Info(command) => command.run(ctx).await,
            Self::Attach(command) => command.run(ctx).await,
            Self::Cp(command) => command.run(ctx).await,
            Self::Create(command) => command.run(ctx).await,
            Self::History(command) => command.run(ctx).await,
            Self::Inspect(command) => command.run(ctx, None).await,
            Self::Kill(command) => command.run(ctx).await,
            Self::Pause(command) => command.run(ctx).await,
            Self::Port(command) => command.run(ctx).await,
            Self::Rename(command) => command.run(ctx).await,
            Self::Restart(command) => command.run(ctx).await,
            Self::Rm(command) => command.run(ctx).await,
            Self::Rmi(command) => command.run(ctx).await,
            Self::Start(command) => command.run(ctx).await,
            Self::Stats(command) => command.run(ctx).await,
            Self::Stop(command) => command.run(ctx).await,
            Self::Tag(command) => command.run(ctx).await,
            Self::Top(command) => command.run(ctx).await,
            Self::Unpause(command) => command.run(ctx).await,
            Self::Wait(command) => command.run(ctx).await,
            Self::Events(command) => command.run(ctx).await,
            Self::Container(command) => command.run(ctx).await,
            Self::Image(command) => command.run(ctx).await,
            Self::Network(command) => command.run(ctx).await,
            Self::Volume(command) => command.run(ctx).await,
            Self::System(command) => command.run(ctx).await,
            Self::Completion(command) => command.run(ctx),
        }
    }
}

/// Does one thing to each name. Prints the names it worked for; a failure is
/// told and the rest goes on.
async fn each<F>(
    ctx: &Context,
    names: &[String],
    mut action: impl FnMut(String) -> F,
) -> Result<u8, CliError>
where
    F: Future<Output = Result<Option<String>, CliError>>,
{
    let mut failed = false;
    for name in names {
        match action(name.clone()).await {
            Ok(Some(text)) => output::line(text)?,
            Ok(None) => {}
            Err(error @ (CliError::Connect(_) | CliError::BrokenPipe)) => return Err(error),
            Err(error) => {
                output::note(error.to_string());
                hint::show(&error, ctx.settings.hints);
                failed = true;
            }
        }
    }
    Ok(u8::from(failed))
}

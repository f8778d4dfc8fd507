//! The command line: `carrack run`, `ps`, `logs`, … over the engine's Docker
//! REST API.
//!
//! What people know from docker works the same: flags, tables, templates,
//! exit codes, config.json. Arguments become typed commands once
//! ([`Command`]); [`run`] resolves the settings and executes one. The binary
//! adds the commands that need the rest of the program (`serve`, …).
//!
//! Must not contain: the engine, the runtime or the builder; anything that
//! needs root.

mod archive;
mod arguments;
mod build;
mod client;
mod commands;
mod config;
mod credentials;
mod detach;
mod error;
mod flags;
mod format;
mod frames;
mod help;
mod hint;
mod output;
mod progress;
mod registry_login;
mod session;
mod table;
mod template;
mod terminal;
mod units;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

pub use arguments::plain_switches;
pub use commands::Command;
pub use config::{DEFAULT_ENGINE_SOCKET, DEFAULT_SERVER_ADDRESS, Globals};
pub use help::grouped;

/// Runs one command to its end: prints what it has to say, and gives the
/// program's exit code.
pub async fn run(command: Command, globals: Globals) -> ExitCode {
    let mut hints = true;
    let outcome = match prepare(&globals) {
        Ok(ctx) => {
            hints = ctx.settings.hints;
            command.run(&ctx).await
        }
        Err(error) => Err(error),
    };
    ExitCode::from(match outcome {
        Ok(code) => code,
        Err(error) => {
            if !error.is_silent() {
                output::note(error.to_string());
                hint::show(&error, hints);
            }
            error.exit_code()
        }
    })
}

fn prepare(globals: &Globals) -> Result<commands::Context, error::CliError> {
    let settings = config::Settings::resolve(globals)?;
    Ok(commands::Context {
        engine: client::Engine::new(
            settings.endpoint.clone(),
            settings.api_version.as_deref(),
            settings.debug,
        ),
        settings,
        root: globals.root,
    })
}

/// The exit code for a command line that clap refused: as `docker` has it,
/// 125 for a wrong flag or value, 1 for a wrong command or a missing argument,
/// 0 for help.
pub fn usage_exit_code(error: &clap::Error) -> u8 {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        ErrorKind::InvalidSubcommand
        | ErrorKind::MissingSubcommand
        | ErrorKind::MissingRequiredArgument
        | ErrorKind::TooFewValues
        | ErrorKind::WrongNumberOfValues
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error::FAILED,
        _ => error::ENGINE_FAILED,
    }
}

/// The engine's command line alone, as a program called `carrack`.
#[derive(Parser, Debug)]
#[command(
    name = "carrack",
    version,
    about = "Push, build and run container images",
    propagate_version = false
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// The clap definition of the commands of this crate.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests;

//! The `carrack` binary: argument dispatch and process wiring, nothing else.
//!
//! `carrack serve` is a tree of processes of this one binary:
//! supervisor → front and engine process → launcher → monitors.

mod config;
mod engine_process;
mod front;
mod http_server;
mod logging;
mod serve;
mod service_manager;
mod supervisor;

use std::{ffi::OsString, process::ExitCode};

use clap::{ArgMatches, Command, FromArgMatches};

fn main() -> ExitCode {
    // The launcher forks, so it must be reached before any thread exists.
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some("launcher") => runtime::launcher_main(),
        Some("internal") => return internal(arguments.get(2)),
        _ => {}
    }
    let program = command();
    let arguments = cli::plain_switches(&program, arguments);
    let matches = match program.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error),
    };
    let outcome = match matches.subcommand() {
        Some(("serve", flags)) => serve::serve(flags),
        Some(("config", flags)) => serve::print_config(flags),
        _ => return client(&matches),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::last_words(&error);
            ExitCode::FAILURE
        }
    }
}

/// Commands of the client.
fn client(matches: &ArgMatches) -> ExitCode {
    let parsed = cli::Command::from_arg_matches(matches)
        .and_then(|command| Ok((command, cli::Globals::from_arg_matches(matches)?)));
    match parsed {
        Ok((parsed, globals)) => {
            let globals = cli::Globals {
                root: Some(command),
                ..globals
            };
            block_on(cli::run(parsed, globals))
        }
        Err(error) => refuse(&error),
    }
}

/// Prints help, the version, or what is wrong with the arguments.
fn refuse(error: &clap::Error) -> ExitCode {
    // A closed terminal changes nothing about the exit code.
    let _ = error.print();
    ExitCode::from(cli::usage_exit_code(error))
}

/// Children of the supervisor.
fn internal(name: Option<&OsString>) -> ExitCode {
    let outcome = match name.and_then(|name| name.to_str()) {
        Some("front") => front::main(),
        Some("engine") => engine_process::main(),

        _ => Err(anyhow::anyhow!(
            "`internal` is for `carrack serve`, not for people"
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The whole command line: the CLI's commands and the server's.
fn command() -> Command {
    let serve = Command::new("serve")
        .about("Run the registry, the build service and the engine")
        .after_help(
            "Each setting can also be an environment variable or a key of the settings file;\n\
             `carrack config` prints each effective value and where it came from.",
        );
    let config = Command::new("config")
        .about("Print each effective setting of the server and where it came from");
    cli::grouped(
        cli::command()
            .subcommand(config::serve_command(serve))
            .subcommand(config::serve_command(config)),
    )
}

fn block_on(future: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let code = runtime.block_on(future);
            // A blocked read of standard input must not hold the exit.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("carrack: start: {error}");
            ExitCode::FAILURE
        }
    }
}

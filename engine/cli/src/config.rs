//! Where the command line gets its settings: flags, then environment, then
//! Docker's `config.json`. The only module of this crate that reads the
//! environment.

mod file;

use std::{env, ffi::OsString, path::PathBuf};

use clap::Args;

use crate::{client::Endpoint, error::CliError};
pub use file::{ConfigFile, StoredAuth};

/// Where the engine listens unless told otherwise.
pub const DEFAULT_ENGINE_SOCKET: &str = "/run/carrack/engine.sock";
/// Where the registry and the build service listen unless told otherwise.
pub const DEFAULT_SERVER_ADDRESS: &str = "127.0.0.1:5000";

/// Options that stand before the command.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Engine to talk to: unix:///path or tcp://host:port [env: CARRACK_HOST, DOCKER_HOST]
    #[arg(
        short = 'H',
        long,
        value_name = "ADDRESS",
        help_heading = "Global options"
    )]
    pub host: Option<String>,
    /// Carrack server for login and builds [env: CARRACK_SERVER] [default: http://127.0.0.1:5000]
    #[arg(long, value_name = "URL", help_heading = "Global options")]
    pub server: Option<String>,
    /// Directory of the client's config.json [env: DOCKER_CONFIG] [default: ~/.docker]
    #[arg(long = "config", value_name = "DIR", help_heading = "Global options")]
    pub config_dir: Option<PathBuf>,
    /// Print every request to the engine on stderr
    #[arg(short = 'D', long, help_heading = "Global options")]
    pub debug: bool,
    /// Least severe messages to print: debug, info, warn, error, fatal
    #[arg(short = 'l', long, value_name = "LEVEL", default_value = "info",
          value_parser = ["debug", "info", "warn", "error", "fatal"],
          hide_possible_values = true, help_heading = "Global options")]
    pub log_level: String,
    /// The whole program, for `completion`; set by the binary, no flag.
    #[arg(skip)]
    pub root: Option<fn() -> clap::Command>,
}

/// The resolved settings of one run of the program.
#[derive(Debug)]
pub struct Settings {
    pub endpoint: Endpoint,
    /// Base URL without a slash at its end.
    pub server: String,
    pub config: ConfigFile,
    /// Pins the API version in request paths.
    pub api_version: Option<String>,
    /// `--platform` where none is given.
    pub default_platform: Option<String>,
    /// Whether colour and cursor movement are wanted on a terminal.
    pub color: bool,
    /// Whether failures on a terminal are followed by a next step.
    pub hints: bool,
    pub debug: bool,
}

impl Settings {
    /// Resolves flags, environment and config.json.
    ///
    /// # Errors
    /// An address or file that cannot be understood.
    pub fn resolve(globals: &Globals) -> Result<Self, CliError> {
        let host = globals
            .host
            .clone()
            .or_else(|| text("CARRACK_HOST"))
            .or_else(|| text("DOCKER_HOST"));
        let endpoint = match host {
            Some(host) => Endpoint::parse(&host)?,
            None => Endpoint::Unix(PathBuf::from(DEFAULT_ENGINE_SOCKET)),
        };
        let server = globals
            .server
            .clone()
            .or_else(|| text("CARRACK_SERVER"))
            .unwrap_or_else(|| format!("http://{DEFAULT_SERVER_ADDRESS}"));
        let config_dir = globals
            .config_dir
            .clone()
            .or_else(|| text("DOCKER_CONFIG").map(PathBuf::from))
            .unwrap_or_else(|| home().join(".docker"));
        Ok(Self {
            endpoint,
            server: server.trim_end_matches('/').to_owned(),
            config: ConfigFile::load(&config_dir)?,
            api_version: text("DOCKER_API_VERSION"),
            default_platform: text("DOCKER_DEFAULT_PLATFORM"),
            color: text("NO_COLOR").is_none() && text("TERM").is_none_or(|term| term != "dumb"),
            hints: text("DOCKER_CLI_HINTS")
                .is_none_or(|hints| !matches!(hints.as_str(), "0" | "false" | "off")),
            debug: globals.debug || globals.log_level == "debug",
        })
    }

    /// `host[:port]` of the Carrack server, as config.json and image names have it.
    pub fn server_host(&self) -> &str {
        let rest = self
            .server
            .split_once("://")
            .map_or(self.server.as_str(), |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }
}

/// A variable of the caller's environment, for `-e NAME` without a value.
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// The directory that relative paths of `-v ./x:/x` start from.
pub fn current_dir() -> Result<PathBuf, CliError> {
    env::current_dir().map_err(|error| CliError::io("cannot read the current directory", error))
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn home() -> PathBuf {
    env::var_os("HOME")
        .filter(|home: &OsString| !home.is_empty())
        .map_or_else(|| PathBuf::from("/root"), PathBuf::from)
}

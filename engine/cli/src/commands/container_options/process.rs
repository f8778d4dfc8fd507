//! The process: its command, user, environment and streams.

use std::path::PathBuf;

use clap::Args;

use super::Stream;

/// Options below the heading "Process".
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Process")]
pub struct ProcessOptions {
    /// Keep standard input open even if it is not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Attach to stdin, stdout or stderr
    #[arg(short, long, value_name = "STREAM", ignore_case = true)]
    pub attach: Vec<Stream>,
    /// Replace the entrypoint of the image
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// User name or id, and group (user[:group])
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Join additional groups
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Set an environment variable; without a value: pass ours on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Run an init that forwards signals and reaps processes
    #[arg(long)]
    pub init: bool,
    /// Signal that stops the container
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Seconds to wait before a container that does not stop is killed
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub stop_timeout: Option<i64>,
}

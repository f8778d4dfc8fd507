//! What the container is called, where its image comes from and what becomes of it.

use std::path::PathBuf;

use clap::Args;
use engine_api::RestartPolicy;

use super::PullPolicy;
use crate::flags;

/// Options below the heading "Container".
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Container")]
pub struct IdentityOptions {
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Host name inside the container
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// NIS domain name inside the container
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Set an annotation for the runtime
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Write the id of the container to a file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Remove the container when it exits
    #[arg(long)]
    pub rm: bool,
    /// Restart policy: no, always, unless-stopped or on-failure[:max]
    #[arg(long, value_name = "POLICY", value_parser = flags::restart_policy)]
    pub restart: Option<RestartPolicy>,
    /// When to pull the image
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub pull: PullPolicy,
    /// Platform of the image (os/architecture[/variant])
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Do not print pull progress
    #[arg(short, long)]
    pub quiet: bool,
    /// Logging driver
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,
    /// Option of the logging driver
    #[arg(long, value_name = "KEY=VALUE")]
    pub log_opt: Vec<String>,
    /// OCI runtime to use
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
}

//! Volumes, mounts and the root file system.

use clap::Args;
use engine_api::Mount;

use crate::flags::{self, Volume};

/// Options below the heading "File systems".
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "File systems")]
pub struct FileSystemOptions {
    /// Mount a volume or a directory (source:/path[:options])
    #[arg(short, long, value_name = "VOLUME", value_parser = flags::volume)]
    pub volume: Vec<Volume>,
    /// Attach a mount (type=bind,source=/a,target=/b,…)
    #[arg(long, value_name = "MOUNT", value_parser = flags::mount)]
    pub mount: Vec<Mount>,
    /// Mount a tmpfs (/path[:options])
    #[arg(long, value_name = "PATH", value_parser = flags::tmpfs)]
    pub tmpfs: Vec<(String, String)>,
    /// Mount the volumes of another container
    #[arg(long, value_name = "CONTAINER")]
    pub volumes_from: Vec<String>,
    /// Driver of the volumes made on the way
    #[arg(long, value_name = "DRIVER")]
    pub volume_driver: Option<String>,
    /// Make the root file system read-only
    #[arg(long)]
    pub read_only: bool,
    /// Option of the storage driver
    #[arg(long, value_name = "KEY=VALUE")]
    pub storage_opt: Vec<String>,
}

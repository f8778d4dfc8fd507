//! What the engine is told at start.

use std::path::PathBuf;

/// Settings of one engine. Every path and name can differ, so that several
/// engines share a host.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Holds `engine.db`, `archives/`, `containers/`, `volumes/`.
    pub data_dir: PathBuf,
    /// Parent of every container's cgroup, relative to the hierarchy's root.
    pub cgroup_parent: String,
    /// Address of the registry that unqualified names are tried at first,
    /// `host:port`; none asks docker.io alone.
    pub mirror: Option<String>,
    /// Bytes of one container's log file before it is rotated, and files kept.
    pub log_max_bytes: u64,
    pub log_max_files: u32,
    /// Layers that download and unpack at the same time, over all pulls.
    pub pulls_max: usize,
    /// Names of images are resolved on this host too (`info`'s `Name`).
    pub host_name: String,
}

impl EngineConfig {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            cgroup_parent: "carrack".to_owned(),
            mirror: None,
            // Bounded by default: unbounded logs are how hosts run full.
            log_max_bytes: 64 * 1024 * 1024,
            log_max_files: 3,
            pulls_max: 6,
            host_name: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
        }
    }
}

//! What the build service is told when it starts.

use std::path::PathBuf;

/// Settings of the build service; none is read from the environment here.
#[derive(Clone, Debug)]
pub struct BuilderConfig {
    /// Holds `builder.db`, `token.key`, `contexts/`, `cache/` and `blobs/`.
    pub data_dir: PathBuf,
    /// Builds that run at once.
    pub workers: usize,
    /// Steps that run at once, over all builds.
    pub steps_max: usize,
    /// Builds that may wait; more are answered with 429.
    pub queued_max: usize,
    /// Largest context tarball in bytes, as sent.
    pub context_bytes_max: u64,
    /// Bytes of cached steps, their layers and compressed forms, and of cache
    /// mounts; above this the least recently used go. `None`: no bound.
    pub cache_bytes_max: Option<u64>,
    /// Ended builds that are remembered with their logs.
    pub builds_kept_max: u32,
    /// Bytes of their logs; the newest build is remembered in any case.
    pub log_bytes_max: u64,
    /// `host:port` names of our own registry: the token that comes with a
    /// build is sent to these and to no other.
    pub registry_hosts: Vec<String>,
    /// Cgroup below which every step gets its own.
    pub cgroup_parent: String,
    /// Most memory of one step in bytes.
    pub step_memory_bytes: Option<u64>,
    /// Most processes of one step.
    pub step_pids_max: Option<u64>,
}

impl BuilderConfig {
    /// Defaults for a data directory.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            workers: 2,
            steps_max: std::thread::available_parallelism()
                .map_or(2, usize::from)
                .max(2),
            queued_max: 1000,
            // Contexts above this are a forgotten .dockerignore.
            context_bytes_max: 8 * 1024 * 1024 * 1024,
            cache_bytes_max: None,
            builds_kept_max: 1000,
            // Logs of usual builds are far from it; sixteen of the longest that
            // are recorded are not.
            log_bytes_max: 1024 * 1024 * 1024,
            registry_hosts: Vec::new(),
            cgroup_parent: "carrack".to_owned(),
            step_memory_bytes: None,
            // Far above any compiler's needs, far below what starves a host.
            step_pids_max: Some(32_768),
        }
    }
}

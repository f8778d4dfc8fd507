//! The server's settings: one table from which flags, `CARRACK_…` variables,
//! the TOML file and `carrack config` are all made, so that they mean the same.
//!
//! Precedence: flag, then environment, then file, then default.

mod keys;
mod layers;
mod value;

use std::{
    env,
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use layers::{resolve, serve_command};

/// Variables that are for the supervisor alone: its children do not inherit them.
pub const SUPERVISOR_VARIABLES: &[&str] = &["CARRACK_ADMIN_PASSWORD", NOTIFY_SOCKET];
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// A part of Carrack that a host can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Registry,
    Builder,
    Engine,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Registry, Self::Builder, Self::Engine];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Builder => "builder",
            Self::Engine => "engine",
        }
    }
}

/// Every effective setting, parsed. The supervisor sends it to its children,
/// so a file that changes meanwhile cannot split their minds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub roles: Vec<Role>,
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub public_url: Option<String>,
    pub engine_socket: PathBuf,
    pub builder_socket: PathBuf,
    /// Groups of which the first that exists owns the two sockets.
    pub socket_group: Vec<String>,
    /// User the front process runs as, by name or number.
    pub front_user: String,
    pub database_url: String,
    pub storage: String,
    pub admin_password: Option<String>,
    pub bridge: String,
    pub bridge_subnet: Subnet,
    pub cgroup_parent: String,
    pub build_workers: usize,
    pub build_cache_max: Share,
    pub log: String,
    pub log_format: LogFormat,
    /// How long a part may take to serve after its start.
    pub start_timeout: Duration,
    pub shutdown_timeout: Duration,
}

/// A part of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    Bytes(u64),
    /// Of the file system's size.
    Percent(u8),
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// An IPv4 network in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub address: Ipv4Addr,
    pub prefix_len: u8,
}

/// Where the service manager that started us wants to hear (sd_notify(3)).
pub fn notify_socket() -> Option<OsString> {
    env::var_os(NOTIFY_SOCKET).filter(|address| !address.is_empty())
}

/// Whether colour is welcome on a terminal (no-color.org).
pub fn wants_colour() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Config {
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// State of the supervisor: lock, sockets between the processes.
    pub fn run_dir(&self) -> PathBuf {
        self.data_dir.join("run")
    }

    /// The socket on which the engine process serves the build API to the front.
    pub fn front_builder_socket(&self) -> PathBuf {
        self.run_dir().join("builder.sock")
    }

    /// The registry's database file.
    pub fn database_file(&self) -> Option<PathBuf> {
        let file = self.database_url.strip_prefix("sqlite:")?;
        Some(PathBuf::from(file.strip_prefix("//").unwrap_or(file)))
    }

    /// Directory of the registry's database file.
    pub fn database_dir(&self) -> Option<PathBuf> {
        self.database_file()?.parent().map(Path::to_path_buf)
    }

    /// Where the registry keeps its blobs.
    pub fn storage_dir(&self) -> PathBuf {
        Path::new(&self.storage).to_path_buf()
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;

//! Snapshots, mounts, namespaces, cgroups, processes and links: what the
//! engine and the build solver share.
//!
//! Gets digests and specs; knows no image names, no HTTP and no SQL.

pub mod bridge;
pub mod caps;
pub mod cgroup;
mod exec;
mod init;
pub mod launcher;
pub mod monitor;
mod netlink;
mod netns;
mod nft;
pub mod ports;
mod pty;
pub mod root;
mod seccomp;
pub mod spec;
mod sys;
pub mod user;

pub use launcher::launcher_main;

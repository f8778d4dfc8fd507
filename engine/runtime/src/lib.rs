//! Snapshots, mounts, namespaces, cgroups, processes and links: what the
//! engine and the build solver share.
//!
//! Gets digests and specs; knows no image names, no HTTP and no SQL.

pub mod bridge;
pub mod caps;
pub mod cgroup;
pub mod diff;
mod exec;
pub mod host;
mod init;
pub mod launcher;
pub mod monitor;
pub mod mount;
mod netlink;
mod netns;
mod nft;
pub mod ports;
mod pty;
pub mod root;
mod seccomp;
pub mod snapshot;
pub mod spec;
mod sys;
pub mod unpack;
pub mod user;

pub use launcher::launcher_main;
pub use sys::queue::unread_bytes;

//! Snapshots, mounts, namespaces, cgroups, processes and links: what the
//! engine and the build solver share.
//!
//! Gets digests and specs; knows no image names, no HTTP and no SQL.

pub mod bridge;
pub mod caps;
mod netlink;
mod netns;
mod nft;
pub mod ports;
pub mod root;
pub mod spec;

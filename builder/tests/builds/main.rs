//! Whole builds over the build API, made as root: real sandboxes, snapshots
//! and cache, with the machine's static busybox as the only program.

#![expect(clippy::unwrap_used, reason = "tests")]

mod api;
mod cache;
mod copy;
mod db;
mod harness;
mod hostile;
mod pull;
mod registry;
mod run;

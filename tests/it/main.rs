//! Whole-system tests: the real binary, real clients, real namespaces.
//!
//! Needs root and the packages that `make test` installs. Each test starts an
//! instance of its own and ends with a leak check.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod build;
mod cli;
mod completion;
mod drain;
mod engine_kill;
mod faults;
mod follow_build;
mod full_disk;
mod harness;
mod hostile;
mod memory;
mod network;
mod push_pull;
mod registry_kill;
mod run;
mod sdk;
mod serve;
mod settings;
mod side_by_side;
mod start_deadline;
mod tidy;

//! Real containers, made as root from the machine's static busybox.

#![expect(clippy::unwrap_used, reason = "tests")]

mod advisories;
mod bridged;
mod exec;
mod filter;
mod harness;
mod isolation;
mod keyring;
mod lifecycle;
mod limits;
mod unified;

//! The registry over real sockets, as its clients see it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access;
mod bad_input;
mod client;
mod fault;
mod harness;
mod hostile;
mod patience;
mod push_pull;
mod resume;

//! The command line.

pub mod client;
pub mod config;
pub mod detach;
pub mod error;
pub mod format;
pub mod frames;
pub mod output;
pub mod progress;
pub mod session;
pub mod table;
pub mod template;
pub mod terminal;
pub mod units;

//! The build service: Dockerfile to LLB to solver to image.
//!
//! Must not contain: engine or Docker REST types; the solver must not know
//! Dockerfiles.

mod config;
mod db;
pub mod dockerfile;
mod export;
pub mod lower;
mod ops;
mod service;
mod solver;

pub use config::BuilderConfig;
pub use service::{Builder, OpenError};

//! The build service: Dockerfile to LLB to solver to image.
//!
//! Must not contain: engine or Docker REST types; the solver must not know
//! Dockerfiles.

pub mod dockerfile;
pub mod lower;

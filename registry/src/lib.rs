//! The private registry: the OCI distribution API, its token service, metadata
//! in SQL and blobs in a store.
//!
//! A request walks http → use case → {db, content, auth}; a lower layer never
//! imports a higher one. What was answered with 201 is durable; everything else
//! may vanish in a crash and is never visible half-made. One process owns a
//! data directory.
//!
//! Must not contain: runtime, builder, engine, namespaces.

mod auth;
mod config;
mod content;
mod db;
mod endpoint;
mod error;
mod http;
mod metrics;
mod service;
mod sweep;
mod usecase;

pub use auth::{AuthError, AuthSetupError, Caller};
pub use config::{DatabaseUrl, RegistryConfig, Storage, UnsupportedBackend};
pub use content::StoreError;
pub use db::DbError;
pub use endpoint::Action;
pub use service::{OpenError, Registry};

//! The OCI vocabulary that every other crate speaks: digests, references,
//! descriptors, manifests and image configurations, and behind features the
//! layer archives and the registry client.
//!
//! Must not contain: SQL, an HTTP server, environment or configuration
//! reading, namespaces.

#[cfg(feature = "client")]
pub mod client;
mod config;
mod digest;
pub mod ignore;
#[cfg(feature = "layer")]
pub mod layer;
mod manifest;
mod media_type;
mod platform;
mod quote;
mod reference;

pub use config::{ContainerConfig, History, ImageConfig, RootFs};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use manifest::{
    Descriptor, ImageIndex, ImageManifest, MANIFEST_BYTES_MAX, Manifest, ManifestError,
};
pub use media_type::MediaType;
pub use platform::Platform;
pub use quote::quote;
pub use reference::{DEFAULT_REGISTRY, Reference, ReferenceError, Repository, Tag};

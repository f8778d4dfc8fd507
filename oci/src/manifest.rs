//! Manifests: image manifests and indexes, parsed for their references.
//!
//! The bytes a client sent are the manifest; the parsed form is only a view.
//! Nothing here re-serialises a received manifest, since that would change
//! its digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, MediaType, Platform};

/// Largest manifest, in bytes, that is parsed: the limit every large registry
/// uses and that distribution-spec names as the least to support.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("manifest is {0} bytes: at most {MANIFEST_BYTES_MAX} are allowed")]
    TooLarge(usize),
    #[error("manifest is not valid JSON of its media type: {0}")]
    Json(#[from] serde_json::Error),
    #[error("manifest has schemaVersion {0}: only 2 is supported")]
    SchemaVersion(u64),
    #[error("manifest says mediaType {found} but was sent as {expected}")]
    MediaTypeMismatch { expected: String, found: String },
    #[error("manifest has both layers and manifests, so it could be read in two ways")]
    Ambiguous,
    #[error("manifest media type {0:?} cannot be read as an image")]
    Unsupported(String),
}

/// A reference to content: media type, digest, size in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: MediaType,
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

impl Descriptor {
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: MediaType::from(media_type),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            artifact_type: None,
            urls: Vec::new(),
        }
    }
}

/// An image manifest, OCI or Docker schema 2. `config` is optional since
/// image-spec made it so in 2026.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    pub schema_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Descriptor>,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image index or Docker manifest list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    pub schema_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A parsed manifest.
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time and is matched at once: a box would only add a hop"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    Image(ImageManifest),
    Index(ImageIndex),
}

impl Manifest {
    /// Parses `bytes` that were sent or stored as `media_type`.
    ///
    /// # Errors
    /// When the bytes are too large, not JSON of that type, or ambiguous
    /// between image and index (CVE-2021-41190).
    pub fn parse(media_type: &MediaType, bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            schema_version: u64,
            media_type: Option<MediaType>,
            layers: Option<serde::de::IgnoredAny>,
            config: Option<serde::de::IgnoredAny>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let probe: Probe = serde_json::from_slice(bytes)?;
        if probe.schema_version != 2 {
            return Err(ManifestError::SchemaVersion(probe.schema_version));
        }
        if let Some(found) = probe.media_type.filter(|found| found != media_type) {
            return Err(ManifestError::MediaTypeMismatch {
                expected: media_type.to_string(),
                found: found.to_string(),
            });
        }
        if probe.manifests.is_some() && (probe.layers.is_some() || probe.config.is_some()) {
            return Err(ManifestError::Ambiguous);
        }
        if media_type.is_index() {
            Ok(Self::Index(serde_json::from_slice(bytes)?))
        } else if media_type.is_image_manifest() {
            Ok(Self::Image(serde_json::from_slice(bytes)?))
        } else {
            Err(ManifestError::Unsupported(media_type.to_string()))
        }
    }

    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Image(image) => image.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }
}

#[cfg(test)]
#[path = "manifest/tests.rs"]
mod tests;

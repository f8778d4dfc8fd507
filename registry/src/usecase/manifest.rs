//! Accepting a manifest: parsed, its references checked, stored byte for byte.

use std::sync::Arc;

use http::StatusCode;
use oci::{
    Descriptor, Digest, Hasher, MANIFEST_BYTES_MAX, Manifest, ManifestError, MediaType, Repository,
    Tag,
};
use serde_json::json;

use crate::{
    db::{ManifestPut, PutOutcome, RefRow},
    endpoint::ManifestKey,
    error::ApiError,
    service::Service,
};

/// Missing digests named in one error.
const MISSING_SHOWN: usize = 16;

/// A manifest as it arrived.
#[derive(Debug)]
pub(crate) struct PutManifest {
    pub(crate) repo: Repository,
    pub(crate) key: ManifestKey,
    /// Further tags, given in the query.
    pub(crate) tags: Vec<Tag>,
    pub(crate) content_type: Option<MediaType>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) actor: String,
}

/// What the answer says about a stored manifest.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) digest: Digest,
    pub(crate) subject: Option<Digest>,
}

/// Checks and stores a manifest with its edges and tags in one transaction.
pub(crate) async fn put_manifest(
    service: &Arc<Service>,
    put: PutManifest,
) -> Result<Stored, ApiError> {
    let media_type = media_type(put.content_type, &put.bytes)?;
    let manifest = Manifest::parse(&media_type, &put.bytes).map_err(refuse)?;
    let (digest, mut tags) = match put.key {
        ManifestKey::Tag(tag) => (Digest::sha256(&put.bytes), vec![tag]),
        ManifestKey::Digest(digest) => (check_digest(digest, &put.bytes)?, Vec::new()),
    };
    for tag in put.tags {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let subject = manifest.subject().map(|subject| subject.digest);
    let (artifact_type, annotations) = described(&manifest);
    let refs = edges(&manifest);
    let outcome = service
        .db
        .put_manifest(ManifestPut {
            repo: put.repo,
            digest,
            media_type: media_type.to_string(),
            artifact_type,
            payload: put.bytes,
            subject,
            annotations,
            refs,
            tags,
            actor: put.actor,
        })
        .await?;
    match outcome {
        PutOutcome::Stored => Ok(Stored { digest, subject }),
        PutOutcome::BlobsMissing(missing) => Err(missing_blobs(&missing)),
    }
}

/// The type by header, else by the document; the two must agree, which parsing checks.
fn media_type(header: Option<MediaType>, bytes: &[u8]) -> Result<MediaType, ApiError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe {
        media_type: Option<MediaType>,
    }
    if let Some(header) = header.filter(|header| !header.as_str().is_empty()) {
        return Ok(header);
    }
    serde_json::from_slice::<Probe>(bytes)
        .ok()
        .and_then(|probe| probe.media_type)
        .ok_or_else(|| {
            ApiError::bad(
                "MANIFEST_INVALID",
                "the request has no Content-Type and the document no mediaType: send the \
                 manifest's media type as Content-Type",
            )
        })
}

fn refuse(error: ManifestError) -> ApiError {
    let message = error.to_string();
    match error {
        ManifestError::TooLarge(_) => too_large(),
        ManifestError::Unsupported(_) => ApiError::bad(
            "MANIFEST_INVALID",
            format!("{message}: push an OCI image manifest or index, or Docker's schema 2"),
        ),
        ManifestError::Json(_)
        | ManifestError::SchemaVersion(_)
        | ManifestError::MediaTypeMismatch { .. }
        | ManifestError::Ambiguous => ApiError::bad("MANIFEST_INVALID", message),
    }
}

pub(crate) fn too_large() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "SIZE_INVALID",
        format!(
            "a manifest may have at most {MANIFEST_BYTES_MAX} bytes: move large content into blobs"
        ),
    )
}

fn check_digest(wanted: Digest, bytes: &[u8]) -> Result<Digest, ApiError> {
    let mut hasher = Hasher::new(wanted.algorithm());
    hasher.update(bytes);
    let found = hasher.finish();
    match found == wanted {
        true => Ok(wanted),
        false => Err(ApiError::bad(
            "DIGEST_INVALID",
            format!("the manifest hashes to {found}, not to {wanted} of its path"),
        )),
    }
}

fn missing_blobs(missing: &[Digest]) -> ApiError {
    let shown: Vec<String> = missing
        .iter()
        .take(MISSING_SHOWN)
        .map(ToString::to_string)
        .collect();
    ApiError::not_found(
        "MANIFEST_BLOB_UNKNOWN",
        format!(
            "{} of the blobs that the manifest names are not in this repository: push or mount \
             them first ({}{})",
            missing.len(),
            shown.join(", "),
            if missing.len() > shown.len() {
                ", …"
            } else {
                ""
            },
        ),
    )
    .with_detail(json!({ "digests": shown }))
}

/// Artifact type and annotations as the referrers list shows them.
fn described(manifest: &Manifest) -> (Option<String>, Option<String>) {
    let (artifact_type, annotations) = match manifest {
        Manifest::Image(image) => (
            image
                .artifact_type
                .clone()
                .filter(|text| !text.is_empty())
                .or_else(|| image.config.as_ref().map(|c| c.media_type.to_string())),
            &image.annotations,
        ),
        Manifest::Index(index) => (index.artifact_type.clone(), &index.annotations),
    };
    let annotations = (!annotations.is_empty())
        .then(|| serde_json::to_string(annotations).ok())
        .flatten();
    (artifact_type, annotations)
}

/// What the manifest refers to. Children of an index may come later or never
/// (sparse indexes), and may be blobs (build caches), so they are not required.
fn edges(manifest: &Manifest) -> Vec<RefRow> {
    let edge = |kind, descriptor: &Descriptor, required| RefRow {
        kind,
        digest: descriptor.digest,
        size_bytes: descriptor.size,
        required,
    };
    match manifest {
        Manifest::Image(image) => image
            .config
            .iter()
            .map(|config| edge("config", config, true))
            .chain(
                image
                    .layers
                    .iter()
                    .map(|layer| edge("layer", layer, is_distributable(&layer.media_type))),
            )
            .collect(),
        Manifest::Index(index) => index
            .manifests
            .iter()
            .map(|child| edge("manifest", child, false))
            .collect(),
    }
}

/// Layers that licences keep with their vendor are never pushed.
fn is_distributable(media_type: &MediaType) -> bool {
    let text = media_type.as_str();
    !text.contains(".nondistributable.") && !text.contains(".foreign.")
}

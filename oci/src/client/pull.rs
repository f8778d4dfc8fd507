//! Reading from a registry: manifests, images and the presence of blobs.

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::{
    Method, Response, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};

use super::{
    Client,
    auth::Credentials,
    blob::header_digest,
    error::{ClientError, Subject},
    transport::{self, Call},
};
use crate::{
    Descriptor, Digest, ImageConfig, ImageIndex, ImageManifest, MANIFEST_BYTES_MAX, Manifest,
    MediaType, Platform, Reference,
};

/// Largest image configuration that is read, in bytes.
const CONFIG_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Indexes within indexes that are followed.
const INDEX_DEPTH_MAX: usize = 4;
/// Manifests this client understands, newest first; registries choose by it.
const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// An image of one platform, read whole except for its layers.
#[derive(Clone, Debug)]
pub struct Image {
    /// What the reference names: an index, or the manifest itself.
    pub target: Descriptor,
    /// The manifest of the chosen platform.
    pub descriptor: Descriptor,
    pub manifest: ImageManifest,
    /// The manifest exactly as the registry holds it.
    pub manifest_bytes: Bytes,
    pub config: ImageConfig,
    /// The configuration exactly as the registry holds it; its digest is Docker's image id.
    pub config_bytes: Bytes,
    pub config_descriptor: Descriptor,
}

impl Client {
    /// Finds what a tag or digest names, without its content where the registry allows it.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Unreachable` and the other ways a registry refuses.
    pub async fn resolve(
        &self,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<Descriptor, ClientError> {
        let call = manifest_call(Method::HEAD, reference);
        let (response, _) = self.transport.send(&call, credentials).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(transport::refusal(&call.subject, response).await);
        }
        if response.status().is_success()
            && let Some(descriptor) = described_by_headers(reference, &response)
        {
            return Ok(descriptor);
        }
        // Some registries refuse HEAD or leave headers out, and a refusal's body says why.
        let (descriptor, _) = self.fetch_manifest(reference, credentials).await?;
        Ok(descriptor)
    }

    /// Fetches a manifest's bytes, verified against the reference's digest or the
    /// digest that the registry states.
    ///
    /// # Errors
    /// As [`Client::resolve`], and `Corrupt`.
    pub async fn manifest(
        &self,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<(MediaType, Bytes), ClientError> {
        let (descriptor, bytes) = self.fetch_manifest(reference, credentials).await?;
        Ok((descriptor.media_type, bytes))
    }

    /// Fetches the image for `platform`: manifest, through indexes, and configuration.
    ///
    /// # Errors
    /// As [`Client::manifest`]; `NoPlatform` when an index has no fitting entry;
    /// `Manifest` or `Config` when the documents cannot be read as an image.
    pub async fn image(
        &self,
        reference: &Reference,
        platform: &Platform,
        credentials: &Credentials,
    ) -> Result<Image, ClientError> {
        let (target, mut bytes) = self.fetch_manifest(reference, credentials).await?;
        let mut descriptor = target.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let manifest = Manifest::parse(&descriptor.media_type, &bytes).map_err(|source| {
                ClientError::Manifest {
                    name: reference.familiar(),
                    source,
                }
            })?;
            match manifest {
                Manifest::Image(manifest) => {
                    return self
                        .with_config(reference, credentials, target, descriptor, manifest, bytes)
                        .await;
                }
                Manifest::Index(index) => {
                    let chosen = select(&index, platform)?.clone();
                    let child = reference.with_digest(chosen.digest);
                    (descriptor, bytes) = self.fetch_manifest(&child, credentials).await?;
                    descriptor.platform = chosen.platform;
                }
            }
        }
        Err(ClientError::Protocol {
            registry: reference.registry().to_owned(),
            reason: format!(
                "indexes of {} nest deeper than {INDEX_DEPTH_MAX}",
                reference.familiar()
            ),
        })
    }

    async fn with_config(
        &self,
        reference: &Reference,
        credentials: &Credentials,
        target: Descriptor,
        descriptor: Descriptor,
        manifest: ImageManifest,
        manifest_bytes: Bytes,
    ) -> Result<Image, ClientError> {
        let config_descriptor = manifest
            .config
            .clone()
            .filter(|config| config.size <= CONFIG_BYTES_MAX)
            .ok_or_else(|| ClientError::Protocol {
                registry: reference.registry().to_owned(),
                reason: format!(
                    "{} has no image configuration of at most {CONFIG_BYTES_MAX} bytes, \
                     so it cannot be run",
                    reference.familiar()
                ),
            })?;
        let config_bytes = self
            .blob(reference, &config_descriptor, credentials)
            .await?
            .collect()
            .await?;
        let config =
            serde_json::from_slice(&config_bytes).map_err(|source| ClientError::Config {
                digest: config_descriptor.digest,
                source,
            })?;
        Ok(Image {
            target,
            descriptor,
            manifest,
            manifest_bytes,
            config,
            config_bytes,
            config_descriptor,
        })
    }

    /// Whether the repository holds the blob.
    ///
    /// # Errors
    /// Anything but a clear yes or no.
    pub async fn has_blob(
        &self,
        repository: &Reference,
        digest: &Digest,
        credentials: &Credentials,
    ) -> Result<bool, ClientError> {
        // Asked before pushes, so the token of the push is fetched here already.
        let call = Call::new(
            Method::HEAD,
            format!("v2/{}/blobs/{digest}", repository.repository()),
            Subject::Push(repository),
            "pull,push",
        );
        let (response, _) = self.transport.send(&call, credentials).await?;
        match response.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(transport::refusal(&call.subject, response).await),
        }
    }

    async fn fetch_manifest(
        &self,
        reference: &Reference,
        credentials: &Credentials,
    ) -> Result<(Descriptor, Bytes), ClientError> {
        let call = manifest_call(Method::GET, reference);
        let mut tries = self.transport.tries();
        let (stated, media_type, bytes) = loop {
            let (response, _) = self.transport.send_ok(&call, credentials).await?;
            let stated = reference
                .digest()
                .copied()
                .or_else(|| header_digest(&response));
            let media_type = media_type_of(&response);
            match read_manifest(reference, response).await {
                Ok(bytes) => break (stated, media_type, bytes),
                Err(error) => tries.after(error).await?,
            }
        };
        let digest = digest_like(stated.as_ref(), &bytes);
        if let Some(stated) = stated.filter(|stated| *stated != digest) {
            return Err(ClientError::Corrupt {
                registry: reference.registry().to_owned(),
                digest: stated,
                reason: format!("the manifest's bytes hash to {digest}"),
            });
        }
        let media_type = media_type.unwrap_or_else(|| stated_inside(&bytes));
        let descriptor = Descriptor::new(media_type.as_str(), digest, bytes.len() as u64);
        Ok((descriptor, bytes))
    }
}

fn manifest_call(method: Method, reference: &Reference) -> Call<'_> {
    let path = format!(
        "v2/{}/manifests/{}",
        reference.repository(),
        reference.manifest_key()
    );
    let mut call = Call::new(method, path, Subject::Manifest(reference), "pull");
    call.headers
        .insert(ACCEPT, HeaderValue::from_static(ACCEPT_MANIFESTS));
    call
}

/// Hashes with the algorithm that was asked for, sha256 when none was.
fn digest_like(stated: Option<&Digest>, bytes: &[u8]) -> Digest {
    let algorithm = stated.map_or(crate::Algorithm::Sha256, Digest::algorithm);
    let mut hasher = crate::Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

async fn read_manifest(reference: &Reference, response: Response) -> Result<Bytes, ClientError> {
    let mut stream = response.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| ClientError::Unreachable {
            registry: reference.registry().to_owned(),
            origin: reference.registry().to_owned(),
            reason: transport::chain(&error),
            passing: true,
        })?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ClientError::Manifest {
                name: reference.familiar(),
                source: crate::ManifestError::TooLarge(bytes.len()),
            });
        }
    }
    Ok(bytes.into())
}

fn described_by_headers(reference: &Reference, response: &Response) -> Option<Descriptor> {
    let size = response.headers().get(CONTENT_LENGTH)?.to_str().ok()?;
    let size: u64 = size.parse().ok()?;
    let digest = header_digest(response)?;
    if size == 0 || reference.digest().is_some_and(|wanted| *wanted != digest) {
        return None;
    }
    let media_type = media_type_of(response)?;
    Some(Descriptor::new(media_type.as_str(), digest, size))
}

fn media_type_of(response: &Response) -> Option<MediaType> {
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = MediaType::from_header(value);
    // Servers that do not know better say these; the document itself does.
    let vague = matches!(
        media_type.as_str(),
        "" | "application/json" | "application/octet-stream" | "text/plain"
    );
    (!vague).then_some(media_type)
}

/// The `mediaType` a manifest carries, else the OCI manifest or index by its shape.
fn stated_inside(bytes: &[u8]) -> MediaType {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe {
        media_type: Option<MediaType>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    match serde_json::from_slice::<Probe>(bytes) {
        Ok(Probe {
            media_type: Some(media_type),
            ..
        }) => media_type,
        Ok(Probe {
            manifests: Some(_), ..
        }) => MediaType::from(MediaType::OCI_INDEX),
        _ => MediaType::from(MediaType::OCI_MANIFEST),
    }
}

/// The entry for `platform`: of those that fit, one with the very variant, else the first.
fn select<'a>(index: &'a ImageIndex, wanted: &Platform) -> Result<&'a Descriptor, ClientError> {
    let fits = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|p| p.matches(wanted));
    let exact = |entry: &&Descriptor| {
        entry
            .platform
            .as_ref()
            .is_some_and(|p| p.variant == wanted.variant)
    };
    index
        .manifests
        .iter()
        .filter(fits)
        .find(exact)
        .or_else(|| index.manifests.iter().find(fits))
        .or_else(|| match index.manifests.as_slice() {
            // A lone entry without platform is what old builders wrote for "the image".
            [only] if only.platform.is_none() => Some(only),
            _ => None,
        })
        .ok_or_else(|| ClientError::NoPlatform {
            wanted: wanted.to_string(),
            found: index
                .manifests
                .iter()
                .filter_map(|entry| entry.platform.as_ref().map(ToString::to_string))
                .take(32)
                .collect::<Vec<_>>()
                .join(", "),
        })
}

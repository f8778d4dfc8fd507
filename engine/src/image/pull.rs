//! Pull: manifest and configuration first, then all layers at once, each
//! downloaded, decompressed, hashed and unpacked in one pass into the layer
//! store; the image's rows come last, so an image is never half there.

use std::sync::Arc;

use engine_api::AuthConfig;
use futures_util::stream::{FuturesUnordered, TryStreamExt};
use oci::client::{ClientError, Credentials, Image as RemoteImage};
use oci::{Descriptor, Digest, Platform, Reference};
use runtime::snapshot::{LayerName, LayerPin};

use super::progress::{Counted, Meter, Sink};
use super::store::{canonical, event, layer_name};
use crate::blocking::blocking;
use crate::clock;
use crate::core::Core;
use crate::db::{LayerRow, NewImage};
use crate::error::{EngineError, Result, chain};

/// Most layers that an image may have: overlayfs takes no more than 500 lower
/// directories, Docker 125.
const LAYERS_MAX: usize = 125;

/// An image that a registry has and that is about to be pulled.
#[derive(Debug)]
pub(crate) struct Found {
    /// As the user named it.
    reference: Reference,
    /// Where it is fetched from: the mirror, or the same.
    source: Reference,
    credentials: Credentials,
    image: RemoteImage,
}

/// Asks the registry; no layer is fetched yet, so a failure can still be an
/// HTTP error.
///
/// # Errors
/// 404 for what the registry does not have or show, with Docker's texts.
pub(crate) async fn find(
    core: &Core,
    reference: Reference,
    platform: Option<&str>,
    credentials: Credentials,
) -> Result<Found> {
    let platform = match platform {
        None => Platform::host(),
        Some(text) => Platform::parse(text).ok_or_else(|| {
            EngineError::bad(format!(
                "\"{text}\" is an invalid platform: write os/architecture"
            ))
        })?,
    };
    let reference = canonical(&reference);
    if let Some(source) = mirrored(core, &reference)?
        && let Ok(image) = core
            .registry
            .image(&source, &platform, &Credentials::Anonymous)
            .await
    {
        check(&image)?;
        return Ok(Found {
            reference,
            source,
            credentials: Credentials::Anonymous,
            image,
        });
    }
    let image = core
        .registry
        .image(&reference, &platform, &credentials)
        .await
        .map_err(pull_error)?;
    check(&image)?;
    Ok(Found {
        source: reference.clone(),
        reference,
        credentials,
        image,
    })
}

fn mirrored(core: &Core, reference: &Reference) -> Result<Option<Reference>> {
    let Some(mirror) = &core.config.mirror else {
        return Ok(None);
    };
    if reference.registry() != oci::DEFAULT_REGISTRY {
        return Ok(None);
    }
    Reference::new(
        mirror,
        reference.repository().clone(),
        reference.tag().cloned(),
        reference.digest().copied(),
    )
    .map(Some)
    .map_err(|error| EngineError::Internal(format!("configured mirror: {error}")))
}

/// Refuses an image whose parts contradict each other.
fn check(image: &RemoteImage) -> Result<()> {
    let (layers, diff_ids) = (
        image.manifest.layers.len(),
        image.config.rootfs.diff_ids.len(),
    );
    if layers != diff_ids {
        return Err(EngineError::bad(format!(
            "invalid image: the manifest has {layers} layers and the configuration {diff_ids}"
        )));
    }
    if layers > LAYERS_MAX {
        return Err(EngineError::bad(format!(
            "max depth exceeded: the image has {layers} layers, at most {LAYERS_MAX} can be stacked"
        )));
    }
    Ok(())
}

/// Fetches what is missing and records the image under its name.
///
/// # Errors
/// The first layer that failed; layers that were complete stay for the next try.
pub(crate) async fn pull(core: &Arc<Core>, found: &Found, sink: &Sink) -> Result<()> {
    let Found {
        reference,
        source,
        credentials,
        image,
    } = found;
    let what = found.reference.repository();
    sink.headed(&reference.manifest_key(), format!("Pulling from {what}"))
        .await;
    let names: Vec<LayerName> = image
        .config
        .rootfs
        .diff_ids
        .iter()
        .map(layer_name)
        .collect();
    let pin = core.images.expect(core, &names).await?;
    for layer in &image.manifest.layers {
        sink.layer(&short(&layer.digest), "Pulling fs layer").await;
    }
    let fetches: FuturesUnordered<_> = image
        .manifest
        .layers
        .iter()
        .zip(&image.config.rootfs.diff_ids)
        .enumerate()
        .map(|(position, (layer, diff_id))| {
            let fetch = fetch(
                core,
                source,
                credentials,
                layer,
                diff_id,
                &names[..position],
                sink,
            );
            async move { fetch.await.map(|size| (position, size)) }
        })
        .collect();
    let mut sizes: Vec<(usize, u64)> = fetches.try_collect().await?;
    sizes.sort_unstable();
    let layers: Vec<LayerRow> = image
        .config
        .rootfs
        .diff_ids
        .iter()
        .zip(sizes)
        .map(|(diff_id, (_, size))| LayerRow {
            diff_id: diff_id.to_string(),
            size_bytes: i64::try_from(size).unwrap_or(i64::MAX),
        })
        .collect();
    let fresh = record(core, found, &layers, pin).await?;
    sink.status(format!("Digest: {}", image.target.digest))
        .await;
    let verdict = if fresh {
        "Downloaded newer image"
    } else {
        "Image is up to date"
    };
    sink.status(format!("Status: {verdict} for {}", reference.familiar()))
        .await;
    Ok(())
}

/// Writes the rows; `true` when the name or the image is new.
async fn record(core: &Core, found: &Found, layers: &[LayerRow], pin: LayerPin) -> Result<bool> {
    let Found {
        reference, image, ..
    } = found;
    let id = image.config_descriptor.digest.to_string();
    let tag = reference.tag().map(|_| reference.to_string());
    let digest = reference.with_digest(image.target.digest).to_string();
    let known = core
        .db
        .image_id_by_reference(&reference.to_string())
        .await?;
    let now = clock::rfc3339(clock::now());
    let new = NewImage {
        id: &id,
        config: &image.config_bytes,
        manifest: &image.manifest_bytes,
        manifest_media_type: image.descriptor.media_type.as_str(),
        manifest_digest: &image.descriptor.digest.to_string(),
        created_at: &now,
        layers,
    };
    core.images
        .record(core, &new, tag.as_deref(), Some(&digest), pin)
        .await?;
    event(
        core,
        "pull",
        &reference.familiar(),
        &reference.familiar_name(),
    );
    Ok(known.as_deref() != Some(id.as_str()))
}

/// One layer; its unpacked size in bytes.
async fn fetch(
    core: &Arc<Core>,
    source: &Reference,
    credentials: &Credentials,
    layer: &Descriptor,
    diff_id: &Digest,
    parents: &[LayerName],
    sink: &Sink,
) -> Result<u64> {
    let name = layer_name(diff_id);
    let id = short(&layer.digest);
    let _flight = core.images.flights.board(&name.to_string()).await;
    let layers = core.host.layers.clone();
    if layers.contains(&name) {
        sink.layer(&id, "Already exists").await;
        return blocking(move || layers.layer_usage(&name)).await;
    }
    let permit = core.images.transfers.acquire().await;
    let _permit = permit.map_err(|error| EngineError::internal("wait for a transfer", error))?;
    let stream = core
        .registry
        .blob(source, layer, credentials)
        .await
        .map_err(pull_error)?;
    let meter = Meter::new(sink.clone(), "Downloading", &id, layer.size);
    let reader = Counted::new(stream.into_read(tokio::runtime::Handle::current()), meter);
    let (diff_id, media_type, parents) = (*diff_id, layer.media_type.clone(), parents.to_vec());
    let unpacked = blocking(move || layers.unpack(&diff_id, &parents, reader, &media_type)).await?;
    sink.layer(&id, "Download complete").await;
    sink.layer(&id, "Pull complete").await;
    Ok(unpacked.size_bytes)
}

/// The first twelve digits, as progress lines show.
pub(super) fn short(digest: &Digest) -> String {
    digest.hex().chars().take(crate::id::SHORT_LEN).collect()
}

/// Docker's statuses for a registry's refusals.
pub(super) fn pull_error(error: ClientError) -> EngineError {
    let text = chain(&error);
    match error {
        ClientError::NotFound { .. }
        | ClientError::Denied { .. }
        | ClientError::NoPlatform { .. } => EngineError::NotFound(text),
        ClientError::BadCredentials { .. } => EngineError::Unauthorized(text),
        _ => EngineError::Internal(text),
    }
}

/// What a registry has under a name: its descriptor and platforms.
///
/// # Errors
/// As [`find`].
pub(crate) async fn describe(
    core: &Core,
    reference: &Reference,
    credentials: &Credentials,
) -> Result<serde_json::Value> {
    let (media_type, bytes) = core
        .registry
        .manifest(reference, credentials)
        .await
        .map_err(pull_error)?;
    let manifest = oci::Manifest::parse(&media_type, &bytes)
        .map_err(|error| EngineError::Internal(error.to_string()))?;
    let platforms: Vec<_> = match &manifest {
        oci::Manifest::Index(index) => index
            .manifests
            .iter()
            .filter_map(|one| one.platform.clone())
            .collect(),
        oci::Manifest::Image(_) => Vec::new(),
    };
    let descriptor = Descriptor::new(
        media_type.as_str(),
        Digest::sha256(&bytes),
        bytes.len() as u64,
    );
    Ok(serde_json::json!({"Descriptor": descriptor, "Platforms": platforms}))
}

/// Checks credentials against a registry.
///
/// # Errors
/// 401 when it refuses them.
pub(crate) async fn login(core: &Core, registry: &str, auth: &AuthConfig) -> Result<()> {
    core.registry
        .login(registry, &from_auth(auth))
        .await
        .map_err(|error| match error {
            ClientError::Denied { .. } | ClientError::BadCredentials { .. } => {
                EngineError::Unauthorized(format!(
                    "Get \"https://{registry}/v2/\": unauthorized: {}",
                    chain(&error)
                ))
            }
            other => EngineError::Internal(chain(&other)),
        })
}

/// Reads `X-Registry-Auth`: base64 of JSON, in either alphabet, padded or not.
///
/// # Errors
/// 400 when it is neither.
pub(crate) fn credentials(header: Option<&str>) -> Result<Credentials> {
    use base64::Engine as _;
    let Some(text) = header.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(Credentials::Anonymous);
    };
    let bad = || EngineError::bad("invalid X-Registry-Auth header: it must be base64 of JSON");
    let alphabet: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            other => other,
        })
        .collect();
    let json = base64::prelude::BASE64_URL_SAFE_NO_PAD
        .decode(alphabet)
        .map_err(|_| bad())?;
    // Some clients send an empty object, or nothing, for "no credentials".
    if json.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    let auth: AuthConfig = serde_json::from_slice(&json).map_err(|_| bad())?;
    Ok(from_auth(&auth))
}

pub(crate) fn from_auth(auth: &AuthConfig) -> Credentials {
    use base64::Engine as _;
    if !auth.registrytoken.is_empty() {
        return Credentials::Bearer(auth.registrytoken.clone());
    }
    if !auth.identitytoken.is_empty() {
        return Credentials::IdentityToken(auth.identitytoken.clone());
    }
    if !auth.username.is_empty() {
        return Credentials::Basic {
            user: auth.username.clone(),
            password: auth.password.clone(),
        };
    }
    let pair = base64::prelude::BASE64_STANDARD
        .decode(&auth.auth)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => Credentials::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        },
        None => Credentials::Anonymous,
    }
}

#[cfg(test)]
#[path = "pull/tests.rs"]
mod tests;

//! Push: the image's own manifest, byte for byte, with its layers.
//!
//! The compressed layers are not kept after a pull (that would double the
//! disk), and compressing again would change their digests. So each layer the
//! target lacks is mounted there from a repository of the same registry, or
//! streamed from a registry that this image was pulled from. An image whose
//! layers exist nowhere else any more cannot be pushed, and the error says so.

use std::sync::Arc;

use engine_api::PushResult;
use oci::client::{ClientError, Credentials};
use oci::{Descriptor, ImageManifest, MediaType, Reference};

use super::progress::{Meter, Sink};
use super::pull::short;
use super::store::{Image, event};
use crate::core::Core;
use crate::error::{EngineError, Result, chain};

/// Pushes the image named by `reference`.
///
/// # Errors
/// 404 without such an image, else the registry's refusal.
pub(crate) async fn push(
    core: &Arc<Core>,
    reference: &Reference,
    image: &Image,
    credentials: &Credentials,
    sink: &Sink,
) -> Result<()> {
    sink.status(format!(
        "The push refers to repository [{}/{}]",
        reference.registry(),
        reference.repository()
    ))
    .await;
    let manifest: ImageManifest = serde_json::from_slice(&image.row.manifest)
        .map_err(|error| EngineError::internal("read the image's manifest", error))?;
    let sources = sources(image, reference);
    for layer in &manifest.layers {
        sink.layer(&short(&layer.digest), "Preparing").await;
    }
    for layer in &manifest.layers {
        let id = short(&layer.digest);
        let done = push_layer(core, reference, layer, &sources, credentials, sink).await?;
        sink.layer(&id, done).await;
    }
    if let Some(config) = &manifest.config {
        push_config(core, reference, config, image, credentials).await?;
    }
    let bytes = bytes::Bytes::from(image.row.manifest.clone());
    let size = bytes.len() as u64;
    let media_type = MediaType::from(image.row.manifest_media_type.as_str());
    let digest = core
        .registry
        .push_manifest(reference, &media_type, bytes, credentials)
        .await
        .map_err(push_error)?;
    let known = reference.with_digest(digest).to_string();
    core.db.add_image_digest(&known, &image.id).await?;
    let tag = reference.manifest_key();
    sink.status(format!("{tag}: digest: {digest} size: {size}"))
        .await;
    let result = PushResult {
        tag,
        digest: digest.to_string(),
        size,
    };
    if let Ok(value) = serde_json::to_value(result) {
        sink.aux(value).await;
    }
    event(
        core,
        "push",
        &reference.familiar(),
        &reference.familiar_name(),
    );
    Ok(())
}

/// Repositories that are known to have had this image, those of the target's
/// registry first.
fn sources(image: &Image, target: &Reference) -> Vec<Reference> {
    let mut found: Vec<Reference> = image
        .row
        .digests
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    found.sort_by_key(|source: &Reference| source.registry() != target.registry());
    found
}

/// Makes the target have the layer; what to print.
async fn push_layer(
    core: &Arc<Core>,
    target: &Reference,
    layer: &Descriptor,
    sources: &[Reference],
    credentials: &Credentials,
    sink: &Sink,
) -> Result<&'static str> {
    let client = &core.registry;
    if client
        .has_blob(target, &layer.digest, credentials)
        .await
        .map_err(push_error)?
    {
        return Ok("Layer already exists");
    }
    let mut last = None;
    for source in sources {
        let same_registry = source.registry() == target.registry();
        if same_registry
            && client
                .mount(target, &layer.digest, source, credentials)
                .await
                .is_ok_and(|mounted| mounted)
        {
            return Ok("Mounted");
        }
        // Credentials belong to one registry: any other is read without.
        let read_as = if same_registry {
            credentials
        } else {
            &Credentials::Anonymous
        };
        match client.blob(source, layer, read_as).await {
            Ok(stream) => {
                use futures_util::TryStreamExt as _;
                let mut meter =
                    Meter::new(sink.clone(), "Pushing", &short(&layer.digest), layer.size);
                let body = stream
                    .inspect_ok(move |chunk| meter.add(chunk.len()))
                    .map_err(std::io::Error::other);
                client
                    .push_blob(target, &layer.digest, layer.size, body, credentials)
                    .await
                    .map_err(push_error)?;
                return Ok("Pushed");
            }
            Err(error) => last = Some(error),
        }
    }
    Err(EngineError::NotFound(format!(
        "layer {} is not in {} and no registry that the image came from has it{}: \
         pull the image again, or build and push it with carrack build",
        layer.digest,
        target.registry(),
        last.map(|error| format!(" ({})", chain(&error)))
            .unwrap_or_default()
    )))
}

async fn push_config(
    core: &Core,
    target: &Reference,
    config: &Descriptor,
    image: &Image,
    credentials: &Credentials,
) -> Result<()> {
    let client = &core.registry;
    if client
        .has_blob(target, &config.digest, credentials)
        .await
        .map_err(push_error)?
    {
        return Ok(());
    }
    let bytes = bytes::Bytes::from(image.row.config.clone());
    let size = bytes.len() as u64;
    let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes)]);
    client
        .push_blob(target, &config.digest, size, body, credentials)
        .await
        .map_err(push_error)
}

fn push_error(error: ClientError) -> EngineError {
    let text = match &error {
        ClientError::Denied { name, message, .. } => {
            format!("denied: requested access to {name} is denied: {message}")
        }
        other => chain(other),
    };
    match error {
        ClientError::BadCredentials { .. } => EngineError::Unauthorized(text),
        ClientError::Denied { .. } => EngineError::Forbidden(text),
        _ => EngineError::Internal(text),
    }
}

//! Push: the image's own manifest, byte for byte, with its layers.
//!
//! The compressed layers are not kept after a pull (that would double the
//! disk), and compressing again would change their digests. So each layer the
//! target lacks is mounted there from a repository of the same registry, or
//! streamed from a registry that this image was pulled from. A layer that is
//! nowhere else any more is packed again from its files; the manifest is then
//! a new one over the same configuration. Where the files do not give the
//! layer's diff_id back, its archive was kept if it was loaded from one; a layer
//! that was pulled and has vanished since cannot be pushed, and the error says
//! so.

use std::sync::Arc;

use bytes::Bytes;
use engine_api::PushResult;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use oci::client::{BlobBytes, BlobSource, ClientError, Credentials, FileSource, RemoteSource};
use oci::layer::Compression;
use oci::{Descriptor, Digest, ImageManifest, MediaType, Reference};

use super::progress::{Meter, Sink};
use super::pull::short;
use super::store::{Image, event};
use super::{archive, kept};
use crate::blocking::blocking;
use crate::core::Core;
use crate::error::{EngineError, Result, chain};
use crate::scratch::Scratch;

/// One push: where to, as whom, and who hears of it.
#[derive(Debug)]
pub(crate) struct Push<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) reference: &'a Reference,
    pub(crate) image: &'a Image,
    pub(crate) credentials: &'a Credentials,
    pub(crate) sink: &'a Sink,
}

impl Push<'_> {
    /// Pushes the image.
    ///
    /// # Errors
    /// The registry's refusal, or a layer that cannot be had.
    pub(crate) async fn run(&self) -> Result<()> {
        let (reference, sink) = (self.reference, self.sink);
        sink.status(format!(
            "The push refers to repository [{}/{}]",
            reference.registry(),
            reference.repository()
        ))
        .await;
        let manifest: ImageManifest = serde_json::from_slice(&self.image.row.manifest)
            .map_err(|error| EngineError::internal("read the image's manifest", error))?;
        for layer in &manifest.layers {
            sink.layer(&short(&layer.digest), "Preparing").await;
        }
        let mut layers = Vec::with_capacity(manifest.layers.len());
        for (layer, diff_id) in manifest
            .layers
            .iter()
            .zip(&self.image.config.rootfs.diff_ids)
        {
            let (pushed, done) = self.layer(layer, diff_id).await?;
            sink.layer(&short(&layer.digest), done).await;
            layers.push(pushed);
        }
        if let Some(config) = &manifest.config {
            self.config(config).await?;
        }
        let (bytes, media_type) = match manifest.config {
            Some(config) if layers != manifest.layers => {
                (archive::manifest(config, layers)?, MediaType::OCI_MANIFEST)
            }
            _ => (
                self.image.row.manifest.clone(),
                self.image.row.manifest_media_type.as_str(),
            ),
        };
        self.manifest(Bytes::from(bytes), &MediaType::from(media_type))
            .await
    }

    async fn manifest(&self, bytes: Bytes, media_type: &MediaType) -> Result<()> {
        let (reference, sink) = (self.reference, self.sink);
        let size = bytes.len() as u64;
        let digest = self
            .core
            .registry
            .push_manifest(reference, media_type, bytes, self.credentials)
            .await
            .map_err(push_error)?;
        let known = reference.with_digest(digest).to_string();
        self.core
            .db
            .add_image_digest(&known, &self.image.id)
            .await?;
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
        let (full, bare) = (reference.familiar(), reference.familiar_name());
        event(self.core, "push", &full, &bare);
        Ok(())
    }

    /// Makes the target have the layer: its descriptor there, and what to print.
    async fn layer(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
    ) -> Result<(Descriptor, &'static str)> {
        let client = &self.core.registry;
        let has = client
            .has_blob(self.reference, &layer.digest, self.credentials)
            .await;
        if has.map_err(push_error)? {
            return Ok((layer.clone(), "Layer already exists"));
        }
        if let Some(done) = self.kept(layer, diff_id).await? {
            return Ok(done);
        }
        for source in self.sources(diff_id).await? {
            let same_registry = source.registry() == self.reference.registry();
            if same_registry {
                let mounted =
                    client.mount(self.reference, &layer.digest, &source, self.credentials);
                if mounted.await.is_ok_and(|mounted| mounted) {
                    return Ok((layer.clone(), "Mounted"));
                }
            }
            // Credentials belong to one registry: any other is read without.
            let read_as = if same_registry {
                self.credentials
            } else {
                &Credentials::Anonymous
            };
            let remote = RemoteSource {
                client: client.clone(),
                repository: source,
                blob: layer.clone(),
                credentials: read_as.clone(),
            };
            match self.send(layer, remote).await {
                Ok(()) => return Ok((layer.clone(), "Pushed")),
                // The next one may have it.
                Err(ClientError::Source(error)) => {
                    tracing::debug!(%error, blob.digest = %layer.digest, "a layer cannot be read");
                }
                Err(error) => return Err(push_error(error)),
            }
        }
        self.pack_again(layer, diff_id).await
    }

    /// Sends the archive that was kept of the layer, if it is the manifest's.
    async fn kept(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
    ) -> Result<Option<(Descriptor, &'static str)>> {
        let (core, diff_id, digest) = (Arc::clone(self.core), *diff_id, layer.digest);
        let found = blocking(move || kept::open(&core.config, &diff_id, Some(&digest)));
        let Some((file, _)) = found.await? else {
            return Ok(None);
        };
        self.send(layer, FileSource::from(file))
            .await
            .map_err(push_error)?;
        Ok(Some((layer.clone(), "Pushed")))
    }

    /// Repositories that are known to have had an image with this layer, those
    /// of the target's registry first.
    async fn sources(&self, diff_id: &Digest) -> Result<Vec<Reference>> {
        let digests = self.core.db.layer_sources(&diff_id.to_string()).await?;
        let mut found: Vec<Reference> = digests
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        found.sort_by_key(|source: &Reference| source.registry() != self.reference.registry());
        Ok(found)
    }

    async fn pack_again(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
    ) -> Result<(Descriptor, &'static str)> {
        let scratch = Scratch::new(&self.core.config)
            .map_err(|error| EngineError::internal("make a temporary directory", error))?;
        let (core, diff_id) = (Arc::clone(self.core), *diff_id);
        let packed = blocking(move || {
            let packed = archive::export(&core, &scratch, &diff_id, Compression::GZIP);
            packed.map(|(file, descriptor)| (scratch, file, descriptor))
        });
        let (_scratch, file, descriptor) = packed.await.map_err(|error| {
            EngineError::NotFound(format!(
                "layer {} is not in {}, no registry that the image came from has it, and: {error}. \
                 Pull the image again, or build and push it with carrack build",
                layer.digest,
                self.reference.registry(),
            ))
        })?;
        let client = &self.core.registry;
        let has = client
            .has_blob(self.reference, &descriptor.digest, self.credentials)
            .await;
        if has.map_err(push_error)? {
            return Ok((descriptor, "Layer already exists"));
        }
        self.send(&descriptor, FileSource::from(file))
            .await
            .map_err(push_error)?;
        Ok((descriptor, "Pushed"))
    }

    async fn config(&self, config: &Descriptor) -> Result<()> {
        let client = &self.core.registry;
        let has = client
            .has_blob(self.reference, &config.digest, self.credentials)
            .await;
        if has.map_err(push_error)? {
            return Ok(());
        }
        let bytes = Bytes::from(self.image.row.config.clone());
        let (digest, size) = (&config.digest, bytes.len() as u64);
        client
            .push_blob(self.reference, digest, size, &bytes, self.credentials)
            .await
            .map_err(push_error)
    }

    async fn send(
        &self,
        layer: &Descriptor,
        source: impl BlobSource,
    ) -> std::result::Result<(), ClientError> {
        let metered = Metered {
            source,
            sink: self.sink,
            layer,
        };
        let (client, size) = (&self.core.registry, layer.size);
        client
            .push_blob(
                self.reference,
                &layer.digest,
                size,
                &metered,
                self.credentials,
            )
            .await
    }
}

/// A layer whose bytes are reported as they are sent.
struct Metered<'a, S> {
    source: S,
    sink: &'a Sink,
    layer: &'a Descriptor,
}

impl<S: BlobSource> BlobSource for Metered<'_, S> {
    fn open(&self, offset_bytes: u64) -> BoxFuture<'_, std::io::Result<BlobBytes>> {
        let id = short(&self.layer.digest);
        let mut meter = Meter::new(self.sink.clone(), "Pushing", &id, self.layer.size);
        meter.start_at(offset_bytes);
        let opened = self.source.open(offset_bytes);
        async move {
            let bytes = opened.await?;
            Ok(bytes
                .inspect_ok(move |chunk| meter.add(chunk.len()))
                .boxed())
        }
        .boxed()
    }
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

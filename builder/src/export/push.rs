//! Sending an image to registries: what they lack, the manifest last.

use std::collections::BTreeMap;

use futures_util::{FutureExt, StreamExt, TryStreamExt, future::try_join_all, stream};
use oci::{
    Descriptor, Reference,
    client::{BlobSource, ClientError, Credentials, FileSource, RemoteSource},
};
use tokio_util::sync::CancellationToken;

use super::{Exported, Exporter, LayerExport};
use crate::solver::{OpError, StepUpdate, executor::Progress};

/// Blobs that are sent to one repository at once.
const UPLOADS_MAX: usize = 4;

impl Exporter {
    /// Pushes an image under every tag, all registries side by side: first
    /// what the manifest names, everywhere, then the manifest.
    /// `credentials` knows who the build is towards each.
    ///
    /// # Cancellation
    /// `cancel` ends uploads. It has no effect once the first manifest is on
    /// its way: nobody could tell then which tags were set.
    pub(crate) async fn push(
        &self,
        image: &Exported,
        tags: &[Reference],
        credentials: &(dyn Fn(&Reference) -> Credentials + Send + Sync),
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<(), OpError> {
        let mut repositories: BTreeMap<(String, String), Vec<&Reference>> = BTreeMap::new();
        for tag in tags {
            let key = (tag.registry().to_owned(), tag.repository().to_string());
            repositories.entry(key).or_default().push(tag);
        }
        let uploads = repositories.values().map(|tags| async move {
            let credentials = credentials(tags[0]);
            self.repository(image, tags, &credentials, progress).await
        });
        let missing = tokio::select! {
            missing = try_join_all(uploads) => missing?,
            () = cancel.cancelled() => return Err(OpError::Cancelled),
        };
        let manifests = missing.into_iter().map(|tags| async move {
            for tag in tags {
                let (media_type, manifest) = (image.media_type(), image.manifest.clone());
                self.client
                    .push_manifest(tag, &media_type, manifest, &credentials(tag))
                    .await
                    .map_err(|error| failed(tag, &error))?;
            }
            Ok::<_, OpError>(())
        });
        try_join_all(manifests).await.map(drop)
    }

    /// Sends what a repository lacks for the manifest; the tags that do not
    /// name it yet.
    async fn repository<'a>(
        &self,
        image: &Exported,
        tags: &[&'a Reference],
        credentials: &Credentials,
        progress: &Progress,
    ) -> Result<Vec<&'a Reference>, OpError> {
        let repository = tags[0];
        let mut missing = Vec::new();
        for tag in tags {
            match self.client.resolve(tag, credentials).await {
                Ok(there) if there.digest == image.digest => {}
                Ok(_) => missing.push(*tag),
                Err(error) if error.is_not_found() => missing.push(*tag),
                // A registry may hide what does not exist; pushing tells.
                Err(ClientError::Denied { .. }) => missing.push(*tag),
                Err(error) => return Err(failed(tag, &error)),
            }
        }
        if missing.is_empty() {
            return Ok(missing);
        }
        let pushes: Vec<_> = image
            .layers
            .iter()
            .map(|layer| {
                self.push_layer(layer, repository, credentials, progress)
                    .boxed()
            })
            .collect();
        stream::iter(pushes)
            .buffer_unordered(UPLOADS_MAX)
            .try_collect::<()>()
            .await?;
        self.push_config(image, repository, credentials).await?;
        Ok(missing)
    }

    async fn push_config(
        &self,
        image: &Exported,
        repository: &Reference,
        credentials: &Credentials,
    ) -> Result<(), OpError> {
        let digest = &image.config_descriptor.digest;
        let there = self.client.has_blob(repository, digest, credentials).await;
        if there.map_err(|error| failed(repository, &error))? {
            return Ok(());
        }
        self.client
            .push_blob(
                repository,
                digest,
                image.config.len() as u64,
                &image.config,
                credentials,
            )
            .await
            .map_err(|error| failed(repository, &error))
    }

    async fn push_layer(
        &self,
        layer: &LayerExport,
        repository: &Reference,
        credentials: &Credentials,
        progress: &Progress,
    ) -> Result<(), OpError> {
        let descriptor = &layer.blob.descriptor;
        let fail = |error: ClientError| failed(repository, &error);
        let there = self
            .client
            .has_blob(repository, &descriptor.digest, credentials)
            .await
            .map_err(fail)?;
        let report = |status, current| {
            progress.tell(StepUpdate::Transfer {
                id: descriptor.digest.to_string(),
                status,
                current,
                total: descriptor.size,
            })
        };
        if there {
            report("Layer already exists", descriptor.size).await;
            return Ok(());
        }
        report("Pushing", 0).await;
        match &layer.blob.origin {
            None => {
                let file = tokio::fs::File::open(self.path(&descriptor.digest))
                    .await
                    .map_err(|error| OpError::host("read an exported layer", &error))?;
                let file = FileSource::from(file.into_std().await);
                let sent = self.send(repository, descriptor, &file, credentials).await;
                if matches!(sent, Err(ClientError::Rejected { .. })) {
                    // Our copy may be damaged: the next build makes it anew.
                    self.db.system_forget_blob(&descriptor.digest).await?;
                }
                sent.map_err(fail)?;
            }
            Some(origin) => {
                let origin: Reference = origin
                    .parse()
                    .map_err(|error| OpError::host("find where a layer came from", &error))?;
                let same = origin.registry() == repository.registry();
                let mounted = same
                    && self
                        .client
                        .mount(repository, &descriptor.digest, &origin, credentials)
                        .await
                        .map_err(fail)?;
                if !mounted {
                    // Credentials never go to another registry than their own.
                    let pull = match same {
                        true => credentials,
                        false => &Credentials::Anonymous,
                    };
                    let remote = RemoteSource {
                        client: self.client.clone(),
                        repository: origin.clone(),
                        blob: descriptor.clone(),
                        credentials: pull.clone(),
                    };
                    let sent = self.send(repository, descriptor, &remote, credentials);
                    sent.await.map_err(|error| match &error {
                        ClientError::Source(_) => failed(&origin, &error),
                        _ => fail(error),
                    })?;
                }
            }
        }
        report("Pushed", descriptor.size).await;
        Ok(())
    }

    async fn send(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
        credentials: &Credentials,
    ) -> Result<(), ClientError> {
        self.client
            .push_blob(
                repository,
                &descriptor.digest,
                descriptor.size,
                source,
                credentials,
            )
            .await
    }
}

/// A registry that refuses is the build's matter, one that fails the host's.
fn failed(reference: &Reference, error: &ClientError) -> OpError {
    let name = reference.familiar_name();
    match error.is_transient() {
        true => OpError::host(format!("push {name}"), error),
        false => OpError::User(format!("failed to push {name}: {error}")),
    }
}

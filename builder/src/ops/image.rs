//! Base images: found by digest, pulled only when a step needs their files.
//!
//! All layers of an image are fetched at once, and each is decompressed,
//! verified and unpacked in the one pass in which it arrives.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{TryFutureExt, future::join_all};
use oci::{
    Descriptor, Digest, ImageConfig, Platform, Reference,
    client::{Client, Credentials},
};
use runtime::snapshot::{LayerName, LayerPin};
use tokio_util::sync::CancellationToken;

use super::layers::{Layers, blocking, layer_name};
use crate::{
    db::{Db, LayerBlob},
    solver::{OpError, StepUpdate, executor::Progress, op::ImageSource},
};

/// Image configurations kept in memory; each is a few kilobytes.
const CONFIGS_MAX: usize = 256;
/// Bytes between two reports of a download.
const REPORT_BYTES: u64 = 1024 * 1024;

/// The layers of an image, lowest first; they stay in the store while the pin
/// exists.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) names: Vec<String>,
    pub(crate) pin: LayerPin,
}

/// Gets images from registries. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    client: Client,
    layers: Layers,
    db: Db,
    /// Configurations by the digest that names them: immutable, so never stale.
    configs: Arc<Mutex<HashMap<(Digest, Platform), ImageConfig>>>,
}

impl Images {
    pub(crate) fn new(client: Client, layers: Layers, db: Db) -> Self {
        Self {
            client,
            layers,
            db,
            configs: Arc::default(),
        }
    }

    /// The digest that a reference names now, and the configuration of its
    /// image for `platform`.
    pub(crate) async fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
        credentials: &Credentials,
    ) -> Result<(Digest, ImageConfig), OpError> {
        let reference = reference.clone().with_default_tag();
        let failed = |error: oci::client::ClientError| OpError::User(error.to_string());
        let digest = match reference.digest() {
            Some(digest) => *digest,
            None => {
                self.client
                    .resolve(&reference, credentials)
                    .await
                    .map_err(failed)?
                    .digest
            }
        };
        let key = (digest, platform.clone());
        if let Some(config) = self.configs().get(&key) {
            return Ok((digest, config.clone()));
        }
        let pinned = reference.with_digest(digest);
        let image = self
            .client
            .image(&pinned, platform, credentials)
            .await
            .map_err(failed)?;
        let mut configs = self.configs();
        if configs.len() >= CONFIGS_MAX {
            configs.clear();
        }
        configs.insert(key, image.config.clone());
        Ok((digest, image.config))
    }

    fn configs(&self) -> std::sync::MutexGuard<'_, HashMap<(Digest, Platform), ImageConfig>> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pulls what is missing of an image.
    ///
    /// # Cancellation
    /// When `cancel` fires, downloads end and nothing half-unpacked is left.
    pub(crate) async fn pull(
        &self,
        image: &ImageSource,
        credentials: &Credentials,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Pulled, OpError> {
        let reference = &image.reference;
        let found = tokio::select! {
            found = self.client.image(reference, &image.platform, credentials) => found,
            () = cancel.cancelled() => return Err(OpError::Cancelled),
        };
        let found = found
            .map_err(|error| OpError::host(format!("pull {}", reference.familiar()), &error))?;
        let diff_ids = &found.config.rootfs.diff_ids;
        let descriptors = &found.manifest.layers;
        if diff_ids.len() != descriptors.len() {
            return Err(OpError::User(format!(
                "{} is broken: its manifest has {} layers, its configuration {}",
                reference.familiar(),
                descriptors.len(),
                diff_ids.len()
            )));
        }
        let names: Vec<String> = diff_ids.iter().map(Digest::to_string).collect();
        let parsed: Vec<LayerName> = names
            .iter()
            .map(|n| layer_name(n))
            .collect::<Result<_, _>>()?;
        // Before anyone looks whether they are there: the engine, which shares
        // the store, may be removing its last image of them.
        let pin = self.layers.store().pin(&parsed);
        let rest = cancel.child_token();
        let pulls =
            descriptors
                .iter()
                .zip(diff_ids)
                .enumerate()
                .map(|(at, (descriptor, diff_id))| {
                    let pull = LayerPull {
                        images: self,
                        reference,
                        credentials,
                        descriptor,
                        diff_id: *diff_id,
                        below: parsed[..at].to_vec(),
                        progress,
                        cancel: &rest,
                    };
                    pull.run().inspect_err(|_| rest.cancel())
                });
        // All are awaited, also when one fails: a dropped one would go on
        // unpacking. Those that end because another failed do not tell.
        let mut failed = join_all(pulls).await.into_iter().filter_map(Result::err);
        let first = failed.next();
        let cause = failed.find(|error| *error != OpError::Cancelled);
        match (first, cause) {
            (None, _) => Ok(Pulled { names, pin }),
            (Some(OpError::Cancelled), Some(cause)) => Err(cause),
            (Some(first), _) => Err(first),
        }
    }
}

struct LayerPull<'a> {
    images: &'a Images,
    reference: &'a Reference,
    credentials: &'a Credentials,
    descriptor: &'a Descriptor,
    diff_id: Digest,
    below: Vec<LayerName>,
    progress: &'a Progress,
    cancel: &'a CancellationToken,
}

impl LayerPull<'_> {
    async fn run(self) -> Result<(), OpError> {
        let blob = LayerBlob {
            diff_id: self.diff_id,
            descriptor: self.descriptor.clone(),
            origin: Some(format!(
                "{}/{}",
                self.reference.registry(),
                self.reference.repository()
            )),
        };
        self.images.db.system_store_blob(&blob).await?;
        let name = layer_name(&self.diff_id.to_string())?;
        let store = self.images.layers.store().clone();
        if store.contains(&name) {
            return Ok(());
        }
        let doing = || {
            format!(
                "pull layer {} of {}",
                self.descriptor.digest,
                self.reference.familiar()
            )
        };
        let client = &self.images.client;
        let stream = tokio::select! {
            stream = client.blob(self.reference, self.descriptor, self.credentials) => stream,
            () = self.cancel.cancelled() => return Err(OpError::Cancelled),
        };
        let stream = stream.map_err(|error| OpError::host(doing(), &error))?;
        let runtime = tokio::runtime::Handle::current();
        let (sender, mut received) = tokio::sync::mpsc::channel(8);
        let reader = Counted {
            inner: stream.into_read(runtime),
            cancel: self.cancel.clone(),
            received: 0,
            reported: 0,
            sender,
        };
        let (diff_id, below, media_type) = (
            self.diff_id,
            self.below.clone(),
            self.descriptor.media_type.clone(),
        );
        let unpacked = blocking(move || store.unpack(&diff_id, &below, reader, &media_type));
        tokio::pin!(unpacked);
        let done = loop {
            tokio::select! {
                Some(current) = received.recv() => self.report("Downloading", current).await,
                done = &mut unpacked => break done,
            }
        };
        match done {
            Ok(_) => {
                self.report("Pull complete", self.descriptor.size).await;
                Ok(())
            }
            Err(_) if self.cancel.is_cancelled() => Err(OpError::Cancelled),
            Err(error) => Err(OpError::host(doing(), &error)),
        }
    }

    async fn report(&self, status: &'static str, current: u64) {
        self.progress
            .tell(StepUpdate::Transfer {
                id: self.descriptor.digest.to_string(),
                status,
                current,
                total: self.descriptor.size,
            })
            .await;
    }
}

/// Counts what passes, and ends the transfer when the step is cancelled.
struct Counted<R> {
    inner: R,
    cancel: CancellationToken,
    received: u64,
    reported: u64,
    sender: tokio::sync::mpsc::Sender<u64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let count = self.inner.read(buffer)?;
        self.received += count as u64;
        if self.received >= self.reported + REPORT_BYTES {
            self.reported = self.received;
            // A full channel only costs a report.
            let _full = self.sender.try_send(self.received);
        }
        Ok(count)
    }
}

//! From layers to an image in registries.
//!
//! Each layer is read, compressed and hashed in one pass, all layers side by
//! side, and its compressed form is kept, so that pushing it again compresses
//! nothing. Layers of base images are passed on as they were pulled. Owns
//! `blobs/`: files named by digest, complete because they are renamed into
//! place, and sent only where the registry does not have them.

mod image;
mod push;

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::join_all;
use oci::{Descriptor, Digest, client::Client};
use runtime::snapshot::{Compression, LayerName, LayerStore};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use self::image::{Exported, Finish};
use crate::{
    db::{Db, DbError, LayerBlob},
    ops::{Layers, blocking},
    solver::{OpError, StepUpdate, executor::Progress},
};

/// Level 6 of zlib costs three times as much for layers five per cent smaller.
const COMPRESSION: Compression = Compression::Gzip { level: 3 };
/// Media type of the layers that are made here.
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Makes and pushes images. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Exporter {
    dir: Arc<Path>,
    client: Client,
    layers: Layers,
    db: Db,
    /// Layers that are compressed at once, over all builds.
    slots: Arc<Semaphore>,
}

/// Why the blob directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExportOpenError {
    #[error("cannot use the directory of exported layers")]
    Directory(#[from] io::Error),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A layer that can be pushed.
#[derive(Clone, Debug)]
pub(crate) struct LayerExport {
    pub(crate) blob: LayerBlob,
    /// Milliseconds since the epoch; `None` for layers of base images.
    pub(crate) created_at: Option<i64>,
}

impl Exporter {
    /// Opens the blob directory and removes what was not finished or noted.
    pub(crate) async fn open(
        dir: &Path,
        client: Client,
        layers: Layers,
        db: Db,
    ) -> Result<Self, ExportOpenError> {
        let known: HashSet<String> = db
            .system_local_blobs()
            .await?
            .iter()
            .map(Digest::hex)
            .collect();
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !known.contains(entry.file_name().to_string_lossy().as_ref()) {
                fs::remove_file(entry.path())?;
            }
        }
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            dir: dir.into(),
            client,
            layers,
            db,
            slots: Arc::new(Semaphore::new(cores)),
        })
    }

    /// The compressed forms of `layers`, made where there is none yet.
    ///
    /// # Cancellation
    /// When `cancel` fires, or one layer fails, returns once none is being
    /// written any more.
    pub(crate) async fn layers(
        &self,
        layers: &[String],
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Vec<LayerExport>, OpError> {
        let rest = cancel.child_token();
        let made = join_all(layers.iter().map(|name| async {
            let made = self.layer(name, progress, &rest).await;
            if made.is_err() {
                rest.cancel();
            }
            made
        }));
        all(made.await)
    }

    async fn layer(
        &self,
        name: &str,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<LayerExport, OpError> {
        // Not kept pinned: naming the layer below waits for all pins.
        let now = self.layers.now(name).await;
        let created_at = self.db.system_layer_time(&now).await?;
        if let Ok(diff_id) = now.parse::<Digest>() {
            for blob in self.db.system_blobs(&diff_id).await? {
                if blob.origin.is_some() || self.is_whole(&blob.descriptor).await {
                    return Ok(LayerExport { blob, created_at });
                }
            }
        }
        let blob = self.make(&now, cancel).await?;
        progress
            .tell(StepUpdate::Transfer {
                id: blob.descriptor.digest.to_string(),
                status: "exported layer",
                current: blob.descriptor.size,
                total: blob.descriptor.size,
            })
            .await;
        Ok(LayerExport { blob, created_at })
    }

    /// Compresses a layer and names it by its diff_id.
    async fn make(&self, name: &str, cancel: &CancellationToken) -> Result<LayerBlob, OpError> {
        let _slot = tokio::select! {
            slot = self.slots.acquire() => slot.expect("the slots are never closed"),
            () = cancel.cancelled() => return Err(OpError::Cancelled),
        };
        let part = self
            .dir
            .join(format!("{}.part", uuid::Uuid::new_v4().simple()));
        let pinned = self.layers.pin(&[name.to_owned()]).await?;
        let store = self.layers.store().clone();
        let dir = self.dir.clone();
        let cancel = cancel.clone();
        let exported = blocking(move || {
            let done = write(&store, &pinned.names()[0], &part, &dir, &cancel);
            if done.is_err() {
                let _absent = fs::remove_file(&part);
            }
            done
        })
        .await?;
        let blob = LayerBlob {
            diff_id: exported.0,
            descriptor: exported.1,
            origin: None,
        };
        self.db.system_store_blob(&blob).await?;
        self.layers
            .rename(&self.db, name, &blob.diff_id.to_string())
            .await?;
        Ok(blob)
    }

    /// Removes the bytes of forms that the database has forgotten.
    pub(crate) async fn remove(&self, blobs: Vec<LayerBlob>) {
        for blob in blobs {
            let path = self.path(&blob.descriptor.digest);
            if let Err(error) = tokio::fs::remove_file(&path).await
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove a layer's blob");
            }
        }
    }

    /// Where a blob that was made here lies.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    async fn is_whole(&self, descriptor: &Descriptor) -> bool {
        match tokio::fs::metadata(self.path(&descriptor.digest)).await {
            Ok(metadata) => metadata.len() == descriptor.size,
            Err(_) => false,
        }
    }
}

/// Every layer, or why there is not every layer: those that ended because
/// another failed do not tell.
fn all(made: Vec<Result<LayerExport, OpError>>) -> Result<Vec<LayerExport>, OpError> {
    let mut layers = Vec::with_capacity(made.len());
    let mut failure = None;
    for layer in made {
        match layer {
            Ok(layer) => layers.push(layer),
            Err(OpError::Cancelled) => failure = failure.or(Some(OpError::Cancelled)),
            Err(error) => return Err(error),
        }
    }
    match failure {
        None => Ok(layers),
        Some(failure) => Err(failure),
    }
}

fn write(
    store: &LayerStore,
    layer: &LayerName,
    part: &Path,
    dir: &Path,
    cancel: &CancellationToken,
) -> Result<(Digest, Descriptor), OpError> {
    let io = |error: io::Error| OpError::host("write an exported layer", &error);
    let out = Cancellable {
        inner: fs::File::create_new(part).map_err(io)?,
        cancel,
    };
    let exported = store.export(layer, COMPRESSION, out);
    if cancel.is_cancelled() {
        return Err(OpError::Cancelled);
    }
    let exported = exported.map_err(|error| OpError::host("export a layer", &error))?;
    fs::rename(part, dir.join(exported.digest.hex())).map_err(io)?;
    Ok((
        exported.diff_id,
        Descriptor::new(LAYER_TYPE, exported.digest, exported.size_bytes),
    ))
}

/// Ends the writing of a layer when the build is cancelled.
struct Cancellable<'a> {
    inner: fs::File,
    cancel: &'a CancellationToken,
}

impl io::Write for Cancellable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.cancel.is_cancelled() {
            true => Err(io::Error::other("cancelled")),
            false => self.inner.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
#[path = "export/tests.rs"]
mod tests;

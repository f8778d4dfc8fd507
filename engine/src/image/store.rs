//! Finding images, and holding their layers in the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use oci::{Digest, ImageConfig, Reference};
use runtime::snapshot::{LayerName, LayerPin};
use tokio::sync::Semaphore;

use crate::clock;
use crate::core::Core;
use crate::db::{ImageRow, NewImage};
use crate::error::{EngineError, Result};
use crate::flights::Flights;

/// An image with its configuration read.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) config: ImageConfig,
    pub(crate) row: ImageRow,
}

impl Image {
    fn read(row: ImageRow) -> Result<Self> {
        let config = serde_json::from_slice(&row.config)
            .map_err(|error| EngineError::internal("read the image's configuration", error))?;
        Ok(Self {
            id: row.id.clone(),
            config,
            row,
        })
    }

    /// The layers, lowest first.
    pub(crate) fn layer_names(&self) -> Vec<LayerName> {
        self.config.rootfs.diff_ids.iter().map(layer_name).collect()
    }

    /// Tags in the form that people type.
    pub(crate) fn familiar_tags(&self) -> Vec<String> {
        familiar(&self.row.tags)
    }

    pub(crate) fn familiar_digests(&self) -> Vec<String> {
        familiar(&self.row.digests)
    }
}

fn familiar(references: &[String]) -> Vec<String> {
    let mut list: Vec<String> = references
        .iter()
        .filter_map(|text| text.parse::<Reference>().ok())
        .map(|reference| reference.familiar())
        .collect();
    list.sort();
    list
}

/// A layer's name in the layer store.
pub(crate) fn layer_name(diff_id: &Digest) -> LayerName {
    LayerName::from(diff_id)
}

/// A name to give to an image: with the default tag when it has none.
///
/// # Errors
/// 400 for a digest, which nobody can give.
pub(crate) fn as_tag(reference: Reference) -> Result<Reference> {
    if reference.digest().is_some() {
        return Err(EngineError::bad(
            "refusing to create a tag with a digest reference",
        ));
    }
    Ok(reference.with_default_tag())
}

/// The images of this engine.
#[derive(Debug)]
pub(crate) struct Images {
    /// The pin of each image's layers: others share the store and must not
    /// remove what an image has.
    held: Mutex<HashMap<String, LayerPin>>,
    /// Held while rows and pins of images change together.
    changing: tokio::sync::Mutex<()>,
    /// A layer without an image could not be removed.
    orphans: AtomicBool,
    /// One lock per layer that is being fetched: single flight over all pulls.
    pub(crate) flights: Flights,
    /// Layers in transfer at once, over all pulls.
    pub(crate) transfers: Semaphore,
}

impl Images {
    pub(crate) fn new(transfers_max: usize) -> Self {
        Self {
            held: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            orphans: AtomicBool::new(false),
            flights: Flights::default(),
            transfers: Semaphore::new(transfers_max.max(1)),
        }
    }

    /// Finds by id, beginning of an id, tag or digest reference.
    ///
    /// # Errors
    /// 404 with Docker's text, 400 when a beginning fits several.
    pub(crate) async fn get(&self, core: &Core, name: &str) -> Result<Image> {
        let id = self.resolve(core, name).await?;
        let row = core.db.image(&id).await?;
        Image::read(row.ok_or_else(|| EngineError::no_such_image(name))?)
    }

    async fn resolve(&self, core: &Core, name: &str) -> Result<String> {
        if name.parse::<Digest>().is_ok() {
            return Ok(name.to_owned());
        }
        let bare = name.strip_prefix("sha256:").unwrap_or(name);
        let is_hex = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_hexdigit());
        if bare == name {
            let reference: Reference = name
                .parse()
                .map_err(|error: oci::ReferenceError| EngineError::bad(error.to_string()))?;
            let reference = canonical(&reference);
            if let Some(id) = core
                .db
                .image_id_by_reference(&reference.to_string())
                .await?
            {
                return Ok(id);
            }
            if !is_hex {
                return Err(EngineError::no_such_image(&reference.familiar()));
            }
        }
        let mut fitting = core
            .db
            .image_ids_by_prefix(&format!("sha256:{bare}"))
            .await?;
        match (fitting.pop(), fitting.pop()) {
            (Some(id), None) if is_hex => Ok(id),
            (Some(_), Some(_)) => Err(EngineError::bad(format!(
                "ambiguous image id prefix: {bare}"
            ))),
            _ if bare == name => Err(EngineError::no_such_image(&format!("{name}:latest"))),
            _ => Err(EngineError::no_such_image(name)),
        }
    }

    /// All images, newest first.
    pub(crate) async fn all(&self, core: &Core) -> Result<Vec<Image>> {
        let rows = core.db.images(None).await?;
        // One row that cannot be read must not hide the others.
        Ok(rows
            .into_iter()
            .filter_map(|row| Image::read(row).ok())
            .collect())
    }

    /// Gives an image another name.
    pub(crate) async fn tag(&self, core: &Core, name: &str, reference: &Reference) -> Result<()> {
        let reference = as_tag(reference.clone())?;
        let image = self.get(core, name).await?;
        core.db
            .tag_image(
                &reference.to_string(),
                &image.id,
                &clock::rfc3339(clock::now()),
            )
            .await?;
        event(core, "tag", &image.id, &reference.familiar());
        Ok(())
    }

    /// Holds the layers of every image; to be called once, before anything can
    /// be removed.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) async fn hold_all(&self, core: &Core) -> Result<()> {
        for image in self.all(core).await? {
            let pin = core.host.layers.pin(&image.layer_names());
            lock(&self.held).insert(image.id, pin);
        }
        Ok(())
    }

    /// Holds layers that an image is to have, from before anyone looks whether
    /// they are there, and notes them: a crash before the image is recorded
    /// leaves none behind.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) async fn expect(&self, core: &Core, layers: &[LayerName]) -> Result<LayerPin> {
        let pin = core.host.layers.pin(layers);
        let names: Vec<String> = layers.iter().map(ToString::to_string).collect();
        core.db.expect_layers(&names).await?;
        Ok(pin)
    }

    /// Records an image whose layers `pin` holds, and holds them from now on.
    ///
    /// # Errors
    /// Of the database; nothing is changed then.
    pub(crate) async fn record(
        &self,
        core: &Core,
        image: &NewImage<'_>,
        tag: Option<&str>,
        digest: Option<&str>,
        pin: LayerPin,
    ) -> Result<()> {
        let _changing = self.changing.lock().await;
        core.db.insert_image(image, tag, digest).await?;
        lock(&self.held).entry(image.id.to_owned()).or_insert(pin);
        Ok(())
    }

    /// Deletes an image's rows and lets go of its layers; those that no image
    /// has any more come back.
    ///
    /// # Errors
    /// Of the database; nothing is changed then.
    pub(crate) async fn forget(&self, core: &Core, id: &str) -> Result<Vec<String>> {
        let _changing = self.changing.lock().await;
        let orphans = core.db.delete_image(id).await?;
        lock(&self.held).remove(id);
        Ok(orphans)
    }

    /// Whether a layer without an image waits for its holder to end.
    pub(crate) fn has_orphans(&self) -> bool {
        self.orphans.load(Ordering::Relaxed)
    }

    /// The same, and forgets it: whoever finds one that stays notes it again.
    pub(crate) fn take_orphan_note(&self) -> bool {
        self.orphans.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn note_orphan(&self) {
        self.orphans.store(true, Ordering::Relaxed);
    }
}

/// The form under which names are stored: `name:tag`, or `name@digest` without tag.
pub(crate) fn canonical(reference: &Reference) -> Reference {
    match reference.digest() {
        Some(digest) => reference.with_digest(*digest),
        None => reference.clone().with_default_tag(),
    }
}

/// An event about an image.
pub(crate) fn event(core: &Core, action: &str, id: &str, name: &str) {
    let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
    core.events.emit("image", action, id, attributes);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is a single insertion or removal.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

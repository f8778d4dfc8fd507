//! `docker save` and `docker load`: images as one tar with a `manifest.json`;
//! an OCI image layout can be loaded as well.
//!
//! A saved layer is written anew from its files. That gives the bytes of its
//! diff_id for layers that Carrack built and for all that were packed the same
//! way. Of a loaded layer that was packed differently the archive is kept; one
//! that was pulled is refused rather than saved as another image. Blocking, on
//! the blocking pool.

mod layout;

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use engine_api::Progress;
use oci::layer::{Compression, Entry, EntryKind, TarWriter};
use oci::{Descriptor, Digest, ImageConfig, ImageManifest, MediaType, Reference};
use runtime::root::Root;
use runtime::snapshot::{LayerName, LayerPin, Unpacked};
use runtime::unpack;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::kept;
use super::store::{Image, canonical, event, layer_name};
use crate::blocking::blocking;
use crate::clock;
use crate::core::Core;
use crate::db::{LayerRow, NewImage};
use crate::error::{EngineError, Result, chain};
use crate::scratch::Scratch;

/// Largest `manifest.json` and image configuration.
const JSON_BYTES_MAX: u64 = 4 * 1024 * 1024;
const LIST: &str = "manifest.json";
/// Of a layer in a Docker manifest that is not compressed.
const DOCKER_LAYER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One image in `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    /// Its manifest, where the archive has one.
    #[serde(skip)]
    original: Option<Original>,
}

/// A manifest that came with an image.
#[derive(Debug)]
pub(crate) struct Original {
    manifest: Vec<u8>,
    media_type: MediaType,
    digest: Digest,
    /// What it says of the layers.
    layers: Vec<Descriptor>,
}

/// Exports a layer into a file of `scratch` and checks that it is the layer.
pub(super) fn export(
    core: &Core,
    scratch: &Scratch,
    diff_id: &Digest,
    compression: Compression,
) -> Result<(std::fs::File, Descriptor), Failure> {
    let mut file = scratch.file()?;
    let (got, descriptor) = match kept::open(&core.config, diff_id, None)? {
        Some((archive, found)) => {
            kept::recompress(archive, &found.media_type, compression, &mut file)?
        }
        None => {
            let out = io::BufWriter::with_capacity(256 * 1024, &mut file);
            let layers = &core.host.layers;
            let exported = layers.export(&layer_name(diff_id), compression, out)?;
            let media_type = compression.media_type();
            let (digest, size) = (exported.digest, exported.size_bytes);
            let written = Descriptor::new(media_type.as_str(), digest, size);
            (exported.diff_id, written)
        }
    };
    if got != *diff_id {
        return Err(format!(
            "layer {diff_id} was packed by another program, and its files alone do not give its bytes back"
        )
        .into());
    }
    file.rewind()?;
    Ok((file, descriptor))
}

/// Images that are ready to be written: every layer is exported and is right.
#[derive(Debug)]
pub(crate) struct Saved {
    listed: Vec<Listed>,
    /// Name in the archive and content.
    configs: BTreeMap<String, Vec<u8>>,
    layers: BTreeMap<String, (std::fs::File, u64)>,
    /// Holds the layers' files.
    scratch: Scratch,
}

/// Prepares images and the names they were asked by.
///
/// # Errors
/// A layer that cannot be saved, before anything is sent.
pub(crate) fn save(core: &Core, images: &[(Image, Option<String>)]) -> Result<Saved, Failure> {
    let mut saved = Saved {
        listed: Vec::new(),
        configs: BTreeMap::new(),
        layers: BTreeMap::new(),
        scratch: Scratch::new(&core.config)?,
    };
    for (image, name) in images {
        let config = format!("{}.json", image.id.trim_start_matches("sha256:"));
        let mut layers = Vec::new();
        for diff_id in &image.config.rootfs.diff_ids {
            let path = format!("{}.tar", diff_id.hex());
            if !saved.layers.contains_key(&path) {
                let (file, descriptor) = export(core, &saved.scratch, diff_id, Compression::None)?;
                saved.layers.insert(path.clone(), (file, descriptor.size));
            }
            layers.push(path);
        }
        match saved.listed.iter_mut().find(|other| other.config == config) {
            Some(other) => other.repo_tags.get_or_insert_default().extend(name.clone()),
            None => saved.listed.push(Listed {
                config: config.clone(),
                repo_tags: name.clone().map(|name| vec![name]),
                layers,
                original: None,
            }),
        }
        saved.configs.insert(config, image.row.config.clone());
    }
    Ok(saved)
}

impl Saved {
    /// Writes the archive.
    ///
    /// # Errors
    /// Of either side.
    pub(crate) fn write(mut self, out: impl Write) -> Result<(), Failure> {
        let mut tar = TarWriter::new(out);
        let file = |name: &str, size_bytes: u64| Entry {
            size_bytes,
            ..Entry::new(name, EntryKind::Regular, 0o644)
        };
        for (name, config) in &self.configs {
            tar.append(&file(name, config.len() as u64), &mut &config[..])?;
        }
        for (name, (content, size)) in &mut self.layers {
            tar.append(&file(name, *size), content)?;
        }
        let json = serde_json::to_vec(&self.listed)?;
        tar.append(&file(LIST, json.len() as u64), &mut &json[..])?;
        tar.finish()?.flush()?;
        Ok(())
    }
}

/// Loads every image of an archive and says so line by line.
///
/// # Errors
/// 400 for what is no archive of images; images before it stay loaded.
pub(crate) async fn load(
    core: &Arc<Core>,
    archive: impl Read + Send + 'static,
    lines: &mpsc::Sender<Progress>,
) -> Result<()> {
    let config = core.config.clone();
    let spooled = tokio::task::spawn_blocking(move || {
        let scratch = Scratch::new(&config)?;
        let root = Root::open(scratch.path())?;
        unpack::extract(&root, archive, &unpack::Options::default())?;
        let list = match root.read_regular(Path::new(LIST), JSON_BYTES_MAX) {
            Ok(list) => serde_json::from_slice::<Vec<Listed>>(&list)?,
            Err(error) if error.is_absent() => layout::read(&root)
                .map_err(|error| format!("neither {LIST} nor an OCI layout is in it: {error}"))?,
            Err(error) => return Err(error.into()),
        };
        Ok::<_, Failure>((scratch, Arc::new(root), list))
    });
    let (_scratch, root, list) = spooled
        .await
        .map_err(|error| EngineError::internal("read the archive", error))?
        .map_err(|error| {
            EngineError::bad(format!("not an archive of images: {}", chain(&*error)))
        })?;
    for listed in list {
        let loaded = load_one(core, &root, listed).await?;
        for name in loaded {
            let line = Progress {
                stream: format!("Loaded image: {name}\n"),
                ..Default::default()
            };
            let _ = lines.send(line).await;
        }
    }
    Ok(())
}

/// One image; what it is now called.
async fn load_one(core: &Arc<Core>, root: &Arc<Root>, listed: Listed) -> Result<Vec<String>> {
    let bad = |text: String| EngineError::bad(format!("not an archive of images: {text}"));
    let config_bytes = root
        .read_regular(Path::new(&listed.config), JSON_BYTES_MAX)
        .map_err(|error| bad(chain(&error)))?;
    let config: ImageConfig =
        serde_json::from_slice(&config_bytes).map_err(|error| bad(error.to_string()))?;
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != listed.layers.len() {
        return Err(bad(format!(
            "{} has {} layers, its configuration {}",
            listed.config,
            listed.layers.len(),
            diff_ids.len()
        )));
    }
    let names: Vec<_> = diff_ids.iter().map(layer_name).collect();
    let pin = core.images.expect(core, &names).await?;
    let (mut rows, mut descriptors) = (Vec::new(), Vec::new());
    for (position, (path, diff_id)) in listed.layers.iter().zip(&diff_ids).enumerate() {
        let (core, root, path) = (Arc::clone(core), Arc::clone(root), path.clone());
        let (diff_id, parents) = (*diff_id, names[..position].to_vec());
        let named = listed.original.as_ref().map(|o| o.layers[position].clone());
        let (descriptor, unpacked) =
            blocking(move || load_layer(&core, &root, &path, &diff_id, &parents, named))
                .await
                .map_err(|error| bad(error.to_string()))?;
        descriptors.push(descriptor);
        rows.push(LayerRow {
            diff_id: diff_id.to_string(),
            size_bytes: i64::try_from(unpacked.size_bytes).unwrap_or(i64::MAX),
        });
    }
    let id = match listed.original {
        Some(original) => record_original(core, &config_bytes, &original, &rows, pin).await?,
        None => record(core, &config_bytes, descriptors, &rows, None, pin).await?,
    };
    let now = clock::rfc3339(clock::now());
    let mut names = Vec::new();
    for tag in listed.repo_tags.unwrap_or_default() {
        let reference: Reference = tag
            .parse()
            .map_err(|error: oci::ReferenceError| EngineError::bad(error.to_string()))?;
        let reference = canonical(&reference);
        core.db.tag_image(&reference.to_string(), &id, &now).await?;
        names.push(reference.familiar());
    }
    event(core, "load", &id, &id);
    if names.is_empty() {
        names.push(id);
    }
    Ok(names)
}

/// Unpacks a layer, and keeps its archive if it could not be written again.
/// `named` is what the image's own manifest says of it. Blocking.
fn load_layer(
    core: &Core,
    root: &Root,
    path: &str,
    diff_id: &Digest,
    parents: &[LayerName],
    named: Option<Descriptor>,
) -> std::result::Result<(Descriptor, Unpacked), Failure> {
    let mut file = root.open_regular(Path::new(path))?;
    let found = kept::describe(&mut file)?;
    if named
        .as_ref()
        .is_some_and(|named| named.digest != found.digest)
    {
        return Err(format!("{path} is not what its name says").into());
    }
    let layers = &core.host.layers;
    let unpacked = layers.unpack(diff_id, parents, &file, &found.media_type)?;
    let again = layers.export(&layer_name(diff_id), Compression::None, io::sink())?;
    if again.diff_id == *diff_id {
        return Ok((found, unpacked));
    }
    let kept = kept::keep(&core.config, diff_id, file, &found, named.is_some())?;
    Ok((kept, unpacked))
}

/// Records an image under the manifest that it came with; its id.
async fn record_original(
    core: &Core,
    config: &[u8],
    original: &Original,
    rows: &[LayerRow],
    pin: LayerPin,
) -> Result<String> {
    let id = Digest::sha256(config).to_string();
    let now = clock::rfc3339(clock::now());
    let image = NewImage {
        id: &id,
        config,
        manifest: &original.manifest,
        manifest_media_type: original.media_type.as_str(),
        manifest_digest: &original.digest.to_string(),
        created_at: &now,
        layers: rows,
    };
    core.images.record(core, &image, None, None, pin).await?;
    Ok(id)
}

/// Records an image whose layers are in the store, under a manifest that is
/// written for it; its id.
///
/// # Errors
/// Of the database; nothing is changed then.
pub(crate) async fn record(
    core: &Core,
    config: &[u8],
    layers: Vec<Descriptor>,
    rows: &[LayerRow],
    tag: Option<&str>,
    pin: LayerPin,
) -> Result<String> {
    let id = Digest::sha256(config);
    let manifest = manifest(
        Descriptor::new(MediaType::OCI_CONFIG, id, config.len() as u64),
        layers,
    )?;
    let now = clock::rfc3339(clock::now());
    let (id, digest) = (id.to_string(), Digest::sha256(&manifest).to_string());
    let image = NewImage {
        id: &id,
        config,
        manifest: &manifest,
        manifest_media_type: MediaType::OCI_MANIFEST,
        manifest_digest: &digest,
        created_at: &now,
        layers: rows,
    };
    core.images.record(core, &image, tag, None, pin).await?;
    Ok(id)
}

/// An OCI manifest of these parts. What came with a Docker manifest takes its
/// OCI name: clients refuse a mixture.
pub(super) fn manifest(config: Descriptor, layers: Vec<Descriptor>) -> Result<Vec<u8>> {
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(MediaType::from(MediaType::OCI_MANIFEST)),
        artifact_type: None,
        config: Some(in_oci_words(config)),
        layers: layers.into_iter().map(in_oci_words).collect(),
        subject: None,
        annotations: Default::default(),
    };
    serde_json::to_vec(&manifest).map_err(|error| EngineError::internal("write a manifest", error))
}

fn in_oci_words(descriptor: Descriptor) -> Descriptor {
    let name = match descriptor.media_type.as_str() {
        MediaType::DOCKER_CONFIG => MediaType::OCI_CONFIG,
        MediaType::DOCKER_LAYER_GZIP => MediaType::OCI_LAYER_GZIP,
        DOCKER_LAYER_TAR => MediaType::OCI_LAYER_TAR,
        _ => return descriptor,
    };
    Descriptor {
        media_type: MediaType::from(name),
        ..descriptor
    }
}

#[cfg(test)]
#[path = "archive/tests.rs"]
mod tests;

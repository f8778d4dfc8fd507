//! `docker commit`: a container's writable layer as the top of a new image.
//!
//! The layer is written as an archive and unpacked into the store under its
//! diff_id, as a pulled one: the container goes on with its own copy.

use std::io::{self, Seek, Write};
use std::sync::Arc;

use engine_api::ContainerConfig;
use oci::layer::{Compression, LayerWriter, TarWriter};
use oci::{Descriptor, Digest, History, ImageConfig, ImageManifest, MediaType, Reference, RootFs};
use runtime::root::Root;
use runtime::snapshot::LayerName;

use super::state::State;
use super::{Container, merge};
use crate::blocking::blocking;
use crate::clock;
use crate::core::Core;
use crate::db::LayerRow;
use crate::error::{EngineError, Result};
use crate::image::archive;
use crate::image::store::{Image, event, layer_name};
use crate::scratch::Scratch;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the image is called and says of itself.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    pub(crate) reference: Option<Reference>,
    pub(crate) comment: String,
    pub(crate) author: String,
    /// The container is frozen while its files are read.
    pub(crate) pause: bool,
    /// Takes the place of the container's own where it says something.
    pub(crate) config: Option<ContainerConfig>,
}

/// Makes the image; its id.
///
/// # Errors
/// When the files cannot be written as a layer, for example for want of space.
pub(crate) async fn commit(
    core: &Arc<Core>,
    container: &Arc<Container>,
    wanted: Commit,
) -> Result<String> {
    let freeze = wanted.pause && matches!(container.view().state, State::Running { .. });
    if freeze {
        container.pause().await?;
    }
    let written = write_layer(core, container).await;
    if freeze {
        container.unpause().await?;
    }
    let (scratch, file, diff_id, size) = written?;
    let parents = {
        let layers = core.host.layers.clone();
        let key = container.id.to_string();
        blocking(move || layers.parents(&key)).await?
    };
    let mut names: Vec<LayerName> = parents.clone();
    names.push(layer_name(&diff_id));
    let pin = core.images.expect(core, &names).await?;
    let layers = core.host.layers.clone();
    let stack = names.clone();
    let rows = blocking(move || {
        let _scratch = scratch;
        let media_type = MediaType::from(MediaType::OCI_LAYER_TAR);
        layers.unpack(&diff_id, &parents, file, &media_type)?;
        stack
            .iter()
            .map(|name| {
                Ok(LayerRow {
                    diff_id: name.to_string(),
                    size_bytes: i64::try_from(layers.layer_usage(name)?).unwrap_or(i64::MAX),
                })
            })
            .collect::<std::result::Result<Vec<_>, Failure>>()
    })
    .await?;
    // The image may have been removed since: then only its layers are left.
    let base = core.images.get(core, &container.image_id).await.ok();
    let config = image_config(container, base.as_ref(), &wanted, &names)?;
    let config = serde_json::to_vec(&config)
        .map_err(|error| EngineError::internal("write the image's configuration", error))?;
    let top = Descriptor::new(MediaType::OCI_LAYER_TAR, diff_id, size);
    let descriptors = descriptors(base.as_ref(), &rows, top)?;
    let tag = wanted.reference.as_ref().map(ToString::to_string);
    let id = archive::record(core, &config, descriptors, &rows, tag.as_deref(), pin).await?;
    if let Some(reference) = &wanted.reference {
        event(core, "tag", &id, &reference.familiar());
    }
    super::actor::emit(
        core,
        container,
        &container.view().name,
        "commit",
        &[("imageID", id.clone())],
    );
    Ok(id)
}

/// The writable layer as a file, its diff_id and size in bytes.
async fn write_layer(
    core: &Core,
    container: &Container,
) -> Result<(Scratch, std::fs::File, Digest, u64)> {
    let (layers, key) = (core.host.layers.clone(), container.id.to_string());
    let config = core.config.clone();
    blocking(move || {
        let scratch = Scratch::new(&config)?;
        let mut file = scratch.file()?;
        let upper = Root::open(&layers.get(&key)?.upper)?;
        let out = io::BufWriter::with_capacity(256 * 1024, &mut file);
        let mut tar = TarWriter::new(LayerWriter::new(out, Compression::None)?);
        runtime::diff::write_layer(&upper, "".as_ref(), &mut tar)?;
        let (mut out, written) = tar.finish()?.finish()?;
        out.flush()?;
        drop(out);
        file.rewind()?;
        Ok::<_, Failure>((scratch, file, written.diff_id, written.size_bytes))
    })
    .await
}

/// The layers as registries know those of the base, and the new one.
fn descriptors(
    base: Option<&Image>,
    rows: &[LayerRow],
    top: Descriptor,
) -> Result<Vec<Descriptor>> {
    let below = &rows[..rows.len() - 1];
    let known = base
        .and_then(|base| serde_json::from_slice::<ImageManifest>(&base.row.manifest).ok())
        .map(|manifest| manifest.layers)
        .filter(|layers| layers.len() == below.len());
    let mut all = match known {
        Some(layers) => layers,
        // What no registry is known to have is packed when it is pushed.
        None => below
            .iter()
            .map(|row| {
                let digest = row
                    .diff_id
                    .parse()
                    .map_err(|error| EngineError::internal("read a layer's name", error))?;
                let size = u64::try_from(row.size_bytes).unwrap_or(0);
                Ok(Descriptor::new(MediaType::OCI_LAYER_TAR, digest, size))
            })
            .collect::<Result<Vec<_>>>()?,
    };
    all.push(top);
    Ok(all)
}

fn image_config(
    container: &Container,
    base: Option<&Image>,
    wanted: &Commit,
    names: &[LayerName],
) -> Result<ImageConfig> {
    let base = base.map(|base| &base.config);
    let host = oci::Platform::host();
    let created = clock::rfc3339(clock::now());
    let own = of_image(&container.config);
    let config = match wanted.config.clone() {
        Some(config) => of_image(&merge::merge(config, &own)?),
        None => own,
    };
    let mut history = base.map(|base| base.history.clone()).unwrap_or_default();
    history.push(History {
        created: Some(created.clone()),
        created_by: text(&merge::command(&container.config).join(" ")),
        author: text(&wanted.author),
        comment: text(&wanted.comment),
        empty_layer: false,
    });
    Ok(ImageConfig {
        created: Some(created),
        author: text(&wanted.author),
        architecture: base.map_or(host.architecture, |base| base.architecture.clone()),
        os: "linux".to_owned(),
        variant: base.and_then(|base| base.variant.clone()),
        config,
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: names
                .iter()
                .filter_map(|name| name.as_str().parse().ok())
                .collect(),
        },
        history,
    })
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// What of a container's configuration an image carries on.
fn of_image(config: &ContainerConfig) -> oci::ContainerConfig {
    oci::ContainerConfig {
        user: config.user.clone(),
        exposed_ports: config.exposed_ports.clone(),
        env: config.env.clone().unwrap_or_default(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        volumes: config.volumes.clone().unwrap_or_default(),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone(),
        stop_signal: text(&config.stop_signal),
        stop_timeout: config.stop_timeout,
        shell: config.shell.clone(),
        ..Default::default()
    }
}

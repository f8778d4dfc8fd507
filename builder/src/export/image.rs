//! The image's configuration and manifest, from its layers.

use bytes::Bytes;
use oci::{Descriptor, Digest, ImageConfig, ImageManifest, MediaType, RootFs};

use super::LayerExport;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// What the frontend knows of the image and its files do not say.
#[derive(Clone, Debug)]
pub(crate) struct Finish {
    /// Without layers and creation time.
    pub(crate) config: ImageConfig,
    /// Seconds since the epoch, instead of the layers' own times.
    pub(crate) epoch: Option<i64>,
}

/// An image, ready to be pushed.
#[derive(Clone, Debug)]
pub(crate) struct Exported {
    pub(crate) layers: Vec<LayerExport>,
    pub(crate) config: Bytes,
    pub(crate) config_descriptor: Descriptor,
    pub(crate) manifest: Bytes,
    pub(crate) digest: Digest,
}

impl Exported {
    /// Assembles the documents. The same layers make the same bytes: times are
    /// those at which the layers were made, so a build that found everything
    /// in the cache makes the image that is in the registry already.
    pub(crate) fn new(layers: Vec<LayerExport>, finish: Finish) -> Self {
        let Finish { mut config, epoch } = finish;
        config.rootfs = RootFs {
            kind: "layers".to_owned(),
            diff_ids: layers.iter().map(|layer| layer.blob.diff_id).collect(),
        };
        let time = |layer: &LayerExport| match epoch {
            Some(seconds) => Some(seconds.saturating_mul(1000)),
            None => layer.created_at,
        };
        set_history_times(&mut config, &layers, &time);
        let newest = layers.iter().filter_map(time).max();
        if let Some(created) = newest.or(epoch.map(|s| s.saturating_mul(1000))) {
            config.created = Some(rfc3339(created));
        }
        let config = json(&config);
        let config_descriptor =
            Descriptor::new(CONFIG_TYPE, Digest::sha256(&config), config.len() as u64);
        let manifest = json(&ImageManifest {
            schema_version: 2,
            media_type: Some(MediaType::from(MANIFEST_TYPE)),
            artifact_type: None,
            config: Some(config_descriptor.clone()),
            layers: layers.iter().map(descriptor).collect(),
            subject: None,
            annotations: Default::default(),
        });
        Self {
            digest: Digest::sha256(&manifest),
            layers,
            config,
            config_descriptor,
            manifest,
        }
    }

    pub(crate) fn media_type(&self) -> MediaType {
        MediaType::from(MANIFEST_TYPE)
    }
}

/// Gives history entries that make a layer the time of that layer. Entries and
/// layers are matched from the top, where the build's own are.
fn set_history_times(
    config: &mut ImageConfig,
    layers: &[LayerExport],
    time: &dyn Fn(&LayerExport) -> Option<i64>,
) {
    let mut layers = layers.iter().rev();
    let mut last = None;
    for entry in config.history.iter_mut().rev() {
        if !entry.empty_layer {
            last = layers.next().and_then(time);
        }
        if entry.created.is_none() {
            entry.created = last.map(rfc3339);
        }
    }
}

/// A layer's descriptor in an OCI manifest: the type of the same bytes in
/// OCI's words, where a base image used Docker's.
fn descriptor(layer: &LayerExport) -> Descriptor {
    let known = &layer.blob.descriptor;
    let media_type = match known.media_type.as_str() {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => super::LAYER_TYPE,
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar",
        other => other,
    };
    Descriptor::new(media_type, known.digest, known.size)
}

fn json<T: serde::Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .expect("OCI documents have string keys only, so they serialise")
        .into()
}

fn rfc3339(milliseconds: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    at.format(&time::format_description::well_known::Rfc3339)
        .expect("a time within four-digit years can be written")
}

#[cfg(test)]
#[path = "image/tests.rs"]
mod tests;

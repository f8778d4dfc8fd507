//! What `inspect` and `history` show of an image.

use engine_api::{
    GraphDriver, ImageHistory, ImageInspect, ImageInspectConfig, ImageMetadata, ImageRootFs,
};

use super::store::Image;
use crate::clock;
use crate::core::Core;
use crate::error::Result;

pub(crate) fn inspect(image: &Image) -> ImageInspect {
    let config = &image.config;
    ImageInspect {
        id: image.id.clone(),
        repo_tags: image.familiar_tags(),
        repo_digests: image.familiar_digests(),
        comment: config
            .history
            .last()
            .and_then(|step| step.comment.clone())
            .unwrap_or_default(),
        created: config.created.clone().unwrap_or_default(),
        author: config.author.clone().unwrap_or_default(),
        config: Some(container_config(image)),
        architecture: config.architecture.clone(),
        variant: config.variant.clone().unwrap_or_default(),
        os: config.os.clone(),
        size: image.row.size_bytes,
        graph_driver: GraphDriver {
            data: None,
            name: "overlay2".to_owned(),
        },
        root_fs: ImageRootFs {
            kind: "layers".to_owned(),
            layers: config
                .rootfs
                .diff_ids
                .iter()
                .map(ToString::to_string)
                .collect(),
        },
        metadata: ImageMetadata {
            last_tag_time: image.row.created_at.clone(),
        },
        ..Default::default()
    }
}

fn container_config(image: &Image) -> ImageInspectConfig {
    let config = &image.config.config;
    ImageInspectConfig {
        user: config.user.clone(),
        exposed_ports: config.exposed_ports.clone(),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        healthcheck: config
            .healthcheck
            .clone()
            .and_then(|check| serde_json::from_value(check).ok()),
        volumes: config.volumes.clone(),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone(),
        on_build: config.on_build.clone(),
        stop_signal: config.stop_signal.clone(),
        shell: config.shell.clone(),
    }
}

/// The steps, newest first, with the size of each layer.
pub(crate) async fn history(core: &Core, image: &Image) -> Result<Vec<ImageHistory>> {
    let layers = core.db.image_layers(&image.id).await?;
    let mut sizes = layers.iter().map(|layer| layer.size_bytes);
    let mut steps: Vec<ImageHistory> = image
        .config
        .history
        .iter()
        .map(|step| ImageHistory {
            id: "<missing>".to_owned(),
            created: unix(step.created.as_deref()),
            created_by: step.created_by.clone().unwrap_or_default(),
            tags: None,
            size: if step.empty_layer {
                0
            } else {
                sizes.next().unwrap_or(0)
            },
            comment: step.comment.clone().unwrap_or_default(),
        })
        .collect();
    // An image without history still has layers to show.
    let created = unix(image.config.created.as_deref());
    steps.extend(sizes.map(|size| ImageHistory {
        id: "<missing>".to_owned(),
        created,
        size,
        ..Default::default()
    }));
    if let Some(top) = steps.last_mut() {
        top.id.clone_from(&image.id);
        top.tags = Some(image.familiar_tags()).filter(|tags| !tags.is_empty());
    }
    steps.reverse();
    Ok(steps)
}

/// Unix seconds of an RFC 3339 text; the epoch when there is none.
pub(crate) fn unix(text: Option<&str>) -> i64 {
    text.and_then(clock::parse_rfc3339)
        .map_or(0, time::OffsetDateTime::unix_timestamp)
}

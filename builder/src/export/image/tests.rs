use oci::{Descriptor, Digest, History, ImageConfig, Manifest, MediaType};

use super::{Exported, Finish, LayerExport};
use crate::db::LayerBlob;

fn layer(name: &str, media_type: &str, created_at: Option<i64>) -> LayerExport {
    LayerExport {
        blob: LayerBlob {
            diff_id: Digest::sha256(name.as_bytes()),
            descriptor: Descriptor::new(media_type, Digest::sha256(b"z"), 7),
            origin: None,
        },
        created_at,
    }
}

fn finish(epoch: Option<i64>) -> Finish {
    let entry = |text: &str, empty_layer, created: Option<&str>| History {
        created_by: Some(text.to_owned()),
        created: created.map(str::to_owned),
        empty_layer,
        ..History::default()
    };
    let mut config = ImageConfig {
        created: Some("2001-01-01T00:00:00Z".to_owned()),
        ..ImageConfig::default()
    };
    config.history = vec![
        entry("base", false, Some("2001-01-01T00:00:00Z")),
        entry("RUN a", false, None),
        entry("ENV b", true, None),
    ];
    Finish { config, epoch }
}

fn image(epoch: Option<i64>) -> Exported {
    let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let layers = vec![
        layer("base", docker, None),
        layer("a", super::super::LAYER_TYPE, Some(1_000_000_000_000)),
    ];
    Exported::new(layers, finish(epoch))
}

#[test]
fn the_same_layers_make_the_same_image() {
    let image = image(None);
    assert_eq!(image.digest, self::image(None).digest);
    let config: ImageConfig = serde_json::from_slice(&image.config).unwrap();
    assert_eq!(config.rootfs.diff_ids[1], Digest::sha256(b"a"));
    assert_eq!(config.created.as_deref(), Some("2001-09-09T01:46:40Z"));
    let times: Vec<_> = config
        .history
        .iter()
        .map(|h| h.created.as_deref())
        .collect();
    assert_eq!(
        times,
        [
            Some("2001-01-01T00:00:00Z"),
            Some("2001-09-09T01:46:40Z"),
            None
        ]
    );
}

#[test]
fn an_epoch_replaces_the_times_of_the_layers() {
    let config: ImageConfig = serde_json::from_slice(&image(Some(0)).config).unwrap();
    assert_eq!(config.created.as_deref(), Some("1970-01-01T00:00:00Z"));
    assert_eq!(
        config.history[1].created.as_deref(),
        Some("1970-01-01T00:00:00Z")
    );
}

#[test]
fn the_manifest_is_an_oci_manifest_throughout() {
    let image = image(None);
    let manifest = Manifest::parse(&image.media_type(), &image.manifest).unwrap();
    let Manifest::Image(manifest) = manifest else {
        panic!("an image has an image manifest");
    };
    let oci = MediaType::from("application/vnd.oci.image.layer.v1.tar+gzip");
    assert!(manifest.layers.iter().all(|layer| layer.media_type == oci));
    assert_eq!(
        manifest.config.unwrap().digest,
        Digest::sha256(&image.config)
    );
}

//! Base images while they are pulled.

use std::{collections::HashMap, io::Write, sync::Arc};

use axum::{
    Router,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use oci::{
    Digest, MediaType, Platform,
    layer::{Compression, LayerWriter},
};
use runtime::snapshot::{LayerName, SnapshotError};
use tokio::sync::Notify;

use crate::harness::{Bench, Context};

/// A registry with one image, whose last layer comes when the test says so.
struct Registry {
    address: String,
    /// The layers' diff_ids and compressed forms.
    layers: Vec<(Digest, Vec<u8>)>,
    asked: Arc<Notify>,
    go_on: Arc<Notify>,
    server: tokio::task::JoinHandle<()>,
}

impl Registry {
    async fn start(tars: &[Vec<u8>]) -> Self {
        let layers: Vec<(Digest, Vec<u8>)> = tars
            .iter()
            .map(|tar| (Digest::sha256(tar), gzip(tar)))
            .collect();
        let manifest_type = MediaType::OCI_MANIFEST;
        let platform = Platform::host();
        let diff_ids: Vec<String> = layers.iter().map(|(id, _)| id.to_string()).collect();
        let config = serde_json::json!({
            "architecture": platform.architecture, "os": platform.os, "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = config.to_string().into_bytes();
        let descriptor = |media_type: &str, bytes: &[u8]| {
            serde_json::json!({
                "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len(),
            })
        };
        let blobs = layers
            .iter()
            .map(|(_, blob)| descriptor(MediaType::OCI_LAYER_GZIP, blob));
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": descriptor(MediaType::OCI_CONFIG, &config),
            "layers": blobs.collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();

        let mut contents = HashMap::new();
        let all = layers.iter().map(|(_, blob)| blob);
        for bytes in all.chain([&config, &manifest]) {
            contents.insert(Digest::sha256(bytes).to_string(), bytes.clone());
        }
        contents.insert("1".to_owned(), manifest);
        let last = layers
            .last()
            .map(|(_, blob)| Digest::sha256(blob).to_string());
        let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (contents, told, wait) = (Arc::new(contents), asked.clone(), go_on.clone());
        let answer = move |uri: Uri| {
            let (contents, told, wait, last) =
                (contents.clone(), told.clone(), wait.clone(), last.clone());
            async move {
                let name = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
                if Some(&name) == last.as_ref() {
                    told.notify_one();
                    wait.notified().await;
                }
                let Some(bytes) = contents.get(&name) else {
                    return Response::new(axum::body::Body::empty());
                };
                let kind = match uri.path().contains("/manifests/") {
                    true => manifest_type,
                    false => "application/octet-stream",
                };
                (StatusCode::OK, [(CONTENT_TYPE, kind)], bytes.clone()).into_response()
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(answer);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            layers,
            asked,
            go_on,
            server,
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new(), Compression::GZIP).unwrap();
    writer.write_all(tar).unwrap();
    writer.finish().unwrap().0
}

/// The engine removes its last image of a layer that a build was told is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_a_pull_found_stays_until_it_is_used() {
    let bench = Bench::new().await;
    let tars = [
        Context::default().file("one", b"1").tar(),
        Context::default().file("two", b"2").tar(),
    ];
    let registry = Registry::start(&tars).await;
    let (diff_id, blob) = registry.layers[0].clone();
    let store = bench.layers.clone();
    let unpacked = tokio::task::spawn_blocking(move || {
        store.unpack(
            &diff_id,
            &[],
            blob.as_slice(),
            &MediaType::from(MediaType::OCI_LAYER_GZIP),
        )
    });
    unpacked.await.unwrap().unwrap();
    let name = LayerName::from(&diff_id);

    let dockerfile = format!("FROM {}/base:1\nCOPY Dockerfile /\n", registry.address);
    let context = Context::default().file("Dockerfile", dockerfile.as_bytes());
    let build = bench.submit("", context).await;
    registry.asked.notified().await;
    let refused = bench.layers.remove_layer(&name);
    registry.go_on.notify_one();
    assert!(
        matches!(refused, Err(SnapshotError::LayerPinned(_))),
        "{refused:?}"
    );
    bench.wait(&build.id).await.succeeded();
    bench.check_nothing_left().await;
}

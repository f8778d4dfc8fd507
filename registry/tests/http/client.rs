//! The registry client against the registry.

use std::io::Read;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use oci::{
    Algorithm, Descriptor, Digest, MediaType, Platform, Reference,
    client::{BlobBytes, BlobSource, Client, ClientConfig, ClientError, Credentials, Patience},
};
use serde_json::json;

use crate::harness::{PASSWORD, Server, noise};

fn client() -> Client {
    Client::new(ClientConfig::default()).unwrap()
}

fn admin() -> Credentials {
    Credentials::Basic {
        user: "admin".to_owned(),
        password: PASSWORD.to_owned(),
    }
}

fn reference(server: &Server, name: &str) -> Reference {
    format!("{}/{name}", server.address).parse().unwrap()
}

fn body(bytes: &[u8]) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + use<> {
    let chunks: Vec<_> = bytes
        .chunks(10_000)
        .map(|c| Ok(Bytes::copy_from_slice(c)))
        .collect();
    stream::iter(chunks)
}

#[tokio::test]
async fn pushes_and_pulls_an_image() {
    let (server, client, login) = (Server::start().await, client(), admin());
    let image = reference(&server, "team/app:v1");
    let layer = noise(1, 300_000);
    let config = json!({ "architecture": "arm64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] } }).to_string();
    let layer_digest = Digest::sha256(&layer);
    assert!(
        !client
            .has_blob(&image, &layer_digest, &login)
            .await
            .unwrap()
    );
    let size = layer.len() as u64;
    client
        .push_blob(
            &image,
            &layer_digest,
            size,
            &Bytes::from(layer.clone()),
            &login,
        )
        .await
        .unwrap();
    assert!(
        client
            .has_blob(&image, &layer_digest, &login)
            .await
            .unwrap()
    );
    let pushed = client
        .push_blob_streamed(&image, Algorithm::Sha256, body(config.as_bytes()), &login)
        .await
        .unwrap();
    assert_eq!(
        pushed,
        (Digest::sha256(config.as_bytes()), config.len() as u64)
    );
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": Descriptor::new(MediaType::OCI_CONFIG, pushed.0, pushed.1),
        "layers": [Descriptor::new(MediaType::OCI_LAYER_TAR, layer_digest, size)],
    });
    let manifest = Bytes::from(manifest.to_string());
    let media_type = MediaType::from(MediaType::OCI_MANIFEST);
    let digest = client
        .push_manifest(&image, &media_type, manifest.clone(), &login)
        .await
        .unwrap();
    let resolved = client.resolve(&image, &login).await.unwrap();
    assert_eq!(
        resolved,
        Descriptor::new(MediaType::OCI_MANIFEST, digest, manifest.len() as u64)
    );

    // An index in front of it; the platform decides.
    let index = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX,
        "manifests": [{ "mediaType": MediaType::OCI_MANIFEST, "digest": digest, "size": manifest.len(),
            "platform": { "os": "linux", "architecture": "arm64", "variant": "v8" } }],
    });
    let multi = reference(&server, "team/app:multi");
    let media_type = MediaType::from(MediaType::OCI_INDEX);
    let top = client
        .push_manifest(&multi, &media_type, index.to_string().into(), &login)
        .await
        .unwrap();
    let found = client
        .image(&multi, &Platform::linux("arm64"), &login)
        .await
        .unwrap();
    assert_eq!(
        (found.target.digest, found.descriptor.digest),
        (top, digest)
    );
    assert_eq!(found.manifest_bytes, manifest);
    assert_eq!(found.config_bytes, config);
    assert_eq!(found.config.architecture, "arm64");
    let error = client
        .image(&multi, &Platform::linux("s390x"), &login)
        .await
        .unwrap_err();
    let text = "no matching manifest for linux/s390x in the manifest list entries (there are: linux/arm64/v8)";
    assert_eq!(error.to_string(), text);

    // The layer, as a blocking reader on a thread of its own.
    let stream = client
        .blob(&image, &found.manifest.layers[0], &login)
        .await
        .unwrap();
    let runtime = tokio::runtime::Handle::current();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        stream
            .into_read(runtime)
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    });
    assert_eq!(read.await.unwrap().unwrap(), layer);

    let other = reference(&server, "team/other:1");
    assert!(
        client
            .mount(&other, &layer_digest, &image, &login)
            .await
            .unwrap()
    );
    assert!(
        client
            .has_blob(&other, &layer_digest, &login)
            .await
            .unwrap()
    );
    assert!(
        !client
            .mount(&other, &Digest::sha256(b"absent"), &image, &login)
            .await
            .unwrap()
    );
}

/// Content whose disk fails after the first byte.
struct OnFire;

impl BlobSource for OnFire {
    fn open(&self, _: u64) -> BoxFuture<'_, std::io::Result<BlobBytes>> {
        let failing = stream::iter([
            Ok(Bytes::from_static(b"y")),
            Err(std::io::Error::other("disk on fire")),
        ]);
        async { Ok(failing.boxed()) }.boxed()
    }
}

#[tokio::test]
async fn refusals_read_as_dockers() {
    let (server, client) = (Server::start().await, client());
    server.push_image("team/app", "v1", b"layer").await;
    let image = reference(&server, "team/app:v1");
    let absent = reference(&server, "team/app:absent");
    let name = image.familiar_name();
    let error = client.resolve(&absent, &admin()).await.unwrap_err();
    assert!(error.is_not_found());
    let text = format!("manifest for {name}:absent not found: manifest unknown");
    assert!(error.to_string().starts_with(&text), "{error}");
    let error = client.manifest(&absent, &admin()).await.unwrap_err();
    assert!(error.to_string().starts_with(&text), "{error}");
    let error = client
        .resolve(&image, &Credentials::Anonymous)
        .await
        .unwrap_err();
    let text = format!(
        "pull access denied for {name}, repository does not exist or may require 'docker login'"
    );
    assert!(error.to_string().starts_with(&text), "{error}");
    let wrong = Credentials::Basic {
        user: "admin".to_owned(),
        password: "wrong".to_owned(),
    };
    let error = client.resolve(&image, &wrong).await.unwrap_err();
    assert!(
        matches!(error, ClientError::BadCredentials { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("incorrect username or password"),
        "{error}"
    );
    let bearer = Credentials::Bearer("not.a.token".to_owned());
    let error = client.resolve(&image, &bearer).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Denied { action: "pull", .. }),
        "{error}"
    );
    // The right password is not confused with the wrong one by the token cache.
    client.resolve(&image, &admin()).await.unwrap();
    assert!(client.resolve(&image, &wrong).await.is_err());

    let blob = Digest::sha256(b"x");
    let error = client
        .push_blob(&image, &blob, 1, &Bytes::from_static(b"y"), &admin())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ClientError::Rejected { code, .. } if code == "DIGEST_INVALID"),
        "{error}"
    );
    let algorithm = Algorithm::Sha256;
    let failing = stream::iter([
        Ok(Bytes::from_static(b"y")),
        Err(std::io::Error::other("disk on fire")),
    ]);
    let error = client
        .push_blob_streamed(&image, algorithm, failing, &admin())
        .await
        .unwrap_err();
    let text = "reading the content to push failed: disk on fire";
    assert_eq!(error.to_string(), text);
    let error = client
        .push_blob(&image, &blob, 9, &OnFire, &admin())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), text);
    let media_type = MediaType::from(MediaType::OCI_MANIFEST);
    let manifest = crate::harness::image_manifest(b"absent", &[]);
    let error = client
        .push_manifest(&image, &media_type, manifest.into(), &admin())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("push or mount them first"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refresh_token_and_a_bearer_token_log_in() {
    let (server, client) = (Server::start().await, client());
    server.push_image("team/app", "v1", b"layer").await;
    let image = reference(&server, "team/app:v1");
    let answer = crate::harness::send(server.admin("GET", "/auth/token?offline_token=true")).await;
    let refresh = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    client
        .resolve(&image, &Credentials::IdentityToken(refresh))
        .await
        .unwrap();
    let token = server.token(&["repository:team/app:pull"]).await;
    let bearer = Credentials::Bearer(token);
    client.resolve(&image, &bearer).await.unwrap();
    let error = client
        .push_blob(&image, &Digest::sha256(b""), 0, &Bytes::new(), &bearer)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Denied { action: "push", .. }),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_answers() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let image: Reference = format!("{address}/a:b").parse().unwrap();
    let hasty = ClientConfig {
        patience: Patience::NONE,
        ..ClientConfig::default()
    };
    let error = Client::new(hasty)
        .unwrap()
        .resolve(&image, &Credentials::Anonymous)
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

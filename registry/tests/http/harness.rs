//! A registry on a port of its own, and requests to it.

use std::{net::SocketAddr, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use oci::{Digest, MediaType};
use registry::{Registry, RegistryConfig};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) struct Server {
    pub(crate) registry: Registry,
    pub(crate) address: SocketAddr,
    pub(crate) directory: TempDir,
    http: reqwest::Client,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

/// An answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Code of the error, checked to be one that says something.
    pub(crate) fn code(&self) -> String {
        let error = &self.json()["errors"][0];
        let message = error["message"].as_str().unwrap();
        assert!(message.len() > 10, "{message}");
        error["code"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{:?}\n{text}", self.headers);
        self
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub(crate) async fn start_in(directory: TempDir) -> Self {
        let mut config = RegistryConfig::new(directory.path().join("registry"));
        config.admin_password = Some(PASSWORD.to_owned());
        let registry = Registry::open(config).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serve = axum::serve(listener, registry.router())
            .with_graceful_shutdown(async { drop(stopped.await) });
        let task = tokio::spawn(async { serve.await.unwrap() });
        Self {
            registry,
            address,
            directory,
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            stop,
            task,
        }
    }

    /// Stops in order and gives the data directory back.
    pub(crate) async fn stop(self) -> TempDir {
        self.stop.send(()).unwrap();
        drop(self.http);
        self.task.await.unwrap();
        self.registry.shutdown().await;
        self.directory
    }

    pub(crate) fn blobs(&self) -> std::path::PathBuf {
        self.directory.path().join("registry/blobs")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request without credentials.
    pub(crate) fn plain(&self, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().unwrap();
        self.http.request(method, self.url(path))
    }

    /// A request as admin, with Basic.
    pub(crate) fn admin(&self, method: &str, path: &str) -> RequestBuilder {
        self.plain(method, path).basic_auth("admin", Some(PASSWORD))
    }

    pub(crate) fn bearer(&self, method: &str, path: &str, token: &str) -> RequestBuilder {
        self.plain(method, path).bearer_auth(token)
    }

    /// A token of the admin with these scopes.
    pub(crate) async fn token(&self, scopes: &[&str]) -> String {
        let query: Vec<_> = scopes.iter().map(|scope| ("scope", *scope)).collect();
        let answer = send(self.admin("GET", "/auth/token").query(&query)).await;
        answer.expect(200).json()["token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) async fn start_upload(&self, repo: &str) -> String {
        let path = format!("/v2/{repo}/blobs/uploads/");
        let answer = send(self.admin("POST", &path)).await.expect(202);
        answer.header("location").to_owned()
    }

    pub(crate) async fn push_blob(&self, repo: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let location = self.start_upload(repo).await;
        let request = self.admin("PUT", &format!("{location}?digest={digest}"));
        send(request.body(bytes.to_vec())).await.expect(201);
        digest
    }

    /// Pushes a config, a layer and their manifest; returns the manifest's bytes.
    pub(crate) async fn push_image(&self, repo: &str, tag: &str, layer: &[u8]) -> Vec<u8> {
        let config =
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        self.push_blob(repo, config).await;
        self.push_blob(repo, layer).await;
        let manifest = image_manifest(config, &[layer]);
        self.put_manifest(repo, tag, &manifest).await.expect(201);
        manifest
    }

    pub(crate) async fn put_manifest(&self, repo: &str, key: &str, bytes: &[u8]) -> Answer {
        let request = self
            .admin("PUT", &format!("/v2/{repo}/manifests/{key}"))
            .header("content-type", MediaType::OCI_MANIFEST)
            .body(bytes.to_vec());
        send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.admin("GET", path)).await
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    read(request.send().await.unwrap()).await
}

async fn read(response: Response) -> Answer {
    Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap(),
    }
}

pub(crate) fn image_manifest(config: &[u8], layers: &[&[u8]]) -> Vec<u8> {
    let describe = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len() });
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| describe(MediaType::OCI_LAYER_TAR, layer))
        .collect();
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": describe(MediaType::OCI_CONFIG, config),
        "layers": layers,
    })
    .to_string()
    .into_bytes()
}

/// Bytes that do not repeat.
pub(crate) fn noise(seed: u32, length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|n| (n.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 19) as u8)
        .collect()
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Files below `root` that are not empty.
pub(crate) fn objects(root: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for directory in std::fs::read_dir(root).unwrap() {
        for file in std::fs::read_dir(directory.unwrap().path()).unwrap() {
            let file = file.unwrap();
            if file.metadata().unwrap().len() > 0 {
                found.push(file.path());
            }
        }
    }
    found
}

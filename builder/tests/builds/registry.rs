//! Base images from a registry and results into one: Debian's genuine
//! docker-registry, on loopback.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use builder_proto::api::{BuildState, Event, StepStatus};
use oci::{
    ImageConfig, Platform, Reference,
    client::{Client, ClientConfig, Credentials},
};

use runtime::snapshot::SnapshotError;

use crate::harness::{Bench, Context, names};

struct Registry {
    process: Child,
    address: String,
    dir: tempfile::TempDir,
}

impl Registry {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            dir.path().join("data").display()
        );
        fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve", config.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the package docker-registry is installed");
        while std::net::TcpStream::connect(&address).is_err() {
            tokio::task::yield_now().await;
        }
        Self {
            process,
            address,
            dir,
        }
    }

    /// Uploads that were begun and neither finished nor ended.
    fn uploads(&self, repository: &str) -> Vec<String> {
        let below = "data/docker/registry/v2/repositories";
        let dir = self
            .dir
            .path()
            .join(format!("{below}/{repository}/_uploads"));
        match dir.exists() {
            true => names(&dir),
            false => Vec::new(),
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

async fn config(registry: &Registry, name: &str) -> (oci::Digest, ImageConfig) {
    let reference: Reference = format!("{}/{name}", registry.address).parse().unwrap();
    let client = Client::new(ClientConfig::default()).unwrap();
    let image = client
        .image(&reference, &Platform::host(), &Credentials::Anonymous)
        .await
        .unwrap();
    // Every layer is there, whole.
    for layer in &image.manifest.layers {
        let blob = client
            .blob(&reference, layer, &Credentials::Anonymous)
            .await
            .unwrap();
        assert_eq!(blob.collect().await.unwrap().len() as u64, layer.size);
    }
    (image.descriptor.digest, image.config)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pushed_once_and_built_upon_elsewhere() {
    let registry = Registry::start().await;
    let at = &registry.address;
    let bench = Bench::new().await;
    let query = format!("tag={at}/base/busybox:1&tag={at}/base/busybox:2&tag={at}/copy/busybox");
    let context = || Context::busybox("ENV A=1\nLABEL b=2\nRUN --network=none echo hi > /hi\n");
    let first = bench.build_with(&query, context()).await.succeeded();
    let (digest, base) = config(&registry, "base/busybox:1").await;
    assert_eq!(first.build.digest, Some(digest.to_string()));
    assert_eq!(config(&registry, "base/busybox:2").await.0, digest);
    assert_eq!(config(&registry, "copy/busybox:latest").await.0, digest);
    assert_eq!(base.rootfs.diff_ids.len(), 3);
    assert!(base.config.env.contains(&"A=1".to_owned()));
    let layers = base
        .history
        .iter()
        .filter(|entry| !entry.empty_layer)
        .count();
    assert_eq!((layers, base.history.len()), (3, 5));
    assert!(base.history.iter().all(|entry| entry.created.is_some()));

    // Exported layers are called by their diff_ids now, and still found.
    let again = bench.build_with(&query, context()).await.succeeded();
    assert_eq!(again.build.digest, first.build.digest);
    assert_eq!(again.steps(StepStatus::Cached).len(), 3, "{}", again.log);
    assert!(!again.log.contains("Pushing"), "{}", again.log);
    let compressed = names(&bench.path().join("builder/blobs"));
    assert_eq!(compressed.len(), 3);

    // The engine, which shares the store, cannot take them away.
    let names_now = bench.layers.list_layers().unwrap();
    assert_eq!(names_now.len(), 3);
    for name in names_now {
        let refused = bench.layers.remove_layer(&name).unwrap_err();
        assert!(matches!(refused, SnapshotError::LayerKept(_)), "{refused}");
    }

    // Another builder pulls it, and passes its layers on as they are.
    let other = Bench::new().await;
    let dockerfile =
        format!("FROM {at}/base/busybox:1\nRUN --network=none cat /hi && touch /new\n");
    let context = Context::default().file("Dockerfile", dockerfile.as_bytes());
    let query = format!("tag={at}/team/app");
    let built = other.build_with(&query, context).await.succeeded();
    assert!(built.log.contains(" hi\n"), "{}", built.log);
    let (_, app) = config(&registry, "team/app:latest").await;
    assert_eq!(app.rootfs.diff_ids[..3], base.rootfs.diff_ids);
    assert_eq!(app.config.env, base.config.env);
    assert_eq!(names(&other.path().join("builder/blobs")).len(), 1);
    for repository in ["base/busybox", "copy/busybox", "team/app"] {
        assert_eq!(registry.uploads(repository), [""; 0], "{repository}");
    }
    bench.check_nothing_left().await;
    other.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_is_not_pulled_when_nothing_needs_its_files() {
    let registry = Registry::start().await;
    let at = &registry.address;
    let bench = Bench::new().await;
    let query = format!("tag={at}/base/busybox");
    bench
        .build_with(&query, Context::busybox(""))
        .await
        .succeeded();

    let other = Bench::new().await;
    let app = format!("FROM {at}/base/busybox\nENV X=1\n");
    let context = Context::default().file("Dockerfile", app.as_bytes());
    other.build(context).await.succeeded();
    assert_eq!(other.layers.list_layers().unwrap(), []);

    let absent = format!("FROM {at}/no/such:1\n");
    let context = Context::default().file("Dockerfile", absent.as_bytes());
    let outcome = other.build(context).await;
    assert!(
        outcome.failure().contains("no/such:1"),
        "{}",
        outcome.failure()
    );
    other.check_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_cancelled_while_it_exports_has_stopped_when_it_says_so() {
    let bench = Bench::new().await;
    let context =
        Context::busybox("RUN --network=none dd if=/dev/urandom of=/big bs=1M count=128\n");
    // Nothing listens there, and nothing has to: the push is not reached.
    let build = bench.submit("tag=127.0.0.1:1/big", context).await;
    let exporting =
        |event: &Event| matches!(event, Event::Step { name, .. } if name.contains("exporting"));
    bench.events(&build.id, None, exporting).await;
    let blobs = bench.path().join("builder/blobs");
    let begun = async {
        while !names(&blobs).iter().any(|name| name.ends_with(".part")) {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), begun).await;
    assert!(waited.is_ok(), "{:?}", names(&blobs));
    assert_eq!(bench.cancel(&build.id).await.state, BuildState::Cancelled);
    bench.check_nothing_left().await;
}

use std::process::Command;

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use oci::Digest;
use tower::ServiceExt;

use super::*;

async fn open(directory: &Path) -> Registry {
    let mut config = RegistryConfig::new(directory);
    config.admin_password = Some("secret".to_owned());
    Registry::open(config).await.unwrap()
}

/// Sends one request as admin; status and body.
async fn send(registry: &Registry, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let request = ::http::Request::builder()
        .method(method)
        .uri(path)
        .header(
            "authorization",
            format!("Basic {}", STANDARD.encode("admin:secret")),
        )
        .header("content-length", body.len())
        .body(Body::from(body.to_vec()))
        .unwrap();
    let response = registry.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    (status, body.to_vec())
}

async fn push(registry: &Registry, repo: &str, blob: &[u8]) -> String {
    let digest = Digest::sha256(blob);
    let path = format!("/v2/{repo}/blobs/uploads/?digest={digest}");
    assert_eq!(send(registry, "POST", &path, blob).await.0, 201);
    format!("/v2/{repo}/blobs/{digest}")
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}

fn noise(seed: u8) -> Vec<u8> {
    (0..200_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed)
        .collect()
}

/// The database of an earlier moment beside the objects of a later one is what a
/// loss of power leaves when commits were not synced: acknowledged blobs are
/// found by their seals, also those of upload sessions that the database still has.
#[tokio::test]
async fn acknowledged_blobs_survive_a_loss_of_power() {
    let directory = tempfile::tempdir().unwrap();
    let (live, after) = (
        directory.path().join("live"),
        directory.path().join("after"),
    );
    let registry = open(&live).await;
    let early = push(&registry, "a", &noise(1)).await;
    // A session that is finished only after the database's last sync.
    let uploads = "/v2/a/blobs/uploads/";
    let id = usecase::start(
        &registry.service,
        Repository::parse("a").unwrap(),
        "admin".to_owned(),
        oci::Algorithm::Sha256,
    )
    .await
    .unwrap();
    assert_eq!(
        send(&registry, "PATCH", &format!("{uploads}{id}"), &noise(2))
            .await
            .0,
        202
    );
    let unfinished = usecase::start(
        &registry.service,
        Repository::parse("a").unwrap(),
        "admin".to_owned(),
        oci::Algorithm::Sha256,
    )
    .await
    .unwrap();
    assert_eq!(
        send(
            &registry,
            "PATCH",
            &format!("{uploads}{unfinished}"),
            &noise(3)
        )
        .await
        .0,
        202
    );
    std::fs::create_dir(&after).unwrap();
    for file in ["registry.db", "registry.db-wal"] {
        copy(&live.join(file), &after.join(file));
    }
    let finished = Digest::sha256(&noise(2));
    let path = format!("{uploads}{id}?digest={finished}");
    assert_eq!(send(&registry, "PUT", &path, b"").await.0, 201);
    let late = push(&registry, "b/c", &noise(4)).await;
    copy(&live.join("keys"), &after.join("keys"));
    copy(&live.join("blobs"), &after.join("blobs"));
    // A sealed object whose bytes did not keep is not believed.
    let torn = push(&registry, "e", &noise(5)).await;
    let db = Database::open(&DatabaseUrl::Sqlite(after.join("registry.db")))
        .await
        .unwrap();
    db.system_begin_run("another boot".to_owned())
        .await
        .unwrap();
    db.close().await;
    registry.shutdown().await;

    let registry = open(&after).await;
    let finished = format!("/v2/a/blobs/{finished}");
    for (path, bytes) in [(&early, 1), (&finished, 2), (&late, 4)] {
        assert_eq!(
            send(&registry, "GET", path, b"").await,
            (200, noise(bytes)),
            "{path}"
        );
    }
    assert_eq!(send(&registry, "GET", &torn, b"").await.0, 404);
    let status = |id| format!("{uploads}{id}");
    assert_eq!(
        send(&registry, "GET", &status(id), b"").await.0,
        404,
        "the session has ended"
    );
    assert_eq!(
        send(&registry, "GET", &status(unfinished), b"").await.0,
        204
    );
    registry.shutdown().await;
    // An orderly stop needs no search, whatever boot follows.
    let db = Database::open(&DatabaseUrl::Sqlite(after.join("registry.db")))
        .await
        .unwrap();
    assert!(!db.system_power_was_lost("a third boot").await.unwrap());
    db.close().await;
}

/// A seal counts only while the bytes are what it says.
#[tokio::test]
async fn torn_objects_are_not_adopted() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path()).await;
    let store = Arc::clone(&registry.service.store);
    let record = |digest: Digest| {
        serde_json::json!({ "repo": "a", "digest": digest, "size_bytes": 1 }).to_string()
    };
    for (bytes, record, expected) in [
        (&b"x"[..], record(Digest::sha256(b"x")), 1),
        (b"y", record(Digest::sha256(b"z")), 0),
        (b"xx", record(Digest::sha256(b"x")), 0),
        (b"", record(Digest::sha256(b"x")), 0),
        (b"x", "not a record".to_owned(), 0),
    ] {
        let (lease, mut writer) = store.create().unwrap();
        writer
            .write(&[bytes::Bytes::copy_from_slice(bytes)])
            .unwrap();
        assert!(
            writer.seal(record.as_bytes()).unwrap(),
            "the test needs user attributes"
        );
        let adopted = usecase::adopt(&registry.service).await.unwrap();
        assert_eq!(adopted, expected, "{record} on {bytes:?}");
        store.remove(lease.key()).unwrap();
    }
    registry.shutdown().await;
}

//! A disk that is full, and what crashes leave behind.

use std::{path::Path, process::Command};

use oci::Digest;

use crate::harness::{Server, noise, objects, send};

/// A small file system of its own, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(megabytes: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "none"])
            .arg(directory.path()));
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.0.path()));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_half_there() {
    let disk = SmallDisk::mount(16);
    let directory = tempfile::tempdir_in(disk.0.path()).unwrap();
    let server = Server::start_in(directory).await;
    let kept = noise(1, 1_000_000);
    let kept_digest = server.push_blob("a", &kept).await;
    let large = noise(2, 24 << 20);
    let digest = Digest::sha256(&large);
    for way in ["put", "patch", "post"] {
        let uploads = format!("/v2/a/blobs/uploads/?digest={digest}");
        let request = match way {
            "post" => server.admin("POST", &uploads),
            way => {
                let location = server.start_upload("a").await;
                let method = if way == "put" { "PUT" } else { "PATCH" };
                server.admin(method, &format!("{location}?digest={digest}"))
            }
        };
        // The connection may close under the body, which we still send.
        if let Ok(answer) = request.body(large.clone()).send().await {
            assert_eq!(answer.status(), 507, "{way}");
            let text = answer.text().await.unwrap();
            assert!(
                text.contains("disk is full") && text.contains("free some"),
                "{text}"
            );
        }
        server
            .get(&format!("/v2/a/blobs/{digest}"))
            .await
            .expect(404);
        assert_eq!(
            objects(&server.blobs()).len(),
            1,
            "{way}: the space is given back"
        );
    }
    let path = format!("/v2/a/blobs/{kept_digest}");
    assert_eq!(server.get(&path).await.expect(200).body, kept);
    // What fits is taken again.
    server.push_image("a", "v1", &noise(3, 200_000)).await;
    server.stop().await;
}

#[tokio::test]
async fn orphans_go_and_nothing_else_does() {
    let server = Server::start().await;
    let blob = noise(1, 100_000);
    let digest = server.push_blob("a", &blob).await;
    let upload = server.start_upload("a").await;
    send(server.admin("PATCH", &upload).body(noise(2, 100_000)))
        .await
        .expect(202);
    let directory = server.blobs().join("00");
    let orphan = directory.join("00".repeat(16));
    let foreign = directory.join("README");
    for file in [&orphan, &foreign] {
        std::fs::write(file, b"left by a crash").unwrap();
    }
    let server = Server::start_in(server.stop().await).await;
    gone(&orphan).await;
    assert!(foreign.exists(), "what is no object is not touched");
    assert_eq!(
        server
            .get(&format!("/v2/a/blobs/{digest}"))
            .await
            .expect(200)
            .body,
        blob
    );
    let status = send(server.admin("GET", &upload)).await.expect(204);
    assert_eq!(status.header("range"), "0-99999");
}

async fn gone(file: &Path) {
    tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while file.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the sweeper removes the orphan");
}

#[tokio::test]
async fn a_second_backend_is_not_pretended() {
    for url in ["postgres://db/carrack", "postgresql://db/carrack"] {
        assert!(registry::DatabaseUrl::parse(url).is_err());
    }
    assert!(registry::Storage::parse("s3://bucket").is_err());
}

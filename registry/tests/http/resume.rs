//! Uploads that go on: after a broken connection, after a restart, beside each other.

use std::io::{Read, Write};

use oci::Digest;

use crate::harness::{PASSWORD, Server, basic, noise, objects, send};

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let server = Server::start().await;
    let bytes = noise(1, 1_500_000);
    let digest = Digest::sha256(&bytes);
    let location = server.start_upload("a").await;
    send(
        server
            .admin("PATCH", &location)
            .body(bytes[..700_001].to_vec()),
    )
    .await
    .expect(202);
    let server = Server::start_in(server.stop().await).await;
    let status = send(server.admin("GET", &location)).await.expect(204);
    assert_eq!(status.header("range"), "0-700000");
    let rest = server
        .admin("PATCH", &location)
        .header("content-range", "700001-1499999");
    send(rest.body(bytes[700_001..].to_vec())).await.expect(202);
    send(server.admin("PUT", &format!("{location}?digest={digest}")))
        .await
        .expect(201);
    let server = Server::start_in(server.stop().await).await;
    assert_eq!(
        server
            .get(&format!("/v2/a/blobs/{digest}"))
            .await
            .expect(200)
            .body,
        bytes
    );
}

/// Bytes past the recorded offset were never acknowledged.
#[tokio::test]
async fn unrecorded_bytes_are_cut_off() {
    let server = Server::start().await;
    let bytes = noise(2, 300_000);
    let digest = Digest::sha256(&bytes);
    let location = server.start_upload("a").await;
    send(
        server
            .admin("PATCH", &location)
            .body(bytes[..100_000].to_vec()),
    )
    .await
    .expect(202);
    let file = objects(&server.blobs()).remove(0);
    let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(b"what a killed request left").unwrap();
    send(
        server
            .admin("PATCH", &location)
            .body(bytes[100_000..].to_vec()),
    )
    .await
    .expect(202);
    send(server.admin("PUT", &format!("{location}?digest={digest}")))
        .await
        .expect(201);
    assert_eq!(
        server
            .get(&format!("/v2/a/blobs/{digest}"))
            .await
            .expect(200)
            .body,
        bytes
    );
}

#[tokio::test]
async fn an_upload_whose_bytes_are_gone_starts_again() {
    let server = Server::start().await;
    let location = server.start_upload("a").await;
    send(server.admin("PATCH", &location).body(noise(3, 100_000)))
        .await
        .expect(202);
    std::fs::remove_file(objects(&server.blobs()).remove(0)).unwrap();
    let answer = send(server.admin("PATCH", &location).body("x"))
        .await
        .expect(404);
    assert_eq!(answer.code(), "BLOB_UPLOAD_UNKNOWN");
    send(server.admin("GET", &location)).await.expect(404);
}

/// A client that vanishes in the middle leaves what arrived, and the rest can follow.
#[tokio::test]
async fn a_broken_connection_keeps_what_arrived() {
    let server = Server::start().await;
    let bytes = noise(4, 500_000);
    let digest = Digest::sha256(&bytes);
    let location = server.start_upload("a").await;
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-length: 500000\r\n\r\n",
        basic("admin", PASSWORD)
    );
    let address = server.address;
    let sent = bytes[..400_000].to_vec();
    tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
    })
    .await
    .unwrap();
    // The request may still be ending: it holds the session until it is recorded.
    let offset = loop {
        let status = send(server.admin("GET", &location)).await.expect(204);
        match status.header("range") {
            "0-0" => tokio::task::yield_now().await,
            range => break range.trim_start_matches("0-").parse::<usize>().unwrap() + 1,
        }
    };
    assert_eq!(offset, 400_000);
    let rest = server.admin("PUT", &format!("{location}?digest={digest}"));
    send(rest.body(bytes[offset..].to_vec())).await.expect(201);
    assert_eq!(
        server
            .get(&format!("/v2/a/blobs/{digest}"))
            .await
            .expect(200)
            .body,
        bytes
    );
}

#[tokio::test]
async fn two_requests_do_not_write_to_one_upload() {
    let server = Server::start().await;
    let location = server.start_upload("a").await;
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let body = futures_util::stream::once(async {
        drop(receiver.await);
        Ok::<_, std::io::Error>(noise(5, 10))
    });
    let first = server
        .admin("PATCH", &location)
        .body(reqwest::Body::wrap_stream(body));
    let first = tokio::spawn(send(first));
    while !server.registry.metrics().contains("uploads_running 1") {
        tokio::task::yield_now().await;
    }
    for method in ["PATCH", "PUT", "DELETE"] {
        let path = format!("{location}?digest={}", Digest::sha256(b""));
        let answer = send(server.admin(method, &path)).await.expect(409);
        assert_eq!(answer.code(), "BLOB_UPLOAD_INVALID");
    }
    sender.send(()).unwrap();
    first.await.unwrap().expect(202);
    send(server.admin("DELETE", &location)).await.expect(204);
}

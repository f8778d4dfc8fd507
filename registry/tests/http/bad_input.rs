//! Malformed requests: a typed error that says what to do, and nothing written.

use oci::{Digest, MediaType};
use serde_json::{Value, json};

use crate::harness::{Server, image_manifest, noise, objects, send};

const CONFIG: &[u8] = b"{}";

async fn server() -> Server {
    let server = Server::start().await;
    server.push_blob("a", CONFIG).await;
    server.push_blob("a", b"layer").await;
    server
}

fn good() -> Value {
    serde_json::from_slice(&image_manifest(CONFIG, &[b"layer"])).unwrap()
}

#[tokio::test]
async fn malformed_manifests() {
    let server = server().await;
    let check = async |media_type: &str, bytes: Vec<u8>, status: u16, code: &str| {
        let request = server
            .admin("PUT", "/v2/a/manifests/bad")
            .header("content-type", media_type)
            .body(bytes.clone());
        let answer = send(request).await;
        let shown: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (status, code.to_owned()),
            "{shown}"
        );
    };
    let oci = MediaType::OCI_MANIFEST;
    let changed = |path: &str, value: Value| {
        let mut manifest = good();
        *manifest.pointer_mut(path).unwrap() = value;
        manifest.to_string().into_bytes()
    };
    let with = |name: &str, value: Value| {
        let mut manifest = good();
        manifest[name] = value;
        manifest.to_string().into_bytes()
    };
    let upper = Digest::sha256(CONFIG)
        .to_string()
        .to_uppercase()
        .replace("SHA", "sha");
    let mut deep = b"{\"schemaVersion\":2,\"annotations\":".to_vec();
    deep.extend(b"[".repeat(100_000));
    for bytes in [
        b"".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"\xff\xfe".to_vec(),
        deep,
        changed("/schemaVersion", json!(1)),
        changed("/schemaVersion", json!("2")),
        changed("/mediaType", json!(MediaType::OCI_INDEX)),
        changed("/config/digest", json!("sha256:abc")),
        changed("/config/digest", json!(upper)),
        changed(
            "/config/digest",
            json!("md5:d41d8cd98f00b204e9800998ecf8427e"),
        ),
        changed("/config/digest", json!("../../../etc/passwd")),
        changed("/config/size", json!(-1)),
        changed("/config/size", json!("2")),
        changed("/layers", json!("none")),
        with("manifests", json!([])),
        with("subject", json!({ "digest": "x" })),
    ] {
        check(oci, bytes, 400, "MANIFEST_INVALID").await;
    }
    // D4: the same bytes must not be readable as something else.
    let bytes = good().to_string().into_bytes();
    check(MediaType::OCI_INDEX, bytes.clone(), 400, "MANIFEST_INVALID").await;
    check(
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        b"{\"schemaVersion\":1}".to_vec(),
        400,
        "MANIFEST_INVALID",
    )
    .await;
    check("text/plain", bytes, 400, "MANIFEST_INVALID").await;
    check(
        oci,
        image_manifest(CONFIG, &[b"absent"]),
        404,
        "MANIFEST_BLOB_UNKNOWN",
    )
    .await;
    // H1
    check(oci, vec![b' '; 4 * 1024 * 1024 + 1], 413, "SIZE_INVALID").await;
    assert_eq!(
        server.get("/v2/a/tags/list").await.json()["tags"],
        json!([])
    );

    let large = with(
        "annotations",
        json!({ "x": "y".repeat(4 * 1024 * 1024 - 2000) }),
    );
    server.put_manifest("a", "large", &large).await.expect(201);
    let by_digest = Digest::sha256(b"other").to_string();
    let answer = server
        .put_manifest("a", &by_digest, &large)
        .await
        .expect(400);
    assert_eq!(answer.code(), "DIGEST_INVALID");
}

/// A body without a length is cut off while it streams.
#[tokio::test]
async fn endless_manifests_are_cut_off() {
    let server = server().await;
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 65536]));
    let request = server
        .admin("PUT", "/v2/a/manifests/bad")
        .header("content-type", MediaType::OCI_MANIFEST)
        .body(reqwest::Body::wrap_stream(endless));
    // The server answers and closes while we still send, so the answer may be lost.
    if let Ok(answer) = request.send().await {
        assert_eq!(answer.status(), 413);
    }
    server.get("/v2/a/manifests/bad").await.expect(404);
}

/// H2: an index of indexes with 2^20 paths is a matter of milliseconds.
#[tokio::test]
async fn nested_indexes_are_not_walked() {
    let server = server().await;
    let mut child = good().to_string().into_bytes();
    server.put_manifest("a", "leaf", &child).await.expect(201);
    let mut child_type = MediaType::OCI_MANIFEST;
    for level in 0..20 {
        let entry = json!({ "mediaType": child_type, "digest": Digest::sha256(&child), "size": child.len() });
        let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [entry, entry], "annotations": { "level": level.to_string() } });
        child = index.to_string().into_bytes();
        child_type = MediaType::OCI_INDEX;
        let request = server
            .admin("PUT", "/v2/a/manifests/top")
            .header("content-type", child_type);
        send(request.body(child.clone())).await.expect(201);
    }
    assert_eq!(
        server.get("/v2/a/manifests/top").await.expect(200).body,
        child
    );
    let digest = Digest::sha256(&child);
    send(server.admin("DELETE", &format!("/v2/a/manifests/{digest}")))
        .await
        .expect(202);
}

#[tokio::test]
async fn malformed_uploads() {
    let server = server().await;
    let check = async |method: &str, path: &str, body: &[u8], status: u16, code: &str| {
        let answer = send(server.admin(method, path).body(body.to_vec())).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (status, code.to_owned()),
            "{method} {path}"
        );
    };
    let post = "/v2/a/blobs/uploads/";
    check(
        "POST",
        &format!("{post}?mount=sha256:abc"),
        b"",
        400,
        "DIGEST_INVALID",
    )
    .await;
    check(
        "POST",
        &format!("{post}?digest=sha512:abc"),
        b"x",
        400,
        "DIGEST_INVALID",
    )
    .await;
    check(
        "POST",
        &format!("{post}?digest-algorithm=md5"),
        b"",
        400,
        "DIGEST_INVALID",
    )
    .await;
    let wrong = Digest::sha256(b"other");
    for body in [b"small".to_vec(), noise(1, 100_000)] {
        check(
            "POST",
            &format!("{post}?digest={wrong}"),
            &body,
            400,
            "DIGEST_INVALID",
        )
        .await;
        let location = server.start_upload("a").await;
        check("PUT", &location, &body, 400, "DIGEST_INVALID").await;
        check(
            "PUT",
            &format!("{location}?digest={wrong}"),
            &body,
            400,
            "DIGEST_INVALID",
        )
        .await;
        // The session is over: its bytes were not what was announced.
        check(
            "PUT",
            &format!("{location}?digest={wrong}"),
            &body,
            404,
            "BLOB_UPLOAD_UNKNOWN",
        )
        .await;
        let location = server.start_upload("a").await;
        send(server.admin("PATCH", &location).body(body.clone()))
            .await
            .expect(202);
        check(
            "PUT",
            &format!("{location}?digest={wrong}"),
            b"",
            400,
            "DIGEST_INVALID",
        )
        .await;
    }
    assert!(
        objects(&server.blobs()).is_empty(),
        "refused bytes are removed"
    );
    check(
        "PATCH",
        &format!("{post}7"),
        b"",
        404,
        "BLOB_UPLOAD_UNKNOWN",
    )
    .await;
    check("PATCH", &format!("{post}../../x"), b"", 404, "UNSUPPORTED").await;
}

#[tokio::test]
async fn chunks_out_of_order() {
    let server = server().await;
    let location = server.start_upload("a").await;
    let send_chunk = async |method: &str, range: &str, body: &str| {
        let path = format!("{location}?digest={}", Digest::sha256(b"01234567"));
        let request = server.admin(method, &path).header("content-range", range);
        send(request.body(body.to_owned())).await
    };
    send_chunk("PATCH", "0-3", "0123").await.expect(202);
    for (method, range) in [
        ("PATCH", "5-8"),
        ("PATCH", "0-3"),
        ("PUT", "5-8"),
        ("PATCH", "x"),
        ("PATCH", "8-5"),
    ] {
        let answer = send_chunk(method, range, "4567").await.expect(416);
        assert_eq!(answer.code(), "RANGE_INVALID");
    }
    let answer = send_chunk("PATCH", "4-9", "4567").await.expect(400);
    assert_eq!(answer.code(), "SIZE_INVALID");
    assert_eq!(
        send_chunk("PATCH", "5-8", "4567").await.header("range"),
        "0-3"
    );
    send_chunk("PUT", "4-7", "4567").await.expect(201);
    assert_eq!(
        server
            .get(&format!("/v2/a/blobs/{}", Digest::sha256(b"01234567")))
            .await
            .body,
        "01234567"
    );
}

#[tokio::test]
async fn malformed_names_and_queries() {
    let server = server().await;
    for (path, status, code) in [
        ("/v2/A/tags/list", 400, "NAME_INVALID"),
        ("/v2/a%2fb/tags/list", 400, "NAME_INVALID"),
        ("/v2//a/tags/list", 400, "NAME_INVALID"),
        ("/v2/a%00/tags/list", 400, "NAME_INVALID"),
        ("/v2/_uploads/tags/list", 400, "NAME_INVALID"),
        ("/v2/a/manifests/-x", 400, "TAG_INVALID"),
        ("/v2/a/blobs/sha256:00", 400, "DIGEST_INVALID"),
        ("/v2/a/referrers/latest", 400, "DIGEST_INVALID"),
        ("/v2/a/tags/list?n=x", 400, "PAGINATION_NUMBER_INVALID"),
        ("/v2/a/tags/list?n=-1", 400, "PAGINATION_NUMBER_INVALID"),
        ("/v2/absent/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/a/manifests/absent", 404, "MANIFEST_UNKNOWN"),
        ("/v2/a/nothing", 404, "UNSUPPORTED"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (status, code.to_owned()),
            "{path}"
        );
    }
    server
        .get(&format!("/v2/{}/tags/list", "a/".repeat(5000)))
        .await
        .expect(400);
    // H1: a page number that no page has is cut, not obeyed.
    server.get("/v2/a/tags/list?n=2147483648").await.expect(200);
    server
        .get("/v2/a/tags/list?n=18446744073709551615")
        .await
        .expect(200);
    let wrong = send(server.admin("POST", "/v2/a/manifests/x"))
        .await
        .expect(405);
    assert_eq!(wrong.header("allow"), "GET, HEAD, PUT, DELETE");
}

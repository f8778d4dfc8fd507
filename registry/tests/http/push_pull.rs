//! What goes in comes out, by every way in.

use oci::{Digest, MediaType};
use serde_json::json;

use crate::harness::{Server, image_manifest, noise, objects, send};

#[tokio::test]
async fn blobs_of_every_size_come_back() {
    let server = Server::start().await;
    for size in [0, 1, 65_536, 65_537, 300_000, 3_000_000] {
        let bytes = noise(size as u32, size);
        let digest = server.push_blob("a/b", &bytes).await;
        let path = format!("/v2/a/b/blobs/{digest}");
        let answer = server.get(&path).await.expect(200);
        assert_eq!(answer.body, bytes);
        assert_eq!(answer.header("docker-content-digest"), digest.to_string());
        assert_eq!(answer.header("etag"), format!("\"{digest}\""));
        let head = send(server.admin("HEAD", &path)).await.expect(200);
        assert_eq!(head.header("content-length"), size.to_string());
        assert_eq!(head.header("docker-content-digest"), digest.to_string());
    }
    // Small blobs live in rows: only those above 64 KiB are files.
    assert_eq!(objects(&server.blobs()).len(), 3);
}

#[tokio::test]
async fn every_way_to_upload() {
    let server = Server::start().await;
    let bytes = noise(1, 200_000);
    let digest = Digest::sha256(&bytes);
    let uploads = "/v2/up/blobs/uploads/";
    let check = async |repo: &str| {
        let path = format!("/v2/{repo}/blobs/{digest}");
        assert_eq!(server.get(&path).await.expect(200).body, bytes);
        send(server.admin("DELETE", &path)).await.expect(202);
        server.get(&path).await.expect(404);
    };
    // One POST.
    let post = server.admin("POST", &format!("{uploads}?digest={digest}"));
    send(post.body(bytes.clone())).await.expect(201);
    check("up").await;
    // POST, chunks with ranges, an empty PUT.
    let mut location = server.start_upload("up").await;
    for (first, chunk) in [(0, &bytes[..70_000]), (70_000, &bytes[70_000..])] {
        let range = format!("{first}-{}", first + chunk.len() - 1);
        let patch = server
            .admin("PATCH", &location)
            .header("content-range", range);
        let answer = send(patch.body(chunk.to_vec())).await.expect(202);
        assert_eq!(
            answer.header("range"),
            format!("0-{}", first + chunk.len() - 1)
        );
        location = answer.header("location").to_owned();
    }
    let status = send(server.admin("GET", &location)).await.expect(204);
    assert_eq!(status.header("range"), "0-199999");
    send(server.admin("PUT", &format!("{location}?digest={digest}")))
        .await
        .expect(201);
    send(server.admin("GET", &location)).await.expect(404);
    check("up").await;
    // POST, one streamed PATCH without length, the last chunk on the PUT.
    let location = server.start_upload("up").await;
    let chunks: Vec<_> = bytes[..150_000]
        .chunks(999)
        .map(|c| Ok::<_, String>(c.to_vec()))
        .collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    send(server.admin("PATCH", &location).body(body))
        .await
        .expect(202);
    let put = server.admin("PUT", &format!("{location}?digest={digest}"));
    let put = put.header("content-range", "150000-199999");
    send(put.body(bytes[150_000..].to_vec())).await.expect(201);
    check("up").await;
    // Hashed as sha256 so far, committed by sha512.
    let location = server.start_upload("up").await;
    send(server.admin("PATCH", &location).body(bytes.clone()))
        .await
        .expect(202);
    let mut hasher = oci::Hasher::new(oci::Algorithm::Sha512);
    hasher.update(&bytes);
    let long = hasher.finish();
    send(server.admin("PUT", &format!("{location}?digest={long}")))
        .await
        .expect(201);
    assert_eq!(
        server
            .get(&format!("/v2/up/blobs/{long}"))
            .await
            .expect(200)
            .body,
        bytes
    );
    // Cancelled.
    let location = server.start_upload("up").await;
    send(server.admin("PATCH", &location).body(bytes.clone()))
        .await
        .expect(202);
    send(server.admin("DELETE", &location)).await.expect(204);
    send(server.admin("PUT", &format!("{location}?digest={digest}")))
        .await
        .expect(404);
}

#[tokio::test]
async fn parts_of_blobs() {
    let server = Server::start().await;
    for size in [1000, 400_000] {
        let bytes = noise(2, size);
        let digest = server.push_blob("a", &bytes).await;
        let path = format!("/v2/a/blobs/{digest}");
        let part =
            async |range: &str| send(server.admin("GET", &path).header("range", range)).await;
        let answer = part("bytes=10-19").await.expect(206);
        assert_eq!(answer.body, bytes[10..20]);
        assert_eq!(
            answer.header("content-range"),
            format!("bytes 10-19/{size}")
        );
        assert_eq!(part("bytes=-5").await.expect(206).body, bytes[size - 5..]);
        assert_eq!(part("bytes=900-").await.expect(206).body, bytes[900..]);
        assert_eq!(part("bytes=0-1,5-6").await.expect(200).body, bytes);
        let outside = part(&format!("bytes={size}-")).await.expect(416);
        assert_eq!(outside.header("content-range"), format!("bytes */{size}"));
        let tag = format!("\"{digest}\"");
        let unchanged = server.admin("GET", &path).header("if-none-match", &tag);
        assert!(send(unchanged).await.expect(304).body.is_empty());
        let stale = server.admin("GET", &path).header("range", "bytes=0-1");
        assert_eq!(
            send(stale.header("if-range", "\"other\""))
                .await
                .expect(200)
                .body,
            bytes
        );
    }
}

#[tokio::test]
async fn manifests_are_kept_byte_for_byte() {
    let server = Server::start().await;
    let manifest = server.push_image("team/app", "v1", b"layer").await;
    let digest = Digest::sha256(&manifest);
    for key in ["v1", &digest.to_string()] {
        let path = format!("/v2/team/app/manifests/{key}");
        let answer = server.get(&path).await.expect(200);
        assert_eq!(answer.body, manifest);
        assert_eq!(answer.header("content-type"), MediaType::OCI_MANIFEST);
        assert_eq!(answer.header("docker-content-digest"), digest.to_string());
        let head = send(server.admin("HEAD", &path)).await.expect(200);
        assert_eq!(head.header("content-length"), manifest.len().to_string());
        let tag = format!("\"{digest}\"");
        send(server.admin("GET", &path).header("if-none-match", tag))
            .await
            .expect(304);
    }
    // Odd spacing is part of the bytes.
    let spaced = [&manifest[..manifest.len() - 1], b"  }\n"].concat();
    server
        .put_manifest("team/app", "v2", &spaced)
        .await
        .expect(201);
    assert_eq!(server.get("/v2/team/app/manifests/v2").await.body, spaced);
    // Moving a tag, deleting a tag, deleting a manifest.
    server
        .put_manifest("team/app", "v2", &manifest)
        .await
        .expect(201);
    assert_eq!(server.get("/v2/team/app/manifests/v2").await.body, manifest);
    send(server.admin("DELETE", "/v2/team/app/manifests/v2"))
        .await
        .expect(202);
    server.get("/v2/team/app/manifests/v2").await.expect(404);
    server.get("/v2/team/app/manifests/v1").await.expect(200);
    send(server.admin("DELETE", &format!("/v2/team/app/manifests/{digest}")))
        .await
        .expect(202);
    server.get("/v2/team/app/manifests/v1").await.expect(404);
    assert_eq!(
        server.get("/v2/team/app/tags/list").await.json()["tags"],
        json!([])
    );
}

#[tokio::test]
async fn one_push_sets_many_tags() {
    let server = Server::start().await;
    let manifest = server.push_image("a", "x", b"layer").await;
    let digest = Digest::sha256(&manifest);
    let key = format!("{digest}?tag=b&tag=a&tag=c");
    let answer = server.put_manifest("a", &key, &manifest).await.expect(201);
    let tags: Vec<_> = answer.headers.get_all("oci-tag").iter().collect();
    assert_eq!(tags, ["b", "a", "c"]);
    let listed = server.get("/v2/a/tags/list?n=2").await.expect(200);
    assert_eq!(listed.json(), json!({ "name": "a", "tags": ["a", "b"] }));
    assert_eq!(
        listed.header("link"),
        "</v2/a/tags/list?last=b&n=2>; rel=\"next\""
    );
    let rest = server.get("/v2/a/tags/list?last=b&n=2").await.expect(200);
    assert_eq!(rest.json()["tags"], json!(["c", "x"]));
    assert_eq!(rest.header("link"), "");
    let none = server.get("/v2/a/tags/list?n=0").await.expect(200);
    assert_eq!(
        (none.json()["tags"].clone(), none.header("link")),
        (json!([]), "")
    );
    let catalog = server.get("/v2/_catalog").await.expect(200);
    assert_eq!(catalog.json()["repositories"], json!(["a"]));
}

#[tokio::test]
async fn referrers_are_found_before_and_after_their_subject() {
    let server = Server::start().await;
    server.push_blob("a", b"{}").await;
    server.push_blob("a", b"layer").await;
    let subject = image_manifest(b"{}", &[b"layer"]);
    let digest = Digest::sha256(&subject);
    let path = format!("/v2/a/referrers/{digest}");
    let empty = server.get(&path).await.expect(200);
    assert_eq!(empty.header("content-type"), MediaType::OCI_INDEX);
    assert_eq!(empty.json()["manifests"], json!([]));
    for kind in ["sig", "sbom"] {
        let mut referrer: serde_json::Value = serde_json::from_slice(&subject).unwrap();
        referrer["artifactType"] = format!("application/{kind}").into();
        referrer["annotations"] = json!({ "kind": kind });
        referrer["subject"] = json!({ "mediaType": MediaType::OCI_MANIFEST, "digest": digest, "size": subject.len() });
        let bytes = referrer.to_string().into_bytes();
        let answer = server
            .put_manifest("a", &Digest::sha256(&bytes).to_string(), &bytes)
            .await;
        assert_eq!(answer.expect(201).header("oci-subject"), digest.to_string());
    }
    server
        .put_manifest("a", "subject", &subject)
        .await
        .expect(201);
    let all = server.get(&path).await.expect(200).json();
    assert_eq!(all["manifests"].as_array().unwrap().len(), 2);
    let signed = server
        .get(&format!("{path}?artifactType=application/sig"))
        .await
        .expect(200);
    assert_eq!(signed.header("oci-filters-applied"), "artifactType");
    let found = &signed.json()["manifests"];
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["artifactType"], "application/sig");
    assert_eq!(found[0]["annotations"], json!({ "kind": "sig" }));
}

#[tokio::test]
async fn equal_blobs_are_stored_once() {
    let server = Server::start().await;
    let bytes = noise(3, 100_000);
    for repo in ["a", "b", "a"] {
        server.push_blob(repo, &bytes).await;
    }
    assert_eq!(objects(&server.blobs()).len(), 1);
    let digest = Digest::sha256(&bytes);
    let mount = server.admin(
        "POST",
        &format!("/v2/c/blobs/uploads/?mount={digest}&from=a"),
    );
    send(mount).await.expect(201);
    assert_eq!(
        server
            .get(&format!("/v2/c/blobs/{digest}"))
            .await
            .expect(200)
            .body,
        bytes
    );
    let anonymous = server.admin("POST", &format!("/v2/d/blobs/uploads/?mount={digest}"));
    send(anonymous).await.expect(201);
    let absent = Digest::sha256(b"never pushed");
    let refused = server.admin(
        "POST",
        &format!("/v2/d/blobs/uploads/?mount={absent}&from=a"),
    );
    send(refused).await.expect(202);
}

#[tokio::test]
async fn a_damaged_blob_is_replaced_by_the_next_push() {
    let server = Server::start().await;
    let bytes = noise(4, 100_000);
    let digest = server.push_blob("a", &bytes).await;
    let path = format!("/v2/a/blobs/{digest}");
    for damage in [0, 50_000] {
        let file = objects(&server.blobs()).remove(0);
        std::fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(damage)
            .unwrap();
        server.push_blob("a", &bytes).await;
        assert_eq!(server.get(&path).await.expect(200).body, bytes);
        assert!(!file.exists());
    }
}

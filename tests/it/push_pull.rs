//! Pushing and pulling with real clients: skopeo, docker, curl.

use std::{fs, process::Command};

use crate::harness::{Carrack, PASSWORD, busybox_layer, output, push_busybox, run};

#[test]
fn skopeo_copies_in_and_out() {
    let server = Carrack::registry();
    let dir = server.site.dir.join("skopeo");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("busybox.tar"), busybox_layer()).unwrap();
    let credentials = format!("admin:{PASSWORD}");
    let remote = format!("docker://{}", server.image("team/busybox:1"));
    run(Command::new("skopeo")
        .args([
            "copy",
            "--dest-tls-verify=false",
            "--dest-creds",
            &credentials,
        ])
        .arg(format!("tarball:{}", dir.join("busybox.tar").display()))
        .arg(&remote));
    run(Command::new("skopeo")
        .args([
            "copy",
            "--src-tls-verify=false",
            "--src-creds",
            &credentials,
        ])
        .arg(&remote)
        .arg(format!("oci:{}:1", dir.join("out").display())));
    let again = format!("docker://{}", server.image("other/copy:2"));
    run(Command::new("skopeo")
        .args([
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--src-creds",
            &credentials,
        ])
        .args(["--dest-creds", &credentials])
        .arg(&remote)
        .arg(&again));
    let digest = |reference: &str| {
        let shown = run(Command::new("skopeo").args([
            "inspect",
            "--tls-verify=false",
            "--creds",
            &credentials,
            reference,
        ]));
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["Digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest(&remote), digest(&again));
    let refused = output(Command::new("skopeo").args([
        "inspect",
        "--tls-verify=false",
        "--no-creds",
        &remote,
    ]));
    assert!(
        !refused.status.success(),
        "an anonymous client reads a private image"
    );
}

#[test]
fn docker_logs_in_pulls_tags_and_pushes() {
    let server = Carrack::start();
    let image = push_busybox(&server, "team/busybox:1");
    fs::remove_dir_all(server.client_config()).unwrap();
    fs::create_dir(server.site.dir.join("client")).unwrap();

    let refused = output(&mut server.docker(&["pull", &image]));
    assert!(!refused.status.success(), "pull without login");
    let wrong =
        output(&mut server.docker(&["login", "-u", "admin", "-p", "wrong", server.address()]));
    assert!(!wrong.status.success(), "login with a wrong password");
    run(&mut server.docker(&["login", "-u", "admin", "-p", PASSWORD, server.address()]));

    let pulled = run(&mut server.docker(&["pull", &image]));
    assert!(
        pulled.contains("Status: Downloaded newer image"),
        "{pulled}"
    );
    let pulled = run(&mut server.docker(&["pull", &image]));
    assert!(pulled.contains("Status: Image is up to date"), "{pulled}");
    let other = server.image("team/copy:2");
    run(&mut server.docker(&["tag", &image, &other]));
    let pushed = run(&mut server.docker(&["push", &other]));
    assert!(pushed.contains("digest: sha256:"), "{pushed}");
    run(&mut server.docker(&["rmi", &other, &image]));
    assert_eq!(run(&mut server.docker(&["images", "-q"])), "");
    assert_eq!(
        run(&mut server.docker(&["run", "--rm", &other, "echo", "back"]))
            .lines()
            .last(),
        Some("back")
    );
}

/// A layer that another program packed cannot be written again from its files.
#[test]
fn images_that_skopeo_packed_are_loaded_pushed_and_pulled_elsewhere() {
    let server = Carrack::start();
    let elsewhere = Carrack::registry();
    run(&mut server.docker(&["login", "-u", "admin", "-p", PASSWORD, elsewhere.address()]));
    let credentials = format!("admin:{PASSWORD}");
    let source = format!("docker://{}", push_busybox(&server, "team/busybox:1"));
    let skopeo = |words: &[&str]| run(Command::new("skopeo").args(words));
    let inspect = |reference: &str| {
        let flags = ["inspect", "--tls-verify=false", "--creds", &credentials];
        let shown = skopeo(&[&flags[..], &[reference]].concat());
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["Digest"].as_str().unwrap().to_owned()
    };
    for kind in ["docker-archive", "oci-archive"] {
        let file = server.site.dir.join(kind);
        let name = format!("{}/team/{kind}:1", elsewhere.address());
        let target = format!("{kind}:{}:{name}", file.display());
        let flags = [
            "copy",
            "--src-tls-verify=false",
            "--src-creds",
            &credentials,
        ];
        skopeo(&[&flags[..], &[&source, &target]].concat());
        let loaded = run(&mut server.docker(&["load", "-i", file.to_str().unwrap()]));
        assert_eq!(loaded, format!("Loaded image: {name}"));
        let images = || run(&mut server.docker(&["images", "-q", "--no-trunc"]));
        let id = images();
        run(&mut server.docker(&["push", &name]));
        let saved = server.site.dir.join("saved");
        run(&mut server.docker(&["save", "-o", saved.to_str().unwrap(), &name]));
        run(&mut server.docker(&["rmi", &name]));
        assert_eq!(images(), "");
        let archives = server.site.data_dir().join("engine/archives");
        assert_eq!(fs::read_dir(&archives).unwrap().count(), 0, "left by rmi");
        // The id is the configuration's digest, and that names every diff_id.
        run(&mut server.docker(&["pull", "-q", &name]));
        assert_eq!(images(), id);
        let said = run(&mut server.docker(&["run", "--rm", &name, "echo", "well"]));
        assert_eq!(said, "well");
        if kind == "oci-archive" {
            // It came with a manifest, which is pushed byte for byte.
            assert_eq!(inspect(&format!("docker://{name}")), inspect(&source));
        }
        run(&mut server.docker(&["rmi", &name]));
        run(&mut server.docker(&["load", "-i", saved.to_str().unwrap()]));
        assert_eq!(images(), id);
        run(&mut server.docker(&["rmi", &name]));
    }
}

#[test]
fn curl_speaks_the_token_protocol() {
    let server = Carrack::registry();
    let anonymous = server.api().anonymous();
    let challenge = anonymous.get("/v2/").unwrap().expect(401);
    let header = challenge.header("www-authenticate").unwrap().to_owned();
    let realm = format!("Bearer realm=\"http://{}/auth/token\"", server.address());
    assert!(header.starts_with(&realm), "{header}");

    // OAuth2 form (POST), as containerd asks first.
    let form = format!(
        "grant_type=password&service=carrack&client_id=test&access_type=offline&username=admin&password={}&scope=repository:team/app:pull,push",
        PASSWORD.replace(' ', "%20")
    );
    let answer = anonymous
        .post(
            "/auth/token",
            "application/x-www-form-urlencoded",
            form.into_bytes(),
        )
        .expect(200)
        .json();
    let token = answer["access_token"].as_str().unwrap().to_owned();
    let refresh = answer["refresh_token"]
        .as_str()
        .expect("a refresh token")
        .to_owned();
    let bearer = format!("Bearer {token}");
    let with_token = |method: &str, path: &str| {
        anonymous
            .send(method, path, &[("authorization", &bearer)], Vec::new())
            .unwrap()
    };
    with_token("GET", "/v2/").expect(200);
    with_token("POST", "/v2/team/app/blobs/uploads/").expect(202);
    // The token is for one repository.
    let other = with_token("POST", "/v2/team/other/blobs/uploads/").expect(401);
    assert!(
        other
            .header("www-authenticate")
            .unwrap()
            .contains("insufficient_scope")
    );

    let form = format!(
        "grant_type=refresh_token&service=carrack&client_id=test&refresh_token={refresh}&scope=repository:team/app:pull"
    );
    let answer = anonymous
        .post(
            "/auth/token",
            "application/x-www-form-urlencoded",
            form.into_bytes(),
        )
        .expect(200)
        .json();
    assert!(answer["access_token"].is_string());
}

#[test]
fn what_was_pushed_survives_a_restart() {
    let mut server = Carrack::start();
    let image = push_busybox(&server, "team/app:1");
    server.kill();
    server.restart();
    assert_eq!(
        run(&mut server.docker(&["run", "--rm", &image, "echo", "alive"]))
            .lines()
            .last(),
        Some("alive")
    );
}

#[test]
fn malformed_requests_get_typed_errors() {
    let server = Carrack::registry();
    let team = server.api().registry("team/app");
    let check = |method: &str, path: &str, body: &[u8], status: u16, code: &str| {
        let headers = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
        let answer = team.send(method, path, &headers, body.to_vec()).unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        let found = answer.json()["errors"][0]["code"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(found, code, "{method} {path}");
        assert!(
            answer.json()["errors"][0]["message"]
                .as_str()
                .is_some_and(|text| text.len() > 8)
        );
    };
    check("PUT", "manifests/latest", b"{", 400, "MANIFEST_INVALID");
    check(
        "PUT",
        "manifests/latest",
        b"{\"schemaVersion\":2,\"layers\":[],\"manifests\":[]}",
        400,
        "MANIFEST_INVALID",
    );
    check("PUT", "manifests/.bad", b"{}", 400, "TAG_INVALID");
    check("GET", "manifests/absent", b"", 404, "MANIFEST_UNKNOWN");
    check("GET", "blobs/sha256:abc", b"", 400, "DIGEST_INVALID");
    check(
        "GET",
        &format!("blobs/{}", oci::Digest::sha256(b"absent")),
        b"",
        404,
        "BLOB_UNKNOWN",
    );
    check(
        "PATCH",
        "blobs/uploads/00000000-0000-4000-8000-000000000000",
        b"x",
        404,
        "BLOB_UPLOAD_UNKNOWN",
    );
    check("GET", "/v2/UPPER/tags/list", b"", 400, "NAME_INVALID");
    let absent = oci::Digest::sha256(b"absent");
    let manifest = serde_json::json!({ "schemaVersion": 2, "layers": [
        { "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": absent, "size": 6 } ] });
    check(
        "PUT",
        "manifests/latest",
        manifest.to_string().as_bytes(),
        404,
        "MANIFEST_BLOB_UNKNOWN",
    );
    team.send(
        "PUT",
        "manifests/latest",
        &[("content-type", "application/vnd.oci.image.manifest.v1+json")],
        vec![b' '; 4 * 1024 * 1024 + 1],
    )
    .unwrap()
    .expect(413);
    for path in [
        "/v2/../etc",
        "/v2/a/%2e%2e/b/tags/list",
        "//v2/",
        "/v2/a//b/tags/list",
        "/v2/a%00/tags/list",
    ] {
        let answer = team.send("GET", path, &[], Vec::new()).unwrap();
        assert!(
            answer.status == 400 || answer.status == 404,
            "{path}: {}",
            answer.status
        );
    }
    server.api().get("/readyz").unwrap().expect(200);
}

/// Faults that a process served without reading from disk (proc_pid_stat(5)).
fn minor_faults(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(7).unwrap().parse().unwrap()
}

/// Memory that a layer went through serves for the next piece of it: given back to
/// the kernel, it is faulted in anew, 9,000 times for these 128 MiB.
#[test]
fn a_large_push_reuses_its_memory() {
    let server = Carrack::registry();
    let registry = server.api().registry("team/large");
    registry.push_blob(&vec![1; 64 << 20]);
    let front = server.child_pid("front");
    let before = minor_faults(front);
    registry.push_blob(&vec![2; 128 << 20]);
    let faults = minor_faults(front) - before;
    assert!(faults < 3000, "{faults} faults");
}

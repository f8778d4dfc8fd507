//! Images made on the spot: busybox from Debian's static binary.

use std::{io::Write, process::Command};

use oci::Digest;
use serde_json::json;

use super::{Api, Carrack, run};

/// Applets that get a link of their own.
const APPLETS: &[&str] = &[
    "[", "awk", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "echo", "env", "expr",
    "false", "find", "grep", "head", "hostname", "id", "ip", "kill", "ln", "ls", "mkdir", "mkfifo",
    "mount", "mv", "nc", "ping", "printf", "ps", "pwd", "readlink", "rm", "sed", "seq", "sh",
    "sleep", "sort", "stat", "stty", "tail", "tar", "test", "touch", "tr", "true", "umount",
    "uname", "wc", "wget", "which", "whoami", "yes",
];

/// A layer tar with busybox, its links, users and the usual directories.
pub fn busybox_layer() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for name in ["bin", "etc", "home", "root", "tmp", "usr", "var"] {
        std::fs::create_dir(root.join(name)).unwrap();
    }
    run(Command::new("chmod").arg("1777").arg(root.join("tmp")));
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
    write(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home:/bin/sh\n",
    );
    write("etc/group", "root:x:0:\nweb:x:1000:\nextra:x:2000:web\n");
    let output = Command::new("tar")
        .args([
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "-cf",
            "-",
            ".",
        ])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

/// A layer of an image.
#[derive(Clone, Debug)]
pub struct Layer {
    diff_id: Digest,
    digest: Digest,
    size_bytes: u64,
    media_type: String,
    /// `None`: the registry has it already.
    blob: Option<Vec<u8>>,
}

impl Layer {
    pub fn gzip(diff_id: Digest, blob: Vec<u8>) -> Self {
        let (digest, size) = (Digest::sha256(&blob), blob.len() as u64);
        Self {
            blob: Some(blob),
            ..Self::pushed(diff_id, digest, size, "+gzip")
        }
    }

    /// One whose blob was pushed to the repository before; `compression` is
    /// the end of its media type.
    pub fn pushed(diff_id: Digest, digest: Digest, size_bytes: u64, compression: &str) -> Self {
        Self {
            diff_id,
            digest,
            size_bytes,
            media_type: format!("application/vnd.oci.image.layer.v1.tar{compression}"),
            blob: None,
        }
    }
}

/// A layer with busybox.
pub fn busybox() -> Layer {
    let layer = busybox_layer();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&layer).unwrap();
    Layer::gzip(Digest::sha256(&layer), encoder.finish().unwrap())
}

/// Pushes busybox under `name` (`repository:tag`) by plain HTTP requests.
pub fn push_busybox(server: &Carrack, name: &str) -> String {
    push_image(server, name, &[busybox()])
}

/// Pushes an image of these layers, the lowest first, under `name`.
pub fn push_image(server: &Carrack, name: &str, layers: &[Layer]) -> String {
    let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
    let config = json!({
        "architecture": oci::Platform::host().architecture,
        "os": "linux",
        "config": { "Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = config.to_string().into_bytes();
    let descriptor = |layer: &Layer| json!({ "mediaType": layer.media_type, "digest": layer.digest, "size": layer.size_bytes });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::sha256(&config), "size": config.len(),
        },
        "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
    });
    let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
    let registry = server.api().registry(repository);
    for blob in layers.iter().filter_map(|layer| layer.blob.as_ref()) {
        registry.push_blob(blob);
    }
    registry.push_blob(&config);
    registry.push_manifest(tag, manifest.to_string().as_bytes());
    server.image(&format!("{repository}:{tag}"))
}

/// The distribution API of one repository, with a token.
#[derive(Debug)]
pub struct RepositoryApi {
    api: Api,
    repository: String,
    token: String,
}

impl Api {
    /// Fetches a token for pulling from and pushing to `repository`.
    pub fn registry(&self, repository: &str) -> RepositoryApi {
        let path =
            format!("/auth/token?service=carrack&scope=repository:{repository}:pull,push,delete");
        let answer = self.get(&path).unwrap().expect(200).json();
        let token = answer["token"].as_str().unwrap().to_owned();
        RepositoryApi {
            api: self.anonymous(),
            repository: repository.to_owned(),
            token,
        }
    }
}

impl RepositoryApi {
    /// Sends a request under `/v2/<repository>`.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> std::io::Result<super::StatusText> {
        let bearer = self.bearer();
        let headers: Vec<_> = headers
            .iter()
            .copied()
            .chain([("authorization", bearer.as_str())])
            .collect();
        let path = match path.starts_with("/v2/") || path.starts_with("/api/") {
            true => path.to_owned(),
            false => format!("/v2/{}/{path}", self.repository),
        };
        self.api.send(method, &path, &headers, body)
    }

    /// The authorization that it sends.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Opens an upload; the path to which the blob is to be PUT.
    pub fn begin_upload(&self, digest: &Digest) -> String {
        let started = self
            .send("POST", "blobs/uploads/", &[], Vec::new())
            .unwrap()
            .expect(202);
        let location = started.header("location").unwrap();
        let path = match location.split_once("/v2/") {
            Some((_, rest)) => format!("/v2/{rest}"),
            None => location.to_owned(),
        };
        let joint = if path.contains('?') { '&' } else { '?' };
        format!("{path}{joint}digest={digest}")
    }

    pub fn push_blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let path = self.begin_upload(&digest);
        let headers = [("content-type", "application/octet-stream")];
        self.send("PUT", &path, &headers, bytes.to_vec())
            .unwrap()
            .expect(201);
        digest
    }

    pub fn push_manifest(&self, tag: &str, bytes: &[u8]) {
        let headers = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
        let path = format!("manifests/{tag}");
        self.send("PUT", &path, &headers, bytes.to_vec())
            .unwrap()
            .expect(201);
    }
}

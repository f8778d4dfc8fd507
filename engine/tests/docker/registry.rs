//! A registry of one image: busybox, made from the host's static one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use oci::Digest;
use oci::layer::{Entry, EntryKind, TarWriter};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Serves until the process ends; the image's name.
pub(crate) fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let image = Arc::new(Image::new());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let image = Arc::clone(&image);
            // A client that leaves early is no failure of the registry.
            std::thread::spawn(move || drop(image.answer(stream)));
        }
    });
    format!("{address}/busybox:1")
}

struct Image {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    /// Of an image with a second layer that never comes.
    endless: [Vec<u8>; 2],
}

/// Digest of the layer that never comes.
fn endless_layer() -> Digest {
    Digest::sha256(b"endless")
}

impl Image {
    fn new() -> Self {
        let layer = layer();
        let config_json = serde_json::json!({
            "architecture": oci::Platform::host().architecture, "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&layer)]},
        });
        let config = serde_json::to_vec(&config_json).unwrap();
        let descriptor = |kind: &str, data: &[u8]| serde_json::json!({"mediaType": kind, "digest": Digest::sha256(data), "size": data.len()});
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        let (mut endless_manifest, mut endless_config) = (manifest.clone(), config_json);
        let diff_ids = [Digest::sha256(&layer), endless_layer()];
        endless_config["rootfs"]["diff_ids"] = serde_json::json!(diff_ids);
        let endless_config = serde_json::to_vec(&endless_config).unwrap();
        let mut layers = manifest["layers"].as_array().unwrap().clone();
        layers.push(layers[0].clone());
        layers[1]["digest"] = serde_json::json!(endless_layer());
        endless_manifest["layers"] = layers.into();
        endless_manifest["config"]["digest"] = serde_json::json!(Digest::sha256(&endless_config));
        endless_manifest["config"]["size"] = endless_config.len().into();
        let endless = [
            serde_json::to_vec(&endless_manifest).unwrap(),
            endless_config,
        ];
        let manifest = serde_json::to_vec(&manifest).unwrap();
        Self {
            layer,
            config,
            manifest,
            endless,
        }
    }

    /// Manifests that contradict themselves or their content.
    fn hostile(&self, tag: &str) -> Vec<u8> {
        let mut manifest: serde_json::Value = serde_json::from_slice(&self.manifest).unwrap();
        let layer = manifest["layers"][0].clone();
        match tag {
            "bad-json" => return b"{\"schemaVersion\": 2, ".to_vec(),
            "bad-null" => manifest["layers"] = serde_json::Value::Null,
            "bad-count" => manifest["layers"] = serde_json::json!([layer, layer]),
            "bad-size" => manifest["layers"][0]["size"] = (-1).into(),
            "bad-short" => manifest["layers"][0]["size"] = 100.into(),
            // The configuration in the layer's place: its diff_id cannot be right.
            "bad-layer" => {
                manifest["layers"][0]["digest"] = manifest["config"]["digest"].clone();
                manifest["layers"][0]["size"] = manifest["config"]["size"].clone();
            }
            "bad-config" => {
                manifest["config"]["digest"] = layer["digest"].clone();
                manifest["config"]["size"] = layer["size"].clone();
            }
            "bad-both" => manifest["manifests"] = serde_json::json!([]),
            _ => {}
        }
        serde_json::to_vec(&manifest).unwrap()
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        while lines
            .next()
            .transpose()?
            .is_some_and(|line| !line.is_empty())
        {}
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let last = path.rsplit('/').next().unwrap_or("");
        let found = [&self.layer, &self.config, &self.manifest, &self.endless[1]]
            .into_iter()
            .find(|data| Digest::sha256(data).to_string() == last);
        if last == endless_layer().to_string() {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                self.layer.len()
            )?;
            // Until the client leaves.
            return stream.read_exact(&mut [0]);
        }
        let hostile = self.hostile(last);
        let (kind, data): (&str, &[u8]) = match found {
            _ if path.contains("/manifests/bad-") => (MANIFEST_TYPE, &hostile),
            _ if path.ends_with("/manifests/endless") => (MANIFEST_TYPE, &self.endless[0]),
            _ if path.contains("/manifests/") => (MANIFEST_TYPE, &self.manifest),
            Some(data) => ("application/octet-stream", data),
            None => ("application/json", b"{}"),
        };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Content-Digest: {}\r\nConnection: close\r\n\r\n",
            data.len(),
            Digest::sha256(data)
        )?;
        if method == "GET" {
            stream.write_all(data)?;
        }
        Ok(())
    }
}

fn layer() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
    let mut entries: Vec<(String, EntryKind, u32, Vec<u8>)> = Vec::new();
    let mut add = |path: &str, kind: EntryKind, mode: u32, data: &[u8]| {
        entries.push((path.to_owned(), kind, mode, data.to_vec()));
    };
    for dir in ["", "bin", "etc", "root", "var", "var/data"] {
        add(dir, EntryKind::Directory, 0o755, b"");
    }
    add("tmp", EntryKind::Directory, 0o1777, b"");
    add("bin/busybox", EntryKind::Regular, 0o755, &busybox);
    for name in String::from_utf8_lossy(&list.stdout).lines() {
        if name != "busybox" {
            let link = EntryKind::Symlink(Path::new("busybox").to_owned());
            add(&format!("bin/{name}"), link, 0o777, b"");
        }
    }
    add(
        "etc/passwd",
        EntryKind::Regular,
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\n",
    );
    add(
        "var/data/seed",
        EntryKind::Regular,
        0o644,
        b"from the image\n",
    );
    // The order in which the layer store writes a layer, so that it can be saved.
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let mut tar = TarWriter::new(Vec::new());
    for (path, kind, mode, data) in entries {
        let entry = Entry {
            size_bytes: data.len() as u64,
            ..Entry::new(path, kind, mode)
        };
        tar.append(&entry, &mut &data[..]).unwrap();
    }
    tar.finish().unwrap()
}

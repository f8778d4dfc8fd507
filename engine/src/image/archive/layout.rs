//! Archives with an OCI image layout (`index.json` and `blobs/`): what skopeo's
//! `oci-archive:` and `podman save --format oci-archive` write. Blocking.
//!
//! Source: the OCI image specification, image-layout.md.

use std::path::{Path, PathBuf};

use oci::{Descriptor, Digest, ImageIndex, Manifest, Platform, Reference};
use runtime::root::Root;

use super::{Failure, JSON_BYTES_MAX, Listed, Original};

const INDEX: &str = "index.json";
/// The name to give to an image, of containerd and of the specification.
const NAMES: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];

/// The images of a layout, those for this machine where there is a choice.
///
/// # Errors
/// When it is none, or a blob is not what its digest says.
pub(super) fn read(root: &Root) -> Result<Vec<Listed>, Failure> {
    let bytes = root.read_regular(Path::new(INDEX), JSON_BYTES_MAX)?;
    let index: ImageIndex = serde_json::from_slice(&bytes)?;
    index
        .manifests
        .iter()
        .map(|named| read_one(root, named))
        .collect()
}

fn read_one(root: &Root, named: &Descriptor) -> Result<Listed, Failure> {
    let names = NAMES.iter().find_map(|key| named.annotations.get(*key));
    // The specification lets it be a bare tag, which names nothing.
    let name = names.filter(|name| {
        name.contains(['/', ':'])
            && name
                .parse::<Reference>()
                .is_ok_and(|r| r.digest().is_none())
    });
    let mut found = named.clone();
    loop {
        let bytes = blob(root, &found)?;
        match Manifest::parse(&found.media_type, &bytes)? {
            Manifest::Index(index) => found = for_this_machine(&index)?.clone(),
            Manifest::Image(manifest) => {
                let config = manifest.config.ok_or("a manifest without configuration")?;
                let layers = manifest.layers;
                return Ok(Listed {
                    config: path(&config.digest),
                    repo_tags: name.map(|name| vec![name.clone()]),
                    layers: layers.iter().map(|layer| path(&layer.digest)).collect(),
                    original: Some(Original {
                        manifest: bytes,
                        media_type: found.media_type,
                        digest: found.digest,
                        layers,
                    }),
                });
            }
        }
    }
}

/// An index names manifests, and these no index: a layout is no deeper.
fn for_this_machine(index: &ImageIndex) -> Result<&Descriptor, Failure> {
    let host = Platform::host();
    let fits = |one: &&Descriptor| {
        let platform = one.platform.as_ref();
        !one.media_type.is_index() && platform.is_none_or(|platform| platform.matches(&host))
    };
    let found = index.manifests.iter().find(fits);
    found.ok_or_else(|| format!("no image for {host} in the archive").into())
}

fn blob(root: &Root, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
    let path = path(&descriptor.digest);
    let bytes = root.read_regular(&PathBuf::from(&path), JSON_BYTES_MAX)?;
    match Digest::sha256(&bytes) == descriptor.digest {
        true => Ok(bytes),
        false => Err(format!("{path} is not what its name says").into()),
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

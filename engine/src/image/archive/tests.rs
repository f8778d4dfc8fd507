use super::*;

#[test]
fn a_new_manifest_mixes_no_media_types() {
    let one = |media_type: &str| Descriptor::new(media_type, Digest::sha256(b""), 0);
    let layers = [
        MediaType::DOCKER_LAYER_GZIP,
        DOCKER_LAYER_TAR,
        MediaType::OCI_LAYER_ZSTD,
    ];
    let bytes = manifest(
        one(MediaType::DOCKER_CONFIG),
        layers.iter().map(|layer| one(layer)).collect(),
    );
    let text = String::from_utf8(bytes.unwrap()).unwrap();
    assert!(!text.contains("docker"), "{text}");
    for media_type in [
        MediaType::OCI_CONFIG,
        MediaType::OCI_LAYER_GZIP,
        MediaType::OCI_LAYER_TAR,
        MediaType::OCI_LAYER_ZSTD,
    ] {
        assert!(text.contains(&format!("\"{media_type}\"")), "{text}");
    }
}

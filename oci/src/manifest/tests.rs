use super::*;

fn parse(media_type: &str, text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(&MediaType::from(media_type), text.as_bytes())
}

#[test]
fn image_without_config() {
    let manifest = parse(
        MediaType::OCI_MANIFEST,
        r#"{"schemaVersion":2,"layers":[]}"#,
    )
    .unwrap();
    assert!(matches!(manifest, Manifest::Image(image) if image.config.is_none()));
}

#[test]
fn refuses_what_two_readers_could_read_differently() {
    let both = r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#;
    assert!(matches!(
        parse(MediaType::OCI_MANIFEST, both),
        Err(ManifestError::Ambiguous)
    ));
    assert!(matches!(
        parse(MediaType::OCI_INDEX, both),
        Err(ManifestError::Ambiguous)
    ));
    let lies =
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","layers":[]}"#;
    assert!(matches!(
        parse(MediaType::OCI_MANIFEST, lies),
        Err(ManifestError::MediaTypeMismatch { .. })
    ));
}

#[test]
fn refuses_malformed() {
    for bad in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"schemaVersion":1}"#,
        r#"{"schemaVersion":2,"layers":3}"#,
    ] {
        assert!(parse(MediaType::OCI_MANIFEST, bad).is_err(), "{bad}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(MediaType::OCI_MANIFEST, &deep).is_err());
    assert!(matches!(
        parse(MediaType::OCI_MANIFEST, &" ".repeat(MANIFEST_BYTES_MAX + 1)),
        Err(ManifestError::TooLarge(_))
    ));
}

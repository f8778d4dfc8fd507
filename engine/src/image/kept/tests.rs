use super::*;

/// An archive that is no tar: nothing here looks into it.
const ARCHIVE: &[u8] = b"an archive that another program packed";

fn world() -> (tempfile::TempDir, EngineConfig, Digest) {
    let dir = tempfile::tempdir().unwrap();
    let config = EngineConfig::new(dir.path());
    (dir, config, Digest::sha256(ARCHIVE))
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let media_type = MediaType::from(MediaType::OCI_LAYER_TAR);
    recompress(bytes, &media_type, Compression::GZIP, &mut out).unwrap();
    out
}

fn keep_bytes(config: &EngineConfig, id: &Digest, bytes: &[u8], as_it_came: bool) -> Descriptor {
    let mut file = file(bytes);
    let described = describe(&mut file).unwrap();
    keep(config, id, file, &described, as_it_came).unwrap()
}

#[test]
fn a_plain_archive_is_kept_compressed_and_always_alike() {
    let (_dir, config, id) = world();
    let kept = keep_bytes(&config, &id, ARCHIVE, false);
    assert_eq!(kept.digest, Digest::sha256(&gzip(ARCHIVE)));
    assert_eq!(kept.media_type.as_str(), MediaType::OCI_LAYER_GZIP);
    let (mut found, described) = open(&config, &id, None).unwrap().unwrap();
    assert_eq!(described, kept);
    let mut bytes = Vec::new();
    found.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, gzip(ARCHIVE));
    remove(&config, &id);
    assert!(open(&config, &id, None).unwrap().is_none());
}

#[test]
fn what_a_manifest_names_is_kept_as_it_came() {
    let (_dir, config, id) = world();
    for bytes in [ARCHIVE.to_owned(), gzip(ARCHIVE)] {
        let kept = keep_bytes(&config, &id, &bytes, true);
        assert_eq!(kept.digest, Digest::sha256(&bytes));
        let found = open(&config, &id, Some(&kept.digest)).unwrap();
        assert_eq!(found.unwrap().1, kept);
    }
}

#[test]
fn another_layers_archive_is_not_kept() {
    let (_dir, config, id) = world();
    let mut file = file(b"something else");
    let described = describe(&mut file).unwrap();
    keep(&config, &id, file, &described, false).unwrap_err();
    assert!(open(&config, &id, None).unwrap().is_none());
    let left = std::fs::read_dir(dir(&config, &id)).unwrap();
    assert_eq!(left.count(), 0);
}

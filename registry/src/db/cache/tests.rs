use super::*;

fn row(payload: &[u8]) -> Arc<ManifestRow> {
    Arc::new(ManifestRow {
        digest: Digest::sha256(payload),
        media_type: "m".to_owned(),
        payload: payload.to_vec().into(),
    })
}

fn repo(name: &str) -> Repository {
    Repository::parse(name).unwrap()
}

#[test]
fn what_is_kept_is_found_until_its_repository_changes() {
    let cache = ManifestCache::default();
    let (a, b, tag) = (repo("a"), repo("b"), Tag::latest());
    let row = row(b"x");
    for name in [&a, &b] {
        let epoch = cache.by_tag(name, &tag).unwrap_err();
        cache.keep(epoch, name, Some(&tag), &row);
    }
    assert_eq!(cache.by_tag(&a, &tag).unwrap(), row);
    assert_eq!(cache.by_digest(&a, &row.digest).unwrap(), row);
    cache.forget(&a);
    assert!(cache.by_tag(&a, &tag).is_err());
    assert!(cache.by_digest(&a, &row.digest).is_err());
    assert_eq!(cache.by_tag(&b, &tag).unwrap(), row);
}

#[test]
fn a_late_reader_does_not_bring_the_old_back() {
    let cache = ManifestCache::default();
    let (a, tag) = (repo("a"), Tag::latest());
    let epoch = cache.by_tag(&a, &tag).unwrap_err();
    // The tag moves while the reader has the old row in its hands.
    cache.forget(&a);
    cache.keep(epoch, &a, Some(&tag), &row(b"old"));
    assert!(cache.by_tag(&a, &tag).is_err());
}

#[test]
fn memory_is_bounded() {
    let cache = ManifestCache::default();
    let a = repo("a");
    for n in 0..200u32 {
        let row = row(&[&n.to_be_bytes()[..], &[0; 100_000]].concat());
        let epoch = cache.by_digest(&a, &row.digest).unwrap_err();
        cache.keep(epoch, &a, None, &row);
        let state = cache.lock();
        let bytes: usize = state
            .repositories
            .values()
            .flat_map(|known| known.manifests.values())
            .map(|row| row.payload.len())
            .sum();
        assert_eq!(bytes, state.bytes);
        assert!(bytes <= BYTES_MAX);
    }
    let huge = row(&[0; ENTRY_BYTES_MAX + 1]);
    let epoch = cache.by_digest(&a, &huge.digest).unwrap_err();
    cache.keep(epoch, &a, None, &huge);
    assert!(cache.by_digest(&a, &huge.digest).is_err());
}

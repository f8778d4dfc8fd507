//! What every blob store must do, whatever holds the bytes.

use std::{collections::BTreeSet, path::Path};

use bytes::Bytes;

use super::{BlobStore, DiskStore, ObjectKey, StoreError};

/// Runs all cases; `open` opens the same place anew each time.
fn conforms(open: impl Fn() -> Box<dyn BlobStore>) {
    bytes_come_back(open().as_ref());
    writing_goes_on_where_it_was_recorded(&open);
    seals_stay_with_their_objects(&open);
    removed_means_gone(open().as_ref());
    keys_are_never_used_twice(open().as_ref());
    listing_shows_what_was_written(&open);
    what_is_claimed_was_free(open().as_ref());
}

fn read(store: &dyn BlobStore, key: &ObjectKey, offset: u64, length: usize) -> Vec<u8> {
    let mut buffer = vec![0; length];
    let count = store
        .open(key)
        .unwrap()
        .read_at(&mut buffer, offset)
        .unwrap();
    buffer.truncate(count);
    buffer
}

fn bytes_come_back(store: &dyn BlobStore) {
    let (lease, mut writer) = store.create().unwrap();
    let chunks: Vec<Bytes> = (0..600u16)
        .map(|n| n.to_be_bytes().to_vec().into())
        .collect();
    writer.write(&chunks).unwrap();
    writer
        .write(&[Bytes::new(), Bytes::from_static(b"end")])
        .unwrap();
    writer.sync().unwrap();
    let whole = [chunks.concat(), b"end".to_vec()].concat();
    let key = lease.key();
    assert_eq!(store.open(key).unwrap().size_bytes().unwrap(), 1203);
    assert_eq!(read(store, key, 0, 5000), whole);
    assert_eq!(read(store, key, 1200, 2), b"en");
    assert_eq!(read(store, key, 1203, 10), b"");
}

fn writing_goes_on_where_it_was_recorded(open: &impl Fn() -> Box<dyn BlobStore>) {
    let store = open();
    let (lease, mut writer) = store.create().unwrap();
    writer
        .write(&[Bytes::from_static(b"kept, not kept")])
        .unwrap();
    writer.sync().unwrap();
    drop(writer);
    let key = lease.key().clone();
    drop(lease);
    drop(store);
    let store = open();
    let lease = store.leases().hold(key.clone());
    let mut writer = store.resume(&lease, 4).unwrap();
    writer.write(&[Bytes::from_static(b"!")]).unwrap();
    assert_eq!(read(store.as_ref(), &key, 0, 100), b"kept!");
    assert!(matches!(
        store.resume(&lease, 6),
        Err(StoreError::Missing(_))
    ));
}

fn seals_stay_with_their_objects(open: &impl Fn() -> Box<dyn BlobStore>) {
    let store = open();
    let (lease, mut writer) = store.create().unwrap();
    writer.write(&[Bytes::from_static(b"x")]).unwrap();
    assert_eq!(store.seal_of(lease.key()).unwrap(), None);
    let sealed = writer.seal(b"first").unwrap() && writer.seal(b"second").unwrap();
    let found = open().seal_of(lease.key()).unwrap();
    assert_eq!(found, sealed.then(|| b"second".to_vec()));
    let absent = store.seal_of(&ObjectKey::random());
    assert!(matches!(absent, Err(StoreError::Missing(_))));
}

fn removed_means_gone(store: &dyn BlobStore) {
    let (lease, mut writer) = store.create().unwrap();
    writer.write(&[Bytes::from_static(b"x")]).unwrap();
    drop(writer);
    let reader = store.open(lease.key()).unwrap();
    store.remove(lease.key()).unwrap();
    store.remove(lease.key()).unwrap();
    assert!(matches!(
        store.open(lease.key()),
        Err(StoreError::Missing(_))
    ));
    assert!(matches!(
        store.resume(&lease, 0),
        Err(StoreError::Missing(_))
    ));
    // A download that runs already ends well.
    let mut byte = [0];
    assert_eq!(reader.read_at(&mut byte, 0).unwrap(), 1);
}

fn keys_are_never_used_twice(store: &dyn BlobStore) {
    let mut seen = BTreeSet::new();
    for n in 0..100 {
        let (lease, mut writer) = store.create().unwrap();
        assert!(seen.insert(lease.key().clone()), "{}", lease.key());
        if n % 3 == 0 {
            writer.write(&[Bytes::from_static(b"partial")]).unwrap();
        }
        drop(writer);
        match n % 3 {
            // Written to: must not come back, or its bytes would.
            0 => store.recycle(lease),
            1 => store.remove(lease.key()).unwrap(),
            _ => {}
        }
    }
}

fn listing_shows_what_was_written(open: &impl Fn() -> Box<dyn BlobStore>) {
    let store = open();
    let (lease, mut writer) = store.create().unwrap();
    writer.write(&[Bytes::from_static(b"x")]).unwrap();
    let mut listed = BTreeSet::new();
    store
        .each_key(&mut |key| {
            listed.insert(key);
        })
        .unwrap();
    assert!(listed.contains(lease.key()));
    drop(lease);
    for key in &listed {
        store.remove(key).unwrap();
    }
    let mut left = 0;
    store.each_key(&mut |_| left += 1).unwrap();
    assert_eq!(left, 0, "only the reserve is left, which is not listed");
}

fn what_is_claimed_was_free(store: &dyn BlobStore) {
    let (lease, mut writer) = store.create().unwrap();
    writer.write(&[Bytes::from_static(b"x")]).unwrap();
    let key = lease.key().clone();
    let again = store.leases().hold(key.clone());
    for held in [lease, again] {
        assert!(store.claim(&key).is_none());
        drop(held);
    }
    let claim = store.claim(&key);
    assert!(claim.is_some() && store.claim(&key).is_none());
    drop(claim);
    // Listed while in use and given back since: the next uploads may get it.
    let (lease, _) = store.create().unwrap();
    let mut listed = Vec::new();
    store.each_key(&mut |key| listed.push(key)).unwrap();
    assert!(listed.contains(lease.key()));
    store.recycle(lease);
    for claim in listed.iter().filter_map(|key| store.claim(key)) {
        store.remove(claim.key()).unwrap();
    }
    for _ in 0..100 {
        let (lease, _) = store.create().unwrap();
        assert!(store.open(lease.key()).is_ok(), "{}", lease.key());
    }
}

#[test]
fn disk_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conforms(|| Box::new(DiskStore::open(&directory.path().join("blobs")).unwrap()));
}

#[test]
fn an_orderly_stop_leaves_no_reserve() {
    let directory = tempfile::tempdir().unwrap();
    let store = DiskStore::open(directory.path()).unwrap();
    let (lease, _) = store.create().unwrap();
    store.recycle(lease);
    assert!(files(directory.path()) > 0);
    drop(store);
    assert_eq!(files(directory.path()), 0);
}

fn files(root: &Path) -> usize {
    std::fs::read_dir(root)
        .unwrap()
        .map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap().count())
        .sum()
}

#[test]
fn only_keys_parse() {
    let key = ObjectKey::random();
    assert_eq!(ObjectKey::parse(key.as_str()), Some(key.clone()));
    for bad in [
        "",
        "../../etc/passwd",
        "ABCDEF0123456789ABCDEF0123456789",
        "0",
    ] {
        assert_eq!(ObjectKey::parse(bad), None, "{bad}");
    }
    assert_eq!(ObjectKey::parse(&format!("{key}0")), None);
}

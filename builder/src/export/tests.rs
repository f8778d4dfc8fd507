use std::fs;

use runtime::snapshot::{LayerName, LayerStore};
use tokio_util::sync::CancellationToken;

use super::write;
use crate::solver::OpError;

#[test]
fn a_cancelled_export_ends_and_is_not_taken_for_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(&dir.path().join("layers")).unwrap();
    let snapshot = store.prepare("k", &[]).unwrap();
    fs::write(snapshot.upper.join("file"), b"content").unwrap();
    let name = LayerName::parse("build-1").unwrap();
    store.commit("k", &name).unwrap();
    let blobs = dir.path().join("blobs");
    fs::create_dir(&blobs).unwrap();

    let cancel = CancellationToken::new();
    write(&store, &name, &blobs.join("a.part"), &blobs, &cancel).unwrap();
    assert_eq!(fs::read_dir(&blobs).unwrap().count(), 1);

    cancel.cancel();
    let error = write(&store, &name, &blobs.join("b.part"), &blobs, &cancel).unwrap_err();
    assert_eq!(error, OpError::Cancelled);
    // The caller removes what was begun.
    assert!(blobs.join("b.part").exists());
}

use super::*;

#[tokio::test]
async fn pinned_layers_stay_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(&dir.path().join("layers")).unwrap();
    let layers = Layers::new(store.clone(), &dir.path().join("empty")).unwrap();
    let name = new_name();
    let layer = layer_name(&name).unwrap();
    store.prepare("a", &[]).unwrap();
    store.commit("a", &layer).unwrap();
    let pinned = layers.pin(std::slice::from_ref(&name)).await.unwrap();
    let refused = || {
        matches!(
            store.remove_layer(&layer),
            Err(SnapshotError::LayerPinned(_))
        )
    };
    assert!(refused());
    // What is read outlives the pin.
    let root = layers.read(&pinned).unwrap();
    drop(pinned);
    assert!(refused());
    drop(root);
    store.remove_layer(&layer).unwrap();
    assert!(!store.contains(&layer));
}

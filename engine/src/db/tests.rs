use super::*;

async fn fresh() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("engine.db")).await.unwrap();
    (dir, db)
}

fn layer(diff_id: &str) -> LayerRow {
    LayerRow {
        diff_id: diff_id.to_owned(),
        size_bytes: 10,
    }
}

async fn add(db: &Db, id: &str, layers: &[LayerRow], tag: &str) -> Option<String> {
    let image = NewImage {
        id,
        config: b"{}",
        manifest: b"{}",
        manifest_media_type: "m",
        manifest_digest: "d",
        created_at: "2026-01-01T00:00:00Z",
        layers,
    };
    db.insert_image(&image, Some(tag), None).await.unwrap()
}

#[tokio::test]
async fn a_tag_moves_and_only_unshared_layers_are_orphans() {
    let (_dir, db) = fresh().await;
    assert_eq!(
        add(&db, "one", &[layer("base"), layer("a")], "t").await,
        None
    );
    let lost = add(&db, "two", &[layer("base"), layer("b"), layer("c")], "t").await;
    assert_eq!(lost.as_deref(), Some("one"));
    assert_eq!(db.image("one").await.unwrap().unwrap().tags, [""; 0]);
    assert_eq!(db.image("two").await.unwrap().unwrap().size_bytes, 30);
    assert_eq!(db.layers_size().await.unwrap(), 40);
    assert_eq!(db.delete_image("two").await.unwrap(), ["c", "b"]);
    assert_eq!(db.image_id_by_reference("t").await.unwrap(), None);
    assert_eq!(db.delete_image("one").await.unwrap(), ["a", "base"]);
}

#[tokio::test]
async fn a_layer_is_an_orphan_until_an_image_has_it_or_it_is_gone() {
    let (_dir, db) = fresh().await;
    let orphans = async |origin| db.orphan_layers(origin).await.unwrap();
    let names = ["a".to_owned(), "b".to_owned()];
    db.expect_layers(&names).await.unwrap();
    assert_eq!(orphans(None).await, names);
    add(&db, "one", &[layer("a")], "t").await;
    assert_eq!(orphans(None).await, ["b"]);
    // An image has one of the two: only the other is awaited.
    db.expect_layers(&names).await.unwrap();
    assert_eq!(orphans(Some(Origin::Transfer)).await, ["b"]);
    db.delete_image("one").await.unwrap();
    assert_eq!(orphans(Some(Origin::Image)).await, ["a"]);
    db.forget_orphan("a").await.unwrap();
    assert_eq!(orphans(None).await, ["b"]);
}

#[tokio::test]
async fn an_image_is_found_by_prefix_without_wildcards() {
    let (_dir, db) = fresh().await;
    add(&db, "sha256:ab1", &[], "t").await;
    add(&db, "sha256:ab2", &[], "u").await;
    assert_eq!(db.image_ids_by_prefix("sha256:ab1").await.unwrap().len(), 1);
    assert_eq!(db.image_ids_by_prefix("sha256:ab").await.unwrap().len(), 2);
    assert_eq!(db.image_ids_by_prefix("sha256:%").await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_engine_id_stays() {
    let (dir, db) = fresh().await;
    let first = db.engine_id().await.unwrap();
    db.close().await;
    let again = Db::open(&dir.path().join("engine.db")).await.unwrap();
    assert_eq!(again.engine_id().await.unwrap(), first);
}

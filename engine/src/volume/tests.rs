use super::*;
use crate::db::{ContainerRow, NetworkRow, StateRow};

/// A database and a volume `data` with a file in it.
async fn world() -> (tempfile::TempDir, Db, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("engine.db")).await.unwrap();
    let volumes = dir.path().join("volumes");
    std::fs::create_dir_all(volumes.join("data/_data")).unwrap();
    std::fs::write(volumes.join("data/_data/file"), "old").unwrap();
    let row = VolumeRow {
        name: "data".to_owned(),
        created_at: "2026-01-01T00:00:00Z".to_owned(),
        labels: BTreeMap::new(),
        anonymous: false,
    };
    assert!(db.insert_volume(&row).await.unwrap());
    (dir, db, volumes)
}

/// A container with a volume.
fn container(id: &str, volume: &str) -> ContainerRow {
    ContainerRow {
        id: id.to_owned(),
        name: id.to_owned(),
        created_at: "2026-01-01T00:00:00Z".to_owned(),
        image_id: String::new(),
        config: Default::default(),
        host_config: Default::default(),
        mounts: vec![MountPoint {
            kind: "volume".to_owned(),
            name: volume.to_owned(),
            ..Default::default()
        }],
        network: NetworkRow::default(),
        state: StateRow::default(),
        restart_count: 0,
        stopped: false,
    }
}

#[tokio::test]
async fn a_removed_volume_leaves_nothing_under_its_name_and_its_trash_is_swept() {
    let (_dir, db, volumes) = world().await;
    let trash = take_out(&db, &volumes, "data").await.unwrap().unwrap();
    assert!(db.volume("data").await.unwrap().is_none());
    assert!(!volumes.join("data").exists());
    assert!(trash.join("_data/file").exists());
    std::fs::create_dir_all(volumes.join("other/_data")).unwrap();
    let (kept, left) = ("a".repeat(64), "b".repeat(64));
    std::fs::create_dir_all(volumes.join(&kept)).unwrap();
    std::fs::create_dir_all(volumes.join(&left)).unwrap();
    sweep(&volumes, &[new_row(kept.clone(), BTreeMap::new(), true)]).unwrap();
    assert!(!trash.exists());
    assert!(volumes.join("other/_data").exists());
    assert!(volumes.join(kept).exists());
    assert!(!volumes.join(left).exists());
    assert_eq!(take_out(&db, &volumes, "data").await.unwrap(), None);
}

#[tokio::test]
async fn a_volume_in_use_stays_as_it_is() {
    let (_dir, db, volumes) = world().await;
    let row = container("user", "data");
    db.insert_container(&row, &[]).await.unwrap();
    let error = take_out(&db, &volumes, "data").await.unwrap_err();
    assert_eq!(error.to_string(), "remove data: volume is in use - [user]");
    assert!(db.volume("data").await.unwrap().is_some());
    assert!(volumes.join("data/_data/file").exists());
    let asked = ["data".to_owned()];
    // It is not anonymous.
    assert_eq!(db.delete_container("user", &asked).await.unwrap(), [""; 0]);
    assert!(take_out(&db, &volumes, "data").await.unwrap().is_some());
}

#[tokio::test]
async fn an_anonymous_volume_comes_and_goes_with_its_last_container() {
    let (_dir, db, _volumes) = world().await;
    let volume = new_row("a".repeat(64), BTreeMap::new(), true);
    let names = [volume.name.clone()];
    let user = |id: &str| container(id, &volume.name);
    db.insert_container(&user("one"), std::slice::from_ref(&volume))
        .await
        .unwrap();
    db.insert_container(&user("two"), &[]).await.unwrap();
    assert_eq!(db.delete_container("one", &names).await.unwrap(), [""; 0]);
    assert_eq!(db.delete_container("two", &names).await.unwrap(), names);
    assert!(db.volume(&volume.name).await.unwrap().is_none());
}

#[tokio::test]
async fn a_volume_that_cannot_be_moved_keeps_its_row() {
    let (_dir, db, volumes) = world().await;
    // Below a file no rename succeeds.
    let blocked = volumes.join("data/_data/file");
    take_out(&db, &blocked, "data").await.unwrap_err();
    assert!(db.volume("data").await.unwrap().is_some());
}

use builder_proto::api::{BuildOptions, BuildState, Event};
use oci::Digest;

use super::{Db, NewBuild, NewRecord, StoredEvent};

async fn open(dir: &tempfile::TempDir) -> Db {
    Db::open(&dir.path().join("builder.db")).await.unwrap()
}

async fn enqueue(db: &Db, id: &str, most: i64) -> bool {
    let build = NewBuild {
        id,
        options: &BuildOptions::default(),
        created_by: "local",
        sealed_token: Some(b"sealed"),
    };
    db.system_enqueue(&build, most).await.unwrap()
}

fn state(seq: i64, state: BuildState) -> StoredEvent {
    StoredEvent {
        seq,
        event: Event::State {
            state,
            digest: None,
            error: None,
        },
    }
}

#[tokio::test]
async fn builds_are_claimed_once_in_order_and_the_queue_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir).await;
    assert!(enqueue(&db, "a", 2).await);
    assert!(enqueue(&db, "b", 2).await);
    assert!(!enqueue(&db, "c", 2).await);
    assert_eq!(db.system_last_seq("c").await.unwrap(), 0);
    let claim = || async { db.system_claim(BuildState::Running).await.unwrap() };
    let (first, second, third) = tokio::join!(claim(), claim(), claim());
    let mut ids: Vec<_> = [first, second, third]
        .into_iter()
        .flatten()
        .map(|r| r.id)
        .collect();
    ids.sort();
    assert_eq!(ids, ["a", "b"]);
    assert!(enqueue(&db, "c", 2).await);
    assert_eq!(db.system_running().await.unwrap().len(), 2);
    assert_eq!(db.system_unended().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_change_of_state_needs_the_state_it_starts_from() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir).await;
    enqueue(&db, "a", 9).await;
    let change = |from, to, seq| {
        let db = db.clone();
        async move {
            let events = [state(seq, to)];
            db.system_transition("a", from, to, None, None, &events)
                .await
                .unwrap()
        }
    };
    assert!(!change(BuildState::Running, BuildState::Succeeded, 2).await);
    assert!(change(BuildState::Queued, BuildState::Cancelled, 2).await);
    assert!(!change(BuildState::Queued, BuildState::Cancelled, 3).await);
    let row = db.system_build("a").await.unwrap().unwrap();
    assert_eq!(row.state, BuildState::Cancelled);
    assert!(row.ended_at.is_some() && row.sealed_token.is_none());
    let seqs: Vec<_> = db.system_events("a", 0, 10).await.unwrap();
    assert_eq!(
        seqs,
        [
            state(1, BuildState::Queued),
            state(2, BuildState::Cancelled)
        ]
    );
    assert_eq!(db.system_events("a", 1, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_renamed_layer_is_found_under_its_new_name_with_its_age() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir).await;
    let key = Digest::sha256(b"k");
    let outputs = [vec!["base".to_owned(), "build-1".to_owned()], Vec::new()];
    db.system_store_record(&NewRecord {
        identity: &key,
        keys: &[key],
        outputs: &outputs,
        created: &outputs[0][1..],
    })
    .await
    .unwrap();
    db.system_rename_layer("build-1", "sha256:1").await.unwrap();
    let record = db.system_cache_record(&key).await.unwrap().unwrap();
    assert_eq!(record.outputs, [vec!["base", "sha256:1"], vec![]]);
    assert!(db.system_layer_time("sha256:1").await.unwrap().is_some());
    assert!(db.system_layer_time("base").await.unwrap().is_none());
    db.system_forget_layer("base").await.unwrap();
    assert!(db.system_cache_record(&key).await.unwrap().is_none());
}

#[tokio::test]
async fn old_builds_go_with_their_logs_but_not_those_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir).await;
    for id in ["a", "b", "c"] {
        enqueue(&db, id, 9).await;
    }
    for id in ["a", "c"] {
        let to = BuildState::Cancelled;
        let events = [state(2, to)];
        let done = db.system_transition(id, BuildState::Queued, to, None, None, &events);
        assert!(done.await.unwrap());
    }
    assert_eq!(db.system_drop_old_builds(1, i64::MAX).await.unwrap(), 1);
    assert!(db.system_build("a").await.unwrap().is_none());
    assert_eq!(db.system_events("a", 0, 9).await.unwrap(), []);
    assert!(db.system_build("b").await.unwrap().is_some());
    assert_eq!(db.system_events("c", 0, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn long_logs_take_the_oldest_builds_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir).await;
    for (id, length) in [("a", 10), ("b", 5_000), ("c", 10), ("d", 5_000)] {
        enqueue(&db, id, 9).await;
        let log = Event::Warning {
            message: "x".repeat(length),
        };
        let log = StoredEvent { seq: 2, event: log };
        db.system_append_events(id, &[log]).await.unwrap();
        if id != "b" {
            let to = BuildState::Cancelled;
            let events = [state(3, to)];
            let done = db.system_transition(id, BuildState::Queued, to, None, None, &events);
            assert!(done.await.unwrap());
        }
    }
    let kept = async || {
        let builds = db.system_builds(9).await.unwrap();
        builds.into_iter().map(|build| build.id).collect::<Vec<_>>()
    };
    assert_eq!(db.system_drop_old_builds(9, 20_000).await.unwrap(), 0);
    // Two long logs are newer than the first build's.
    assert_eq!(db.system_drop_old_builds(9, 8_000).await.unwrap(), 1);
    assert_eq!(kept().await, ["d", "c", "b"]);
    // The newest stays, whatever its own log's length, and what has not ended.
    assert_eq!(db.system_drop_old_builds(9, 100).await.unwrap(), 1);
    assert_eq!(kept().await, ["d", "b"]);
}

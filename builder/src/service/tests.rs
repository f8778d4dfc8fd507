use std::{path::Path, time::Duration};

use axum::body::Body;
use builder_proto::api::{BuildOptions, BuildState, Event};
use oci::layer::{Entry, EntryKind, TarWriter};
use runtime::{host::Host, launcher::Launcher, snapshot::LayerStore};

use super::{Builder, NewRequest};
use crate::{
    config::BuilderConfig,
    db::{Db, NewBuild, StoredEvent},
};

/// A service with one worker, for builds that run no process.
async fn open(dir: &Path) -> Builder {
    let host = Host {
        layers: LayerStore::open(&dir.join("layers")).unwrap(),
        launcher: Launcher::start(Path::new("/bin/true")).await.unwrap(),
        bridge: None,
    };
    let mut config = BuilderConfig::new(dir.join("builder"));
    config.workers = 1;
    Builder::open(config, host).await.unwrap()
}

fn tar() -> Vec<u8> {
    let text = b"FROM scratch\nCOPY Dockerfile /\n";
    let mut entry = Entry::new("Dockerfile", EntryKind::Regular, 0o644);
    entry.size_bytes = text.len() as u64;
    let mut tar = TarWriter::new(Vec::new());
    tar.append(&entry, &mut text.as_slice()).unwrap();
    tar.finish().unwrap()
}

fn request() -> NewRequest {
    NewRequest {
        options: BuildOptions::default(),
        caller: "local".to_owned(),
        registry_token: None,
        length: None,
    }
}

async fn ended(builder: &Builder, id: &str) -> crate::db::BuildRow {
    let mut more = builder.live().follow(id);
    let ended = async {
        loop {
            more.mark_unchanged();
            let row = builder.row(id).await.unwrap();
            if row.state.is_ended() {
                return row;
            }
            more.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), ended).await;
    waited.expect("the build ends")
}

/// A log whose numbers are used up: the recorder panics in its own task, or
/// already where the worker starts it.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_outlives_a_panic_in_the_recording_of_a_build() {
    for last in [i64::MAX - 1, i64::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("builder");
        std::fs::create_dir_all(data.join("contexts")).unwrap();
        std::fs::write(data.join("contexts/bad.tar"), tar()).unwrap();
        let db = Db::open(&data.join("builder.db")).await.unwrap();
        let bad = NewBuild {
            id: "bad",
            options: &BuildOptions::default(),
            created_by: "local",
            sealed_token: None,
        };
        assert!(db.system_enqueue(&bad, 9).await.unwrap());
        let event = Event::Warning {
            message: String::new(),
        };
        let fault = [StoredEvent { seq: last, event }];
        db.system_append_events("bad", &fault).await.unwrap();
        db.close().await;

        let builder = open(dir.path()).await;
        let row = ended(&builder, "bad").await;
        assert_eq!(row.state, BuildState::Failed);
        let message = row.error.unwrap().message;
        assert!(message.starts_with("internal error"), "{message}");

        let good = builder.create(request(), Body::from(tar())).await.unwrap();
        let row = ended(&builder, &good.id).await;
        assert_eq!(row.state, BuildState::Succeeded, "{:?}", row.error);
        builder.shutdown(Duration::ZERO).await;
        assert!(builder.running().is_empty());
        let left = std::fs::read_dir(data.join("contexts")).unwrap().count();
        assert_eq!(left, 0);
    }
}

/// The row is damaged, or the key that sealed it was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_whose_token_cannot_be_opened_fails_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("builder");
    std::fs::create_dir_all(data.join("contexts")).unwrap();
    std::fs::write(data.join("contexts/bad.tar"), tar()).unwrap();
    let db = Db::open(&data.join("builder.db")).await.unwrap();
    let bad = NewBuild {
        id: "bad",
        options: &BuildOptions::default(),
        created_by: "local",
        sealed_token: Some(b"not what any key sealed"),
    };
    assert!(db.system_enqueue(&bad, 9).await.unwrap());
    db.close().await;

    let builder = open(dir.path()).await;
    let row = ended(&builder, "bad").await;
    assert_eq!(row.state, BuildState::Failed);
    let message = row.error.unwrap().message;
    let expected = "the registry token of build bad cannot be opened";
    assert!(message.starts_with(expected), "{message}");
    let request = NewRequest {
        registry_token: Some("token".to_owned()),
        ..request()
    };
    let good = builder.create(request, Body::from(tar())).await.unwrap();
    let row = ended(&builder, &good.id).await;
    assert_eq!(row.state, BuildState::Succeeded, "{:?}", row.error);
    builder.shutdown(Duration::ZERO).await;
}

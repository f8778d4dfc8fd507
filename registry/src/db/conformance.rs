//! What the registry's database must do, whatever holds it.

mod server;

use std::sync::Arc;

use oci::{Digest, Repository, Tag};
use sqlx::postgres::PgConnectOptions;

use self::server::Server;
use super::{postgres, query::query, *};
use crate::{config::DatabaseUrl, content::ObjectKey};

/// An empty database that can be opened again and again.
enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Box<PgConnectOptions>),
}

impl Place {
    async fn open(&self) -> Arc<Database> {
        Arc::new(match self {
            Self::Sqlite(directory) => {
                let file = directory.path().join("registry.db");
                Database::open(&DatabaseUrl::Sqlite(file)).await.unwrap()
            }
            Self::Postgres(options) => {
                let (backend, writer) = postgres::open(options.as_ref().clone()).await.unwrap();
                Database::start(backend, writer)
            }
        })
    }
}

/// One test a case on SQLite; on PostgreSQL one test for all, since it starts a server.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Place::Sqlite(tempfile::tempdir().unwrap())).await;
            })*
        }

        #[tokio::test]
        async fn every_case_holds_on_postgresql() {
            let server = Server::start();
            $(
                println!("case {}", stringify!($name));
                $name(&Place::Postgres(Box::new(server.database().await))).await;
            )*
        }
    };
}

cases! {
    blobs_belong_to_repositories,
    a_manifest_without_its_blobs_writes_nothing,
    very_many_references_are_stored_and_checked,
    what_was_acknowledged_is_there_after_reopening,
    a_failed_write_undoes_itself_and_not_its_neighbours,
    every_name_is_listed_exactly_once,
    uploads_go_on_where_they_were,
    a_damaged_object_is_replaced,
    referrers_come_in_pages,
    deleted_tags_leave_the_manifest,
    repositories_are_listed_by_bytes,
    users_and_their_tokens,
    an_unclean_stop_is_seen_after_a_boot,
}

fn repo(name: &str) -> Repository {
    Repository::parse(name).unwrap()
}

fn row(payload: &[u8]) -> BlobRow {
    BlobRow {
        size_bytes: payload.len() as u64,
        location: BlobLocation::Row(payload.to_vec()),
    }
}

async fn push(db: &Database, name: &str, payload: &[u8]) -> Placement {
    let digest = Digest::sha256(payload);
    let durable = Durability::Durable;
    db.commit_blob(repo(name), digest, row(payload), None, false, durable)
        .await
        .unwrap()
}

fn manifest(name: &str, tag: &str, blob: &[u8]) -> ManifestPut {
    let payload = format!("manifest of {tag}").into_bytes();
    ManifestPut {
        repo: repo(name),
        digest: Digest::sha256(&payload),
        media_type: "m".to_owned(),
        artifact_type: None,
        payload,
        subject: None,
        annotations: None,
        refs: vec![RefRow {
            kind: "layer",
            digest: Digest::sha256(blob),
            size_bytes: 1,
            required: true,
        }],
        tags: vec![Tag::parse(tag).unwrap()],
        actor: "admin".to_owned(),
    }
}

async fn blobs_belong_to_repositories(place: &Place) {
    let db = place.open().await;
    let digest = Digest::sha256(b"x");
    assert_eq!(push(&db, "a/b", b"x").await, Placement::New);
    assert_eq!(push(&db, "c", b"x").await, Placement::Known);
    assert!(db.blob(&repo("a/b"), &digest).await.unwrap().is_some());
    assert!(db.blob(&repo("a"), &digest).await.unwrap().is_none());
    assert!(db.unlink_blob(repo("a/b"), digest).await.unwrap());
    assert!(!db.unlink_blob(repo("a/b"), digest).await.unwrap());
    assert!(db.blob(&repo("a/b"), &digest).await.unwrap().is_none());
    assert!(db.blob(&repo("c"), &digest).await.unwrap().is_some());

    let from = |name: &str| Some(vec![repo(name)]);
    assert!(!db.mount_blob(repo("d"), digest, from("a/b")).await.unwrap());
    assert!(db.repository(&repo("d")).await.unwrap().is_none());
    assert!(db.mount_blob(repo("d"), digest, from("c")).await.unwrap());
    assert!(db.mount_blob(repo("e"), digest, None).await.unwrap());
    assert!(db.blob(&repo("d"), &digest).await.unwrap().is_some());
}

async fn a_manifest_without_its_blobs_writes_nothing(place: &Place) {
    let db = place.open().await;
    let missing = PutOutcome::BlobsMissing(vec![Digest::sha256(b"x")]);
    assert_eq!(
        db.put_manifest(manifest("a", "v1", b"x")).await.unwrap(),
        missing
    );
    assert!(db.repository(&repo("a")).await.unwrap().is_none());
    // In another repository it does not count.
    push(&db, "b", b"x").await;
    assert_eq!(
        db.put_manifest(manifest("a", "v1", b"x")).await.unwrap(),
        missing
    );
    push(&db, "a", b"x").await;
    let stored = db.put_manifest(manifest("a", "v1", b"x")).await.unwrap();
    assert_eq!(stored, PutOutcome::Stored);
    let tag = Tag::parse("v1").unwrap();
    let found = db.manifest_by_tag(&repo("a"), &tag).await.unwrap().unwrap();
    assert_eq!(found.payload, "manifest of v1");
    // From memory; and a moved tag is seen at once.
    let again = db.manifest_by_tag(&repo("a"), &tag).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&found, &again));
    let mut moved = manifest("a", "v1", b"x");
    moved.payload.push(b'!');
    moved.digest = Digest::sha256(&moved.payload);
    db.put_manifest(moved).await.unwrap();
    let now = db.manifest_by_tag(&repo("a"), &tag).await.unwrap().unwrap();
    assert_eq!(now.payload, "manifest of v1!");
    db.put_manifest(manifest("a", "v1", b"x")).await.unwrap();
    let actor = || "admin".to_owned();
    assert!(
        db.delete_manifest(repo("a"), found.digest, actor())
            .await
            .unwrap()
    );
    assert!(
        !db.delete_manifest(repo("a"), found.digest, actor())
            .await
            .unwrap()
    );
    assert!(
        db.manifest_by_tag(&repo("a"), &tag)
            .await
            .unwrap()
            .is_none()
    );
}

async fn very_many_references_are_stored_and_checked(place: &Place) {
    let db = place.open().await;
    push(&db, "a", b"x").await;
    let mut put = manifest("a", "v1", b"x");
    put.refs = vec![put.refs[0].clone(); 9000];
    assert_eq!(
        db.put_manifest(put.clone()).await.unwrap(),
        PutOutcome::Stored
    );
    put.refs = (0..9000u32)
        .map(|n| RefRow {
            digest: Digest::sha256(&n.to_be_bytes()),
            ..put.refs[0].clone()
        })
        .collect();
    let PutOutcome::BlobsMissing(missing) = db.put_manifest(put).await.unwrap() else {
        panic!("blobs that were never pushed are missing");
    };
    assert_eq!(missing.len(), 9000);
}

async fn what_was_acknowledged_is_there_after_reopening(place: &Place) {
    let db = place.open().await;
    push(&db, "a", b"x").await;
    db.close().await;
    assert!(matches!(
        db.write(Durability::Lazy, |_| Box::pin(async { Ok(()) }))
            .await,
        Err(DbError::Closed)
    ));
    let db = place.open().await;
    assert!(
        db.blob(&repo("a"), &Digest::sha256(b"x"))
            .await
            .unwrap()
            .is_some()
    );
}

async fn a_failed_write_undoes_itself_and_not_its_neighbours(place: &Place) {
    let db = place.open().await;
    let insert = |id: i64, name: &'static str, fail: bool| {
        let db = Arc::clone(&db);
        tokio::spawn(async move {
            db.write(Durability::Durable, move |connection| {
                Box::pin(async move {
                    query("INSERT INTO orgs (id, name, created_at) VALUES ($1, $2, 0)")
                        .bind(id)
                        .bind(name)
                        .execute(&mut *connection)
                        .await?;
                    match fail {
                        true => Err(DbError::Unreadable("test")),
                        false => Ok(()),
                    }
                })
            })
            .await
        })
    };
    let tasks = [
        insert(1, "a", false),
        insert(2, "b", true),
        insert(3, "c", false),
        insert(4, "a", false),
    ];
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    assert!(results[0].is_ok() && results[2].is_ok());
    assert!(matches!(results[1], Err(DbError::Unreadable(_))));
    assert!(matches!(results[3], Err(DbError::Conflict(_))));
    let mut connection = db.read().await.unwrap();
    let rows = query("SELECT name FROM orgs ORDER BY name")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.get(0).unwrap()).collect();
    assert_eq!(names, ["a", "c"]);
}

/// H4: names that are prefixes of others are listed once each, in order, at any page size.
async fn every_name_is_listed_exactly_once(place: &Place) {
    let db = place.open().await;
    push(&db, "a", b"x").await;
    let mut names = Vec::new();
    for n in 0..40u32 {
        for name in [
            format!("v{n}"),
            format!("v{n}-rc"),
            format!("V{n}.1"),
            format!("_{n}"),
        ] {
            db.put_manifest(manifest("a", &name, b"x")).await.unwrap();
            names.push(name);
        }
    }
    names.sort();
    for limit in [1, 2, 7, 159, 160, 161, 1000] {
        let mut listed = Vec::new();
        loop {
            let page = Page {
                last: listed.last().cloned().unwrap_or_default(),
                limit,
            };
            let found = db.tag_names(&repo("a"), &page).await.unwrap().unwrap();
            if found.is_empty() {
                break;
            }
            listed.extend(found);
        }
        assert_eq!(listed, names, "pages of {limit}");
    }
}

fn upload(id: &str, key: &ObjectKey, expires_at: i64) -> UploadRow {
    UploadRow {
        id: id.to_owned(),
        owner: "admin".to_owned(),
        object_key: key.clone(),
        offset_bytes: 0,
        algorithm: oci::Algorithm::Sha256,
        hash_state: None,
        boot_id: "boot".to_owned(),
        expires_at,
    }
}

async fn uploads_go_on_where_they_were(place: &Place) {
    let db = place.open().await;
    let (key, old) = (ObjectKey::random(), ObjectKey::random());
    db.create_upload(repo("a/b"), upload("u1", &key, i64::MAX))
        .await
        .unwrap();
    db.create_upload(repo("a/b"), upload("u2", &old, 1))
        .await
        .unwrap();
    let find =
        async |name: &str, owner: &str, id: &str| db.upload(&repo(name), owner, id).await.unwrap();
    assert!(find("a/b", "other", "u1").await.is_none());
    assert!(find("a", "admin", "u1").await.is_none());
    assert!(
        find("a/b", "admin", "u2").await.is_none(),
        "it is past its time"
    );
    let mut row = find("a/b", "admin", "u1").await.unwrap();
    assert_eq!((row.offset_bytes, row.hash_state.as_deref()), (0, None));
    row.offset_bytes = 1 << 40;
    row.hash_state = Some(vec![0, 1, 255]);
    db.advance_upload(row).await.unwrap();
    let row = find("a/b", "admin", "u1").await.unwrap();
    assert_eq!(row.offset_bytes, 1 << 40);
    assert_eq!(row.hash_state.as_deref(), Some([0, 1, 255].as_slice()));
    assert_eq!(row.object_key, key);

    let expired = db.system_expired_uploads(10).await.unwrap();
    assert_eq!(expired, [("u2".to_owned(), old.clone())]);
    assert_eq!(
        db.system_upload_of(&old).await.unwrap().as_deref(),
        Some("u2")
    );
    db.delete_upload("u2".to_owned()).await.unwrap();
    assert_eq!(db.system_upload_of(&old).await.unwrap(), None);

    let digest = Digest::sha256(b"whole");
    let blob = BlobRow {
        size_bytes: 5,
        location: BlobLocation::Object(key.clone()),
    };
    let ended = Some("u1".to_owned());
    db.commit_blob(repo("a/b"), digest, blob, ended, false, Durability::Lazy)
        .await
        .unwrap();
    db.system_flush(repo("a/b")).await.unwrap();
    assert!(find("a/b", "admin", "u1").await.is_none());
    assert!(db.system_is_blob(&key).await.unwrap());
    assert!(!db.system_is_blob(&old).await.unwrap());
    let known = db.system_known_objects(&[key.clone(), old]).await.unwrap();
    assert_eq!(known, [key].into());
}

async fn a_damaged_object_is_replaced(place: &Place) {
    let db = place.open().await;
    let digest = Digest::sha256(b"x");
    let keys = [(); 3].map(|()| ObjectKey::random());
    let place = async |key: &ObjectKey, damaged: bool| {
        let blob = BlobRow {
            size_bytes: 1,
            location: BlobLocation::Object(key.clone()),
        };
        let durable = Durability::Durable;
        db.commit_blob(repo("a"), digest, blob, None, damaged, durable)
            .await
            .unwrap()
    };
    assert_eq!(place(&keys[0], false).await, Placement::New);
    assert_eq!(place(&keys[1], false).await, Placement::Known);
    let replaced = Placement::Replaced(Some(keys[0].clone()));
    assert_eq!(place(&keys[2], true).await, replaced);
    let row = db.system_blob(&digest).await.unwrap().unwrap();
    assert_eq!(row.location, BlobLocation::Object(keys[2].clone()));
}

async fn referrers_come_in_pages(place: &Place) {
    let db = place.open().await;
    push(&db, "a", b"x").await;
    let subject = Digest::sha256(b"subject");
    for n in 0..5u32 {
        let mut put = manifest("a", &format!("v{n}"), b"x");
        put.subject = Some(subject);
        put.artifact_type = (n % 2 == 0).then(|| "even".to_owned());
        put.annotations = Some(format!("{{\"n\":\"{n}\"}}"));
        db.put_manifest(put).await.unwrap();
    }
    let list = async |kind: Option<&str>, after: i64| {
        db.referrers(&repo("a"), &subject, kind, after, 2)
            .await
            .unwrap()
    };
    let first = list(None, 0).await;
    assert_eq!(first.len(), 2);
    assert_eq!(first[0].digest, Digest::sha256(b"manifest of v0"));
    assert_eq!(first[0].size_bytes, 14);
    assert_eq!(first[1].artifact_type, None);
    assert_eq!(first[1].annotations.as_deref(), Some("{\"n\":\"1\"}"));
    let second = list(None, first[1].id).await;
    assert_eq!(second[0].digest, Digest::sha256(b"manifest of v2"));
    let even = list(Some("even"), first[0].id).await;
    let digests: Vec<Digest> = even.iter().map(|row| row.digest).collect();
    let expected = ["manifest of v2", "manifest of v4"].map(|text| Digest::sha256(text.as_bytes()));
    assert_eq!(digests, expected);
    assert!(list(Some("odd"), 0).await.is_empty());
}

async fn deleted_tags_leave_the_manifest(place: &Place) {
    let db = place.open().await;
    push(&db, "a", b"x").await;
    let put = manifest("a", "v1", b"x");
    let digest = put.digest;
    db.put_manifest(put).await.unwrap();
    let tag = Tag::parse("v1").unwrap();
    let delete = async |name: &str| {
        let actor = "admin".to_owned();
        db.delete_tag(repo(name), tag.clone(), actor).await.unwrap()
    };
    assert!(!delete("b").await);
    assert!(delete("a").await);
    assert!(!delete("a").await);
    assert!(
        db.manifest_by_tag(&repo("a"), &tag)
            .await
            .unwrap()
            .is_none()
    );
    let found = db.manifest_by_digest(&repo("a"), &digest).await.unwrap();
    assert_eq!(found.unwrap().media_type, "m");
}

async fn repositories_are_listed_by_bytes(place: &Place) {
    let db = place.open().await;
    let mut names = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a_b", "ab", "b"];
    for name in names {
        push(&db, name, b"x").await;
    }
    names.sort_unstable();
    let mut page = Page {
        last: String::new(),
        limit: 4,
    };
    let mut listed = Vec::new();
    loop {
        let found = db.repository_names(&page).await.unwrap();
        let Some(last) = found.last() else { break };
        page.last.clone_from(last);
        listed.extend(found);
    }
    assert_eq!(listed, names);
}

async fn users_and_their_tokens(place: &Place) {
    let db = place.open().await;
    let set = async |hash: &str| {
        db.system_set_user("admin".to_owned(), hash.to_owned(), "admin")
            .await
            .unwrap();
        db.system_users().await.unwrap()
    };
    let user = set("one").await[0].id;
    for n in 0..201u8 {
        db.create_refresh_token(vec![n], user, "s".to_owned(), "c".to_owned())
            .await
            .unwrap();
    }
    let used = async |hash: u8, service: &str| {
        db.use_refresh_token(vec![hash], service.to_owned())
            .await
            .unwrap()
    };
    assert_eq!(used(0, "s").await, None, "the longest unused is gone");
    assert_eq!(used(200, "s").await, Some(user));
    assert_eq!(used(200, "other").await, None);
    let users = set("two").await;
    assert_eq!(users.len(), 1);
    assert_eq!(
        (users[0].id, users[0].password_hash.as_str()),
        (user, "two")
    );
    assert_eq!(used(200, "s").await, None, "a new password ends the tokens");
}

async fn an_unclean_stop_is_seen_after_a_boot(place: &Place) {
    let db = place.open().await;
    let lost = async |boot: &str| db.system_power_was_lost(boot).await.unwrap();
    assert!(!lost("one").await, "there was no run before");
    db.system_begin_run("one".to_owned()).await.unwrap();
    assert!(!lost("one").await);
    assert!(lost("two").await);
    db.system_end_run("one".to_owned()).await.unwrap();
    assert!(!lost("two").await);
}

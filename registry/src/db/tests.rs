use std::{path::Path, sync::Arc};

use oci::{Digest, Repository, Tag};

use super::*;

async fn database(directory: &Path) -> Arc<Database> {
    Arc::new(
        Database::open(&directory.join("registry.db"))
            .await
            .unwrap(),
    )
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

#[tokio::test]
async fn blobs_belong_to_repositories() {
    let directory = tempfile::tempdir().unwrap();
    let db = database(directory.path()).await;
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

#[tokio::test]
async fn a_manifest_without_its_blobs_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let db = database(directory.path()).await;
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

#[tokio::test]
async fn very_many_references_are_stored_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let db = database(directory.path()).await;
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

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let db = database(directory.path()).await;
    push(&db, "a", b"x").await;
    db.close().await;
    assert!(matches!(
        db.write(Durability::Lazy, |_| Box::pin(async { Ok(()) }))
            .await,
        Err(DbError::Closed)
    ));
    let db = database(directory.path()).await;
    assert!(
        db.blob(&repo("a"), &Digest::sha256(b"x"))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn a_failed_write_undoes_itself_and_not_its_neighbours() {
    let directory = tempfile::tempdir().unwrap();
    let db = database(directory.path()).await;
    let insert = |id: i64, name: &'static str, fail: bool| {
        let db = Arc::clone(&db);
        tokio::spawn(async move {
            db.write(Durability::Durable, move |connection| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO orgs (id, name, created_at) VALUES ($1, $2, 0)")
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
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM orgs ORDER BY name")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    assert_eq!(names, ["a", "c"]);
}

/// Undo records of a large batch must not go to a temporary file, which a
/// confined process cannot open.
#[tokio::test]
async fn large_batches_need_no_temporary_files() {
    let directory = tempfile::tempdir().unwrap();
    let db = database(directory.path()).await;
    let stored = db
        .write(Durability::Lazy, |connection| {
            Box::pin(async move {
                let row = sqlx::query_scalar::<_, i64>("PRAGMA temp_store")
                    .fetch_one(&mut *connection)
                    .await?;
                Ok(row)
            })
        })
        .await
        .unwrap();
    assert_eq!(stored, 2, "2 is MEMORY (sqlite.org/pragma.html)");
    let mut reader = db.read().await.unwrap();
    let stored: i64 = sqlx::query_scalar("PRAGMA temp_store")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    assert_eq!(stored, 2);
}

/// H4: names that are prefixes of others are listed once each, in order, at any page size.
#[tokio::test]
async fn every_name_is_listed_exactly_once() {
    let directory = tempfile::tempdir().unwrap();
    let db = database(directory.path()).await;
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

/// The plan of hot queries must not become a scan.
#[tokio::test]
async fn hot_queries_use_their_indexes() {
    let directory = tempfile::tempdir().unwrap();
    let db = database(directory.path()).await;
    let mut connection = db.read().await.unwrap();
    for query in [
        "SELECT 1 FROM repositories r JOIN tags t ON t.repo_id = r.id AND t.name = 'x' \
         JOIN manifests m ON m.repo_id = r.id AND m.digest = t.digest WHERE r.path = 'y'",
        "SELECT 1 FROM repositories r JOIN repo_blobs l ON l.repo_id = r.id AND l.digest = x'00' \
         JOIN blobs b ON b.digest = l.digest WHERE r.path = 'y'",
        "SELECT 1 FROM repositories r JOIN manifests m ON m.repo_id = r.id \
         AND m.subject_digest = x'00' AND m.id > 0 WHERE r.path = 'y' ORDER BY m.id",
        "SELECT name FROM tags WHERE repo_id = 1 AND name > 'x' ORDER BY name LIMIT 5",
        "SELECT object_key FROM uploads WHERE object_key IN ('x')",
    ] {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
                .fetch_all(&mut *connection)
                .await
                .unwrap();
        for (_, _, _, step) in plan {
            assert!(!step.contains("SCAN"), "{step} in {query}");
            assert!(!step.contains("TEMP B-TREE"), "{step} in {query}");
        }
    }
}

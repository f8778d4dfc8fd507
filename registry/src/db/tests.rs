//! What only the SQLite backend promises.

use std::path::Path;

use super::{query::query, *};
use crate::config::DatabaseUrl;

async fn database(directory: &Path) -> Database {
    Database::open(&DatabaseUrl::Sqlite(directory.join("registry.db")))
        .await
        .unwrap()
}

async fn temp_store(connection: &mut dyn query::Connection) -> Result<i64, DbError> {
    let row = query("PRAGMA temp_store")
        .fetch_optional(connection)
        .await?;
    row.unwrap().get(0)
}

/// Undo records of a large batch must not go to a temporary file, which a
/// confined process cannot open.
#[tokio::test]
async fn large_batches_need_no_temporary_files() {
    let directory = tempfile::tempdir().unwrap();
    let db = database(directory.path()).await;
    let stored = db
        .write(Durability::Lazy, |connection| {
            Box::pin(async move { temp_store(connection).await })
        })
        .await
        .unwrap();
    assert_eq!(stored, 2, "2 is MEMORY (sqlite.org/pragma.html)");
    let mut reader = db.read().await.unwrap();
    assert_eq!(temp_store(&mut *reader).await.unwrap(), 2);
}

/// The plan of hot queries must not become a scan.
#[tokio::test]
async fn hot_queries_use_their_indexes() {
    let directory = tempfile::tempdir().unwrap();
    let db = database(directory.path()).await;
    let mut connection = db.read().await.unwrap();
    for text in [
        "SELECT 1 FROM repositories r JOIN tags t ON t.repo_id = r.id AND t.name = 'x' \
         JOIN manifests m ON m.repo_id = r.id AND m.digest = t.digest WHERE r.path = 'y'",
        "SELECT 1 FROM repositories r JOIN repo_blobs l ON l.repo_id = r.id AND l.digest = x'00' \
         JOIN blobs b ON b.digest = l.digest WHERE r.path = 'y'",
        "SELECT 1 FROM repositories r JOIN manifests m ON m.repo_id = r.id \
         AND m.subject_digest = x'00' AND m.id > 0 WHERE r.path = 'y' ORDER BY m.id",
        "SELECT name FROM tags WHERE repo_id = 1 AND name > 'x' ORDER BY name LIMIT 5",
        "SELECT object_key FROM uploads WHERE object_key IN ('x')",
    ] {
        let plan = query(format!("EXPLAIN QUERY PLAN {text}"))
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        for row in plan {
            let step: &str = row.get(3).unwrap();
            assert!(!step.contains("SCAN"), "{step} in {text}");
            assert!(!step.contains("TEMP B-TREE"), "{step} in {text}");
        }
    }
}

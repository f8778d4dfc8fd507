//! Databases that fail when a test wants them to.

use std::path::Path;

use sqlx::Connection;

/// Makes the end of a build's first run one that cannot be stored.
pub(crate) async fn refuse_first_end(path: &Path) {
    let url = format!("sqlite:{}", path.display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "CREATE TRIGGER refuse BEFORE UPDATE OF state ON builds \
         WHEN NEW.state IN ('succeeded', 'failed') AND NEW.attempt = 1 \
         BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
}

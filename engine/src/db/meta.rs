//! What the engine knows of itself.

use super::Db;

impl Db {
    /// The engine's own id, made at the first start.
    pub(crate) async fn engine_id(&self) -> Result<String, sqlx::Error> {
        let fresh = uuid::Uuid::new_v4().to_string();
        sqlx::query("INSERT INTO meta (key, value) VALUES ('engine_id', ?) ON CONFLICT DO NOTHING")
            .bind(fresh)
            .execute(&self.pool)
            .await?;
        sqlx::query_scalar("SELECT value FROM meta WHERE key = 'engine_id'")
            .fetch_one(&self.pool)
            .await
    }
}

//! Sealed tokens of builds, and the proof of the key that sealed them.

use sqlx::Row;

use super::{Db, DbError};

impl Db {
    /// What the key sealed when it was made; `None` when there is no key yet.
    pub(crate) async fn system_key_proof(&self) -> Result<Option<Vec<u8>>, DbError> {
        let row = sqlx::query("SELECT proof FROM token_key")
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get("proof")).transpose()?)
    }

    /// Replaces the proof; `None` says that no key is the right one.
    pub(crate) async fn system_set_key_proof(&self, proof: Option<&[u8]>) -> Result<(), DbError> {
        let mut tx = self.durable.begin().await?;
        sqlx::query("DELETE FROM token_key")
            .execute(&mut *tx)
            .await?;
        if let Some(proof) = proof {
            sqlx::query("INSERT INTO token_key (id, proof) VALUES (1, ?)")
                .bind(proof)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Builds with the plain tokens that an earlier version stored.
    pub(crate) async fn system_plain_tokens(&self) -> Result<Vec<(String, String)>, DbError> {
        let rows =
            sqlx::query("SELECT id, registry_token FROM builds WHERE registry_token IS NOT NULL")
                .fetch_all(&self.pool)
                .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("id")?, row.try_get("registry_token")?)))
            .collect()
    }

    /// Puts a sealed token in the place of the plain one.
    pub(crate) async fn system_seal_token(&self, id: &str, sealed: &[u8]) -> Result<(), DbError> {
        sqlx::query("UPDATE builds SET sealed_token = ?, registry_token = NULL WHERE id = ?")
            .bind(sealed)
            .bind(id)
            .execute(&self.durable)
            .await?;
        Ok(())
    }

    /// Writes the whole database anew, so that no file holds what was deleted
    /// or overwritten: SQLite leaves old bytes in free pages and in its log.
    pub(crate) async fn system_scrub(&self) -> Result<(), DbError> {
        sqlx::query("VACUUM").execute(&self.durable).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&self.durable)
            .await?;
        Ok(())
    }
}

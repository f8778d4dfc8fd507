//! How the last run of this registry ended.

use super::{
    Database, DbError, Durability,
    query::{Connection, query},
};

/// The only row's id.
const ID: i64 = 1;

impl Database {
    /// Whether power may have been lost since the last run: it did not stop in
    /// order, and was in another boot.
    pub(crate) async fn system_power_was_lost(&self, boot_id: &str) -> Result<bool, DbError> {
        let mut connection = self.read().await?;
        let row = query("SELECT boot_id, stopped_clean FROM instance WHERE id = $1")
            .bind(ID)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = row else { return Ok(false) };
        let last: String = row.get(0)?;
        Ok(row.get::<i64>(1)? == 0 && last != boot_id)
    }

    /// Notes that this boot runs the registry now. Durable before the first commit
    /// that relies on it, and only after what the last run lost was found.
    pub(crate) async fn system_begin_run(&self, boot_id: String) -> Result<(), DbError> {
        self.write(Durability::Durable, move |connection| {
            Box::pin(async move { set(connection, &boot_id, false).await })
        })
        .await
    }

    /// Notes an orderly stop. Durable, and with it every commit before.
    pub(crate) async fn system_end_run(&self, boot_id: String) -> Result<(), DbError> {
        self.write(Durability::Durable, move |connection| {
            Box::pin(async move { set(connection, &boot_id, true).await })
        })
        .await
    }
}

async fn set(
    connection: &mut dyn Connection,
    boot_id: &str,
    stopped_clean: bool,
) -> Result<(), DbError> {
    query(
        "INSERT INTO instance (id, boot_id, stopped_clean) VALUES ($1, $2, $3) \
         ON CONFLICT (id) DO UPDATE SET boot_id = $2, stopped_clean = $3",
    )
    .bind(ID)
    .bind(boot_id)
    .bind(i64::from(stopped_clean))
    .execute(connection)
    .await?;
    Ok(())
}

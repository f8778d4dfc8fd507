//! Users and their refresh tokens.

use super::{Database, DbError, Durability, next_id, now_micros, query::query};

/// Refresh tokens kept per user; the longest unused go first.
const REFRESH_TOKENS_MAX: i64 = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// PHC string.
    pub(crate) password_hash: String,
    pub(crate) role: String,
}

impl Database {
    pub(crate) async fn system_users(&self) -> Result<Vec<UserRow>, DbError> {
        let mut connection = self.read().await?;
        let rows = query("SELECT id, name, password_hash, role FROM users ORDER BY id")
            .fetch_all(&mut *connection)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(UserRow {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    password_hash: row.get(2)?,
                    role: row.get(3)?,
                })
            })
            .collect()
    }

    /// Makes the user or changes its password; a changed password ends its refresh tokens.
    pub(crate) async fn system_set_user(
        &self,
        name: String,
        password_hash: String,
        role: &'static str,
    ) -> Result<(), DbError> {
        self.write(Durability::Durable, move |connection| {
            Box::pin(async move {
                query(
                    "INSERT INTO users (id, name, password_hash, role, created_at, updated_at) \
                     VALUES ($1, $2, $3, $4, $5, $5) \
                     ON CONFLICT (name) DO UPDATE SET password_hash = $3, role = $4, updated_at = $5",
                )
                .bind(next_id())
                .bind(&name)
                .bind(password_hash)
                .bind(role)
                .bind(now_micros())
                .execute(&mut *connection)
                .await?;
                query(
                    "DELETE FROM refresh_tokens \
                     WHERE user_id = (SELECT id FROM users WHERE name = $1)",
                )
                .bind(&name)
                .execute(&mut *connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn create_refresh_token(
        &self,
        hash: Vec<u8>,
        user_id: i64,
        service: String,
        client_id: String,
    ) -> Result<(), DbError> {
        self.write(Durability::Durable, move |connection| {
            Box::pin(async move {
                query(
                    "INSERT INTO refresh_tokens \
                     (hash, user_id, service, client_id, created_at, last_used_at) \
                     VALUES ($1, $2, $3, $4, $5, $5)",
                )
                .bind(hash)
                .bind(user_id)
                .bind(service)
                .bind(client_id)
                .bind(now_micros())
                .execute(&mut *connection)
                .await?;
                query(
                    "DELETE FROM refresh_tokens WHERE user_id = $1 AND hash NOT IN \
                     (SELECT hash FROM refresh_tokens WHERE user_id = $1 \
                      ORDER BY last_used_at DESC LIMIT $2)",
                )
                .bind(user_id)
                .bind(REFRESH_TOKENS_MAX)
                .execute(&mut *connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// The user of a refresh token for `service`; notes that it was used.
    pub(crate) async fn use_refresh_token(
        &self,
        hash: Vec<u8>,
        service: String,
    ) -> Result<Option<i64>, DbError> {
        self.write(Durability::Lazy, move |connection| {
            Box::pin(async move {
                let row = query(
                    "UPDATE refresh_tokens SET last_used_at = $3 \
                     WHERE hash = $1 AND service = $2 RETURNING user_id",
                )
                .bind(hash)
                .bind(service)
                .bind(now_micros())
                .fetch_optional(&mut *connection)
                .await?;
                row.map(|row| row.get(0)).transpose()
            })
        })
        .await
    }
}

//! Rows of `build_events`, and the changes of state that go with them.
//!
//! A change of state and the event that tells of it are one transaction, so a
//! follower that saw the last event never finds the build still running.

use builder_proto::api::{BuildFailure, BuildState, Event};
use sqlx::{Row, SqliteConnection};

use super::{Db, DbError, builds::state_name, from_json, now_ms, to_json};

/// An event with its place in the build's log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredEvent {
    pub(crate) seq: i64,
    pub(crate) event: Event,
}

/// Inserts events within a transaction, and counts their bytes.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    build_id: &str,
    events: &[StoredEvent],
) -> Result<(), DbError> {
    let mut bytes = 0;
    for stored in events {
        let body = to_json(&stored.event);
        bytes += body.len();
        sqlx::query("INSERT INTO build_events (build_id, seq, body) VALUES (?, ?, ?)")
            .bind(build_id)
            .bind(stored.seq)
            .bind(body)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("UPDATE builds SET log_bytes = log_bytes + ? WHERE id = ?")
        .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
        .bind(build_id)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

impl Db {
    /// Appends a batch in one transaction.
    pub(crate) async fn system_append_events(
        &self,
        build_id: &str,
        events: &[StoredEvent],
    ) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        insert(&mut tx, build_id, events).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Events after `after`, at most `limit`, in order.
    pub(crate) async fn system_events(
        &self,
        build_id: &str,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, DbError> {
        let rows = sqlx::query(
            "SELECT seq, body FROM build_events WHERE build_id = ? AND seq > ? ORDER BY seq LIMIT ?",
        )
        .bind(build_id)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(StoredEvent {
                    seq: row.try_get("seq")?,
                    event: from_json("build_events.body", row.try_get("body")?)?,
                })
            })
            .collect()
    }

    /// The last sequence number in use; 0 when the build has no events.
    pub(crate) async fn system_last_seq(&self, build_id: &str) -> Result<i64, DbError> {
        let row = sqlx::query(
            "SELECT coalesce(max(seq), 0) AS last FROM build_events WHERE build_id = ?",
        )
        .bind(build_id)
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get("last")?)
    }

    /// Moves a build from `from` to `to` and appends `events`, durably and in
    /// one transaction. False, and nothing written, when it was not in `from`.
    pub(crate) async fn system_transition(
        &self,
        build_id: &str,
        from: BuildState,
        to: BuildState,
        digest: Option<&str>,
        error: Option<&BuildFailure>,
        events: &[StoredEvent],
    ) -> Result<bool, DbError> {
        let mut tx = self.durable.begin().await?;
        let ended = to.is_ended();
        let done = sqlx::query(
            "UPDATE builds SET state = ?, digest = ?, error = ?, ended_at = ?, \
             sealed_token = CASE WHEN ? THEN NULL ELSE sealed_token END \
             WHERE id = ? AND state = ?",
        )
        .bind(state_name(to))
        .bind(digest)
        .bind(error.map(to_json))
        .bind(ended.then(now_ms))
        .bind(ended)
        .bind(build_id)
        .bind(state_name(from))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        insert(&mut tx, build_id, events).await?;
        tx.commit().await?;
        Ok(true)
    }
}

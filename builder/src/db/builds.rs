//! Rows of `builds`: the durable queue and the history.
//!
//! Every change of state names the state it starts from, so two writers
//! cannot both make one.

use builder_proto::api::{BuildFailure, BuildOptions, BuildState, Event};
use sqlx::{Row, sqlite::SqliteRow};

use super::{
    Db, DbError,
    events::{StoredEvent, insert},
    from_json, now_ms, to_json,
};

/// A build as stored.
#[derive(Clone, Debug)]
pub(crate) struct BuildRow {
    pub(crate) id: String,
    pub(crate) state: BuildState,
    pub(crate) options: BuildOptions,
    pub(crate) created_by: String,
    /// Bearer token, as the token key sealed it.
    pub(crate) sealed_token: Option<Vec<u8>>,
    pub(crate) created_at: i64,
    pub(crate) started_at: Option<i64>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) attempt: i64,
    pub(crate) cancel_requested: bool,
    pub(crate) digest: Option<String>,
    pub(crate) error: Option<BuildFailure>,
}

/// A build about to be queued.
#[derive(Debug)]
pub(crate) struct NewBuild<'a> {
    pub(crate) id: &'a str,
    pub(crate) options: &'a BuildOptions,
    pub(crate) created_by: &'a str,
    pub(crate) sealed_token: Option<&'a [u8]>,
}

pub(crate) fn state_name(state: BuildState) -> &'static str {
    match state {
        BuildState::Queued => "queued",
        BuildState::Running => "running",
        BuildState::Succeeded => "succeeded",
        BuildState::Failed => "failed",
        BuildState::Cancelled => "cancelled",
    }
}

fn state_of(text: &str) -> Result<BuildState, DbError> {
    Ok(match text {
        "queued" => BuildState::Queued,
        "running" => BuildState::Running,
        "succeeded" => BuildState::Succeeded,
        "failed" => BuildState::Failed,
        "cancelled" => BuildState::Cancelled,
        _ => {
            return Err(DbError::Corrupt {
                column: "builds.state",
                value: text.to_owned(),
            });
        }
    })
}

fn read(row: &SqliteRow) -> Result<BuildRow, DbError> {
    let error: Option<String> = row.try_get("error")?;
    Ok(BuildRow {
        id: row.try_get("id")?,
        state: state_of(row.try_get("state")?)?,
        options: from_json("builds.options", row.try_get("options")?)?,
        created_by: row.try_get("created_by")?,
        sealed_token: row.try_get("sealed_token")?,
        created_at: row.try_get("created_at")?,
        started_at: row.try_get("started_at")?,
        ended_at: row.try_get("ended_at")?,
        attempt: row.try_get("attempt")?,
        cancel_requested: row.try_get::<i64, _>("cancel_requested")? != 0,
        digest: row.try_get("digest")?,
        error: error
            .map(|text| from_json("builds.error", &text))
            .transpose()?,
    })
}

impl Db {
    /// Inserts a queued build and its first event, unless `queued_max` builds
    /// already wait. Durable when it returns.
    pub(crate) async fn system_enqueue(
        &self,
        build: &NewBuild<'_>,
        queued_max: i64,
    ) -> Result<bool, DbError> {
        let mut tx = self.durable.begin().await?;
        let done = sqlx::query(
            "INSERT INTO builds (id, state, options, created_by, sealed_token, created_at) \
             SELECT ?, 'queued', ?, ?, ?, ? \
             WHERE (SELECT count(*) FROM builds WHERE state = 'queued') < ?",
        )
        .bind(build.id)
        .bind(to_json(build.options))
        .bind(build.created_by)
        .bind(build.sealed_token)
        .bind(now_ms())
        .bind(queued_max)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let first = StoredEvent {
            seq: 1,
            event: Event::State {
                state: BuildState::Queued,
                digest: None,
                error: None,
            },
        };
        insert(&mut tx, build.id, &[first]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Takes the oldest queued build into the state `to`.
    pub(crate) async fn system_claim(&self, to: BuildState) -> Result<Option<BuildRow>, DbError> {
        let row = sqlx::query(
            "UPDATE builds SET state = ?, started_at = ?, attempt = attempt + 1 \
             WHERE id = (SELECT id FROM builds WHERE state = 'queued' \
                         ORDER BY created_at, id LIMIT 1) \
               AND state = 'queued' RETURNING *",
        )
        .bind(state_name(to))
        .bind(now_ms())
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(read).transpose()
    }

    pub(crate) async fn system_build(&self, id: &str) -> Result<Option<BuildRow>, DbError> {
        let row = sqlx::query("SELECT * FROM builds WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The newest builds first.
    pub(crate) async fn system_builds(&self, limit: i64) -> Result<Vec<BuildRow>, DbError> {
        let rows = sqlx::query("SELECT * FROM builds ORDER BY created_at DESC, id DESC LIMIT ?")
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Builds that a worker held when the process ended.
    pub(crate) async fn system_running(&self) -> Result<Vec<BuildRow>, DbError> {
        let rows = sqlx::query("SELECT * FROM builds WHERE state = 'running'")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Identifiers of builds that still need their context.
    pub(crate) async fn system_unended(&self) -> Result<Vec<String>, DbError> {
        let rows = sqlx::query("SELECT id FROM builds WHERE state IN ('queued', 'running')")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// Notes that someone wants the build cancelled; kept over a restart.
    pub(crate) async fn system_request_cancel(&self, id: &str) -> Result<(), DbError> {
        sqlx::query(
            "UPDATE builds SET cancel_requested = 1 WHERE id = ? AND state IN ('queued', 'running')",
        )
        .bind(id)
        .execute(&self.durable)
        .await?;
        Ok(())
    }

    pub(crate) async fn system_count(&self, state: BuildState) -> Result<i64, DbError> {
        let row = sqlx::query("SELECT count(*) AS n FROM builds WHERE state = ?")
            .bind(state_name(state))
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get("n")?)
    }
}

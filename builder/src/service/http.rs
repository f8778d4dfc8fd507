//! The build API: routes, and the answers of each.
//!
//! Served on a unix socket only. The front authenticates callers and forwards
//! their requests with `carrack-caller` and, to push in their name,
//! `carrack-registry-token`; without these headers the caller is local.

use std::convert::Infallible;

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{KeepAlive, Sse},
    },
    routing::{get, post},
};
use builder_proto::api::{Build, Event};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::Deserialize;

use super::{Builder, NewRequest, error::ApiError, follow, options, transcript::Transcript};
use crate::db::{BuildRow, StoredEvent};

/// Builds that one page of the list holds when the query does not say.
const LIST_DEFAULT: i64 = 50;
const LIST_MAX: i64 = 1000;

pub(crate) fn router(builder: Builder) -> Router {
    Router::new()
        .route("/api/v1/builds", post(create).get(list))
        .route("/api/v1/builds/{id}", get(show))
        .route("/api/v1/builds/{id}/events", get(events))
        .route("/api/v1/builds/{id}/log", get(log))
        .route("/api/v1/builds/{id}/cancel", post(cancel))
        .fallback(|| async { ApiError::NoSuchPath })
        .method_not_allowed_fallback(|| async { ApiError::NoSuchMethod })
        // The context store counts the bytes itself and knows a better error.
        .layer(DefaultBodyLimit::disable())
        .with_state(builder)
}

async fn create(
    State(builder): State<Builder>,
    query: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Query(pairs) = query.map_err(|error| ApiError::InvalidArgument(error.body_text()))?;
    let length = match headers.get(header::CONTENT_LENGTH) {
        None => None,
        Some(value) => Some(
            value
                .to_str()
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| {
                    ApiError::InvalidArgument("content-length is not a number".to_owned())
                })?,
        ),
    };
    let request = NewRequest {
        options: options::from_query(pairs)?,
        caller: text(&headers, "carrack-caller")?.unwrap_or_else(|| "local".to_owned()),
        registry_token: text(&headers, "carrack-registry-token")?,
        length,
    };
    let row = builder.create(request, body).await?;
    let location = HeaderValue::from_str(&format!("/api/v1/builds/{}", row.id))
        .expect("build ids are hexadecimal");
    let mut response = (StatusCode::ACCEPTED, Json(shown(row))).into_response();
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>, ApiError> {
    match headers.get(name) {
        None => Ok(None),
        Some(value) => match value.to_str() {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(ApiError::InvalidArgument(format!(
                "header {name} is not plain text"
            ))),
        },
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<i64>,
}

async fn list(
    State(builder): State<Builder>,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<Build>>, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::InvalidArgument(error.body_text()))?;
    let limit = query.limit.unwrap_or(LIST_DEFAULT);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(ApiError::InvalidArgument(format!(
            "query parameter \"limit\" must be 1 to {LIST_MAX}"
        )));
    }
    let rows = builder.db().system_builds(limit).await?;
    Ok(Json(rows.into_iter().map(shown).collect()))
}

async fn show(
    State(builder): State<Builder>,
    Path(id): Path<String>,
) -> Result<Json<Build>, ApiError> {
    builder.row(&id).await.map(shown).map(Json)
}

async fn cancel(
    State(builder): State<Builder>,
    Path(id): Path<String>,
) -> Result<Json<Build>, ApiError> {
    builder.cancel(&id).await.map(shown).map(Json)
}

async fn events(
    State(builder): State<Builder>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<axum::response::sse::Event, Infallible>>>, ApiError> {
    builder.row(&id).await?;
    let after = match text(&headers, "last-event-id")? {
        None => 0,
        Some(text) => text.parse().ok().filter(|seq| *seq >= 0).ok_or_else(|| {
            ApiError::InvalidArgument("header last-event-id is not a number".to_owned())
        })?,
    };
    let stream = follow::events(builder, id, after).map(|stored| Ok(server_sent(&stored)));
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

fn server_sent(stored: &StoredEvent) -> axum::response::sse::Event {
    let kind = match stored.event {
        Event::State { .. } => "state",
        Event::Step { .. } => "step",
        Event::Log { .. } => "log",
        Event::Progress { .. } => "progress",
        Event::Warning { .. } => "warning",
    };
    let data = serde_json::to_string(&stored.event)
        .expect("events have string keys only, so they serialise");
    axum::response::sse::Event::default()
        .id(stored.seq.to_string())
        .event(kind)
        .data(data)
}

async fn log(State(builder): State<Builder>, Path(id): Path<String>) -> Result<Response, ApiError> {
    builder.row(&id).await?;
    let mut transcript = Transcript::default();
    let text = follow::events(builder, id, 0)
        .map(move |stored| Ok::<_, Infallible>(Bytes::from(transcript.render(&stored.event))));
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((headers, Body::from_stream(text)).into_response())
}

/// A row as the API shows it.
fn shown(row: BuildRow) -> Build {
    Build {
        id: row.id,
        state: row.state,
        options: row.options,
        created_at: rfc3339(row.created_at),
        started_at: row.started_at.map(rfc3339),
        ended_at: row.ended_at.map(rfc3339),
        digest: row.digest,
        error: row.error,
        created_by: row.created_by,
    }
}

fn rfc3339(milliseconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000)
        .ok()
        .and_then(|at| {
            at.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_default()
}

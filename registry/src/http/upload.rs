//! Upload sessions over HTTP.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{
    HeaderName, StatusCode,
    header::{CONTENT_RANGE, LOCATION, RANGE},
    request::Parts,
};
use oci::{Algorithm, Digest, Repository};
use uuid::Uuid;

use super::{CONTENT_DIGEST, content_length, empty, query::Query, range};
use crate::{
    auth::{Caller, Readable},
    endpoint::Action,
    error::ApiError,
    service::Service,
    usecase::{self, Chunk, Finish},
};

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// POST: mounts, takes a whole blob, or begins a session.
pub(super) async fn start(
    service: &Arc<Service>,
    parts: &Parts,
    body: Body,
    caller: &Caller,
    repo: Repository,
) -> Result<Response, ApiError> {
    let query = Query::of(parts);
    if let Some(text) = query.get("mount") {
        let digest = parse_digest(text)?;
        if mount(service, caller, &repo, digest, query.get("from")).await? {
            return Ok(created(&repo, &digest));
        }
    } else if let Some(text) = query.get("digest") {
        let digest = parse_digest(text)?;
        let chunk = chunk(parts, body)?;
        usecase::single(service, repo.clone(), digest, chunk, may_know(caller)).await?;
        return Ok(created(&repo, &digest));
    }
    let algorithm = match query.get("digest-algorithm") {
        None | Some("sha256") => Algorithm::Sha256,
        Some("sha512") => Algorithm::Sha512,
        Some(other) => {
            let other: String = other.chars().take(32).collect();
            return Err(ApiError::bad(
                "DIGEST_INVALID",
                format!("digest algorithm {other:?} is not supported: use sha256 or sha512"),
            ));
        }
    };
    let owner = caller.name().to_owned();
    let id = usecase::start(service, repo.clone(), owner.clone(), algorithm).await?;
    Ok(accepted(&Finish { repo, owner, id }, 0))
}

/// The repository that a mount takes its blob from, when the query names one.
pub(super) fn mount_source(query: &Query) -> Option<Repository> {
    query.get("mount")?;
    Repository::parse(query.get("from")?).ok()
}

/// GET: how far the session is.
pub(super) async fn status(
    service: &Arc<Service>,
    caller: &Caller,
    repo: Repository,
    id: Uuid,
) -> Result<Response, ApiError> {
    let session = session(caller, repo, id);
    let offset = usecase::status(service, &session).await?;
    let mut response = accepted(&session, offset);
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// PATCH: appends.
pub(super) async fn patch(
    service: &Arc<Service>,
    parts: &Parts,
    body: Body,
    caller: &Caller,
    repo: Repository,
    id: Uuid,
) -> Result<Response, ApiError> {
    let session = session(caller, repo, id);
    let chunk = chunk(parts, body)?;
    let offset = usecase::append(service, session.clone(), chunk).await?;
    Ok(accepted(&session, offset))
}

/// PUT: appends the rest and commits.
pub(super) async fn finish(
    service: &Arc<Service>,
    parts: &Parts,
    body: Body,
    caller: &Caller,
    repo: Repository,
    id: Uuid,
) -> Result<Response, ApiError> {
    let query = Query::of(parts);
    let digest = parse_digest(query.get("digest").ok_or_else(|| {
        ApiError::bad(
            "DIGEST_INVALID",
            "the query must have digest=<algorithm>:<hex>",
        )
    })?)?;
    let session = session(caller, repo, id);
    let chunk = chunk(parts, body)?;
    usecase::finish(service, session.clone(), digest, chunk, may_know(caller)).await?;
    Ok(created(&session.repo, &digest))
}

/// DELETE: cancels.
pub(super) async fn cancel(
    service: &Arc<Service>,
    caller: &Caller,
    repo: Repository,
    id: Uuid,
) -> Result<Response, ApiError> {
    usecase::cancel(service, &session(caller, repo, id)).await?;
    Ok(empty(StatusCode::NO_CONTENT, &[]))
}

/// Links a blob that the caller may read elsewhere. A refusal looks like absence:
/// the caller is told to upload.
async fn mount(
    service: &Arc<Service>,
    caller: &Caller,
    repo: &Repository,
    digest: Digest,
    from: Option<&str>,
) -> Result<bool, ApiError> {
    let sources = match from {
        None => match caller.readable() {
            Readable::All => None,
            Readable::Only(repos) => Some(repos),
        },
        Some(from) => {
            let Ok(from) = Repository::parse(from) else {
                return Ok(false);
            };
            let readable =
                caller.may(&from, Action::Pull) || super::is_public(service, &from).await?;
            Some(Vec::from_iter(readable.then_some(from)))
        }
    };
    if sources.as_ref().is_some_and(Vec::is_empty) {
        return Ok(false);
    }
    Ok(service.db.mount_blob(repo.clone(), digest, sources).await?)
}

/// Whether a quicker answer may tell the caller that a blob was there already.
fn may_know(caller: &Caller) -> bool {
    caller.readable() == Readable::All
}

fn session(caller: &Caller, repo: Repository, id: Uuid) -> Finish {
    Finish {
        repo,
        owner: caller.name().to_owned(),
        id,
    }
}

fn chunk(parts: &Parts, body: Body) -> Result<Chunk, ApiError> {
    let range = parts
        .headers
        .get(CONTENT_RANGE)
        .map(|value| {
            value
                .to_str()
                .ok()
                .and_then(range::content_range)
                .ok_or_else(|| {
                    ApiError::new(
                        StatusCode::RANGE_NOT_SATISFIABLE,
                        "RANGE_INVALID",
                        "Content-Range must be <first byte>-<last byte>",
                    )
                })
        })
        .transpose()?;
    Ok(Chunk {
        body,
        range,
        length: content_length(&parts.headers),
    })
}

fn parse_digest(text: &str) -> Result<Digest, ApiError> {
    text.parse()
        .map_err(|error: oci::DigestError| ApiError::bad("DIGEST_INVALID", error.to_string()))
}

fn created(repo: &Repository, digest: &Digest) -> Response {
    empty(
        StatusCode::CREATED,
        &[
            (LOCATION, format!("/v2/{repo}/blobs/{digest}")),
            (CONTENT_DIGEST, digest.to_string()),
        ],
    )
}

fn accepted(session: &Finish, offset_bytes: u64) -> Response {
    empty(
        StatusCode::ACCEPTED,
        &[
            (LOCATION, usecase::location(session)),
            (RANGE, usecase::range_header(offset_bytes)),
            (UPLOAD_UUID, session.id.to_string()),
        ],
    )
}

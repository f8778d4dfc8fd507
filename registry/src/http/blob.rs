//! Blobs out, and out of a repository.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{
    StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE,
        RANGE,
    },
    request::Parts,
};
use oci::{Digest, Repository};

use super::{
    CONTENT_DIGEST, empty,
    manifest::is_unchanged,
    range::{Wanted, wanted},
};
use crate::{
    content::BlobBody,
    db::{BlobLocation, BlobRow},
    error::ApiError,
    service::Service,
    usecase::blocking,
};

/// A digest names its bytes for ever; `private` because access may be.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

pub(super) async fn get(
    service: &Arc<Service>,
    parts: &Parts,
    repo: &Repository,
    digest: &Digest,
) -> Result<Response, ApiError> {
    let blob = find(service, repo, digest).await?;
    let tag = format!("\"{digest}\"");
    if is_unchanged(parts, &tag) {
        return Ok(empty(StatusCode::NOT_MODIFIED, &[(ETAG, tag)]));
    }
    let header = |name| parts.headers.get(name).and_then(|v| v.to_str().ok());
    let ranged = header(IF_RANGE).is_none_or(|condition| condition == tag);
    let size = blob.size_bytes;
    let (status, part) = match wanted(header(RANGE).filter(|_| ranged), size) {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Wanted::Outside => {
            return Err(ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "RANGE_INVALID",
                format!("the blob has {size} bytes and none of them is in this range"),
            )
            .with_header(CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let mut headers = described(digest, part.end - part.start);
    headers.extend([
        (ETAG, tag),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CACHE_CONTROL, FOR_EVER.to_owned()),
    ]);
    if status == StatusCode::PARTIAL_CONTENT {
        let last = part.end - 1;
        headers.push((CONTENT_RANGE, format!("bytes {}-{last}/{size}", part.start)));
    }
    let mut response = empty(status, &headers);
    *response.body_mut() = body(service, blob, part).await?;
    Ok(response)
}

pub(super) async fn head(
    service: &Arc<Service>,
    repo: &Repository,
    digest: &Digest,
) -> Result<Response, ApiError> {
    let blob = find(service, repo, digest).await?;
    let mut headers = described(digest, blob.size_bytes);
    headers.extend([
        (ETAG, format!("\"{digest}\"")),
        (ACCEPT_RANGES, "bytes".to_owned()),
    ]);
    Ok(empty(StatusCode::OK, &headers))
}

pub(super) async fn delete(
    service: &Arc<Service>,
    repo: Repository,
    digest: Digest,
) -> Result<Response, ApiError> {
    match service.db.unlink_blob(repo, digest).await? {
        true => Ok(empty(StatusCode::ACCEPTED, &[])),
        false => Err(unknown(&digest)),
    }
}

async fn find(
    service: &Arc<Service>,
    repo: &Repository,
    digest: &Digest,
) -> Result<BlobRow, ApiError> {
    service
        .db
        .blob(repo, digest)
        .await?
        .ok_or_else(|| unknown(digest))
}

fn unknown(digest: &Digest) -> ApiError {
    ApiError::not_found(
        "BLOB_UNKNOWN",
        format!("blob {digest} is not in this repository: push it, or mount it from another"),
    )
}

fn described(digest: &Digest, length: u64) -> Vec<(http::HeaderName, String)> {
    vec![
        (CONTENT_LENGTH, length.to_string()),
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_DIGEST, digest.to_string()),
    ]
}

async fn body(
    service: &Arc<Service>,
    blob: BlobRow,
    part: std::ops::Range<u64>,
) -> Result<Body, ApiError> {
    match blob.location {
        BlobLocation::Row(payload) => {
            let at = |offset: u64| usize::try_from(offset).unwrap_or(payload.len());
            let (start, end) = (at(part.start), at(part.end));
            service.metrics.sent_bytes.inc_by(part.end - part.start);
            Ok(Bytes::from(payload).slice(start..end).into())
        }
        BlobLocation::Object(key) => {
            let reader = blocking(service, move |store| store.open(&key)).await?;
            let sent = service.metrics.sent_bytes.clone();
            Ok(Body::new(BlobBody::new(reader, part, sent)))
        }
    }
}

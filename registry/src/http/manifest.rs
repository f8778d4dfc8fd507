//! Manifests in and out.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{
    HeaderName, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION},
    request::Parts,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use oci::{MANIFEST_BYTES_MAX, MediaType, Repository, Tag};

use super::{CONTENT_DIGEST, content_length, empty, query::Query};
use crate::{
    auth::Caller,
    content::BodyFailure,
    db::ManifestRow,
    endpoint::ManifestKey,
    error::ApiError,
    service::Service,
    usecase::{self, PutManifest, Stored},
};

/// Tags that one request may set.
const TAGS_MAX: usize = 100;
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// Answers GET and HEAD; hyper leaves the body of HEAD out.
pub(super) async fn get(
    service: &Arc<Service>,
    parts: &Parts,
    repo: &Repository,
    key: &ManifestKey,
) -> Result<Response, ApiError> {
    let found = match key {
        ManifestKey::Tag(tag) => service.db.manifest_by_tag(repo, tag).await?,
        ManifestKey::Digest(digest) => service.db.manifest_by_digest(repo, digest).await?,
    };
    let found = found.ok_or_else(|| unknown(repo, key))?;
    let ManifestRow {
        digest,
        media_type,
        payload,
    } = found.as_ref();
    let tag = format!("\"{digest}\"");
    let headers = [
        (ETAG, tag.clone()),
        (CONTENT_DIGEST, digest.to_string()),
        (CONTENT_TYPE, media_type.clone()),
        (CONTENT_LENGTH, payload.len().to_string()),
    ];
    if is_unchanged(parts, &tag) {
        return Ok(empty(StatusCode::NOT_MODIFIED, &headers[..2]));
    }
    let mut response = empty(StatusCode::OK, &headers);
    if parts.method == http::Method::GET {
        service.metrics.sent_bytes.inc_by(payload.len() as u64);
        *response.body_mut() = payload.clone().into();
    }
    Ok(response)
}

pub(super) async fn put(
    service: &Arc<Service>,
    parts: &Parts,
    body: Body,
    caller: &Caller,
    repo: Repository,
    key: ManifestKey,
) -> Result<Response, ApiError> {
    let tags = tags(&Query::of(parts))?;
    if content_length(&parts.headers).is_some_and(|length| length > MANIFEST_BYTES_MAX as u64) {
        return Err(usecase::too_large());
    }
    let bytes = read(body).await?;
    service.metrics.received_bytes.inc_by(bytes.len() as u64);
    let content_type = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(MediaType::from_header);
    let put = PutManifest {
        repo: repo.clone(),
        key,
        tags: tags.clone(),
        content_type,
        bytes,
        actor: caller.name().to_owned(),
    };
    let Stored { digest, subject } = usecase::put_manifest(service, put).await?;
    let mut headers = vec![
        (LOCATION, format!("/v2/{repo}/manifests/{digest}")),
        (CONTENT_DIGEST, digest.to_string()),
    ];
    headers.extend(subject.map(|subject| (OCI_SUBJECT, subject.to_string())));
    headers.extend(tags.iter().map(|tag| (OCI_TAG, tag.to_string())));
    Ok(empty(StatusCode::CREATED, &headers))
}

pub(super) async fn delete(
    service: &Arc<Service>,
    caller: &Caller,
    repo: Repository,
    key: ManifestKey,
) -> Result<Response, ApiError> {
    let actor = caller.name().to_owned();
    let deleted = match key.clone() {
        ManifestKey::Tag(tag) => service.db.delete_tag(repo.clone(), tag, actor).await?,
        ManifestKey::Digest(digest) => {
            service
                .db
                .delete_manifest(repo.clone(), digest, actor)
                .await?
        }
    };
    match deleted {
        true => Ok(empty(StatusCode::ACCEPTED, &[])),
        false => Err(unknown(&repo, &key)),
    }
}

fn unknown(repo: &Repository, key: &ManifestKey) -> ApiError {
    let what = match key {
        ManifestKey::Tag(tag) => format!("tag {tag}"),
        ManifestKey::Digest(digest) => format!("digest {digest}"),
    };
    ApiError::not_found(
        "MANIFEST_UNKNOWN",
        format!("repository {repo} has no {what}"),
    )
}

fn tags(query: &Query) -> Result<Vec<Tag>, ApiError> {
    let tags: Vec<Tag> = query
        .all("tag")
        .take(TAGS_MAX + 1)
        .map(Tag::parse)
        .collect::<Result<_, _>>()
        .map_err(|error| ApiError::bad("TAG_INVALID", error.to_string()))?;
    match tags.len() > TAGS_MAX {
        true => Err(ApiError::new(
            StatusCode::URI_TOO_LONG,
            "TAG_INVALID",
            format!("one request may set {TAGS_MAX} tags: send the others in further requests"),
        )),
        false => Ok(tags),
    }
}

async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    let limited = Limited::new(body, MANIFEST_BYTES_MAX);
    match limited.collect().await {
        Ok(collected) => Ok(collected.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(usecase::too_large()),
        Err(_) => Err(BodyFailure::Broken.into()),
    }
}

/// Whether the client says that it has these bytes (RFC 9110 section 13.1.2).
pub(super) fn is_unchanged(parts: &Parts, tag: &str) -> bool {
    parts
        .headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == "*" || value == tag)
}

//! Lists: tags, repositories, referrers.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{
    HeaderName, HeaderValue,
    header::{CONTENT_TYPE, LINK},
    request::Parts,
};
use oci::{Digest, MediaType, Repository};
use serde_json::{Value, json};

use super::query::Query;
use crate::{
    db::{Page, ReferrerRow},
    error::ApiError,
    service::Service,
};

/// Referrers on one page.
const REFERRERS_MAX: usize = 500;
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

pub(super) async fn tags(
    service: &Arc<Service>,
    parts: &Parts,
    repo: &Repository,
) -> Result<Response, ApiError> {
    let page = Query::of(parts).page()?;
    let names = service
        .db
        .tag_names(repo, &one_more(&page))
        .await?
        .ok_or_else(|| {
            ApiError::not_found("NAME_UNKNOWN", format!("repository {repo} does not exist"))
        })?;
    let (names, link) = cut(names, &page, &format!("/v2/{repo}/tags/list"));
    Ok(linked(json!({ "name": repo, "tags": names }), link))
}

pub(super) async fn catalog(service: &Arc<Service>, parts: &Parts) -> Result<Response, ApiError> {
    let page = Query::of(parts).page()?;
    let names = service.db.repository_names(&one_more(&page)).await?;
    let (names, link) = cut(names, &page, "/v2/_catalog");
    Ok(linked(json!({ "repositories": names }), link))
}

pub(super) async fn referrers(
    service: &Arc<Service>,
    parts: &Parts,
    repo: &Repository,
    subject: &Digest,
) -> Result<Response, ApiError> {
    let query = Query::of(parts);
    let filter = query.get("artifactType");
    let after = query
        .get("after")
        .map_or(Ok(0), str::parse)
        .map_err(|_| ApiError::bad("UNSUPPORTED", "after comes from the Link of the last page"))?;
    let limit = REFERRERS_MAX as i64 + 1;
    let mut rows = service
        .db
        .referrers(repo, subject, filter, after, limit)
        .await?;
    let more = rows.len() > REFERRERS_MAX;
    rows.truncate(REFERRERS_MAX);
    let link = rows.last().filter(|_| more).map(|last| {
        let mut next = form_urlencoded::Serializer::new(String::new());
        next.append_pair("after", &last.id.to_string());
        next.extend_pairs(filter.map(|filter| ("artifactType", filter)));
        format!(
            "</v2/{repo}/referrers/{subject}?{}>; rel=\"next\"",
            next.finish()
        )
    });
    let body = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": rows.into_iter().map(descriptor).collect::<Vec<_>>(),
    });
    let mut response = linked(body, link);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(MediaType::OCI_INDEX));
    if filter.is_some() {
        response
            .headers_mut()
            .insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    Ok(response)
}

fn descriptor(row: ReferrerRow) -> Value {
    let mut descriptor = json!({
        "mediaType": row.media_type,
        "digest": row.digest,
        "size": row.size_bytes,
    });
    if let Some(artifact_type) = row.artifact_type {
        descriptor["artifactType"] = artifact_type.into();
    }
    if let Some(annotations) = row
        .annotations
        .and_then(|text| serde_json::from_str::<Value>(&text).ok())
    {
        descriptor["annotations"] = annotations;
    }
    descriptor
}

/// One more than the page holds, to see whether another follows.
fn one_more(page: &Page) -> Page {
    Page {
        last: page.last.clone(),
        limit: if page.limit == 0 { 0 } else { page.limit + 1 },
    }
}

/// The page's names, and the `Link` to the next when there is one.
fn cut(mut names: Vec<String>, page: &Page, path: &str) -> (Vec<String>, Option<String>) {
    let limit = usize::try_from(page.limit).unwrap_or(0);
    let more = names.len() > limit;
    names.truncate(limit);
    let link = names.last().filter(|_| more).map(|last| {
        let next = form_urlencoded::Serializer::new(String::new())
            .append_pair("last", last)
            .append_pair("n", &page.limit.to_string())
            .finish();
        format!("<{path}?{next}>; rel=\"next\"")
    });
    (names, link)
}

fn linked(body: Value, link: Option<String>) -> Response {
    let mut response = axum::Json(body).into_response();
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(LINK, link);
    }
    response
}

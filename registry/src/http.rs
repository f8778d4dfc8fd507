//! HTTP: requests become endpoints, callers and use cases; results become answers.

mod blob;
mod list;
mod manifest;
mod query;
mod range;
mod token;
mod upload;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, HOST},
    request::Parts,
};
use oci::Repository;

use self::query::Query;
use crate::{
    auth::{AuthError, Caller, SERVICE},
    db::Visibility,
    endpoint::{Action, Endpoint, Need},
    error::ApiError,
    service::Service,
};

/// Says which API this is; Docker clients look for it.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Everything the registry answers.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/auth/token", get(token::get).post(token::post))
        .route("/v2", any(distribution))
        .route("/v2/", any(distribution))
        // Names contain slashes: the endpoint parser takes the path apart.
        .route("/v2/{*path}", any(distribution))
        // Blobs have no size limit; manifests and forms have their own.
        .layer(DefaultBodyLimit::disable())
        .with_state(service)
}

async fn distribution(State(service): State<Arc<Service>>, request: Request) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let endpoint = Endpoint::parse(&parts.method, parts.uri.path());
    let name = endpoint.as_ref().map_or("none", Endpoint::name);
    let result = match endpoint {
        Ok(endpoint) => answer(&service, endpoint, &parts, body).await,
        Err(error) => Err(error.into()),
    };
    let mut response = result.unwrap_or_else(IntoResponse::into_response);
    response
        .headers_mut()
        .insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    let seconds = started.elapsed().as_secs_f64();
    service
        .metrics
        .record(name, response.status().as_u16(), seconds);
    response
}

/// Authenticates, asks policy, runs the endpoint.
async fn answer(
    service: &Arc<Service>,
    endpoint: Endpoint,
    parts: &Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let headers = &parts.headers;
    let caller = match service.auth.caller(headers).await {
        Ok(caller) => caller,
        Err(error) => {
            let scope = scope(&endpoint, parts);
            return Err(refused(service, headers, scope.as_deref(), error));
        }
    };
    authorize(service, &caller, &endpoint, parts).await?;
    match endpoint {
        Endpoint::Ping => Ok(axum::Json(serde_json::json!({})).into_response()),
        Endpoint::Catalog => list::catalog(service, parts).await,
        Endpoint::BlobGet(repo, digest) => blob::get(service, parts, &repo, &digest).await,
        Endpoint::BlobHead(repo, digest) => blob::head(service, &repo, &digest).await,
        Endpoint::BlobDelete(repo, digest) => blob::delete(service, repo, digest).await,
        Endpoint::ManifestGet(repo, key) | Endpoint::ManifestHead(repo, key) => {
            manifest::get(service, parts, &repo, &key).await
        }
        Endpoint::ManifestPut(repo, key) => {
            manifest::put(service, parts, body, &caller, repo, key).await
        }
        Endpoint::ManifestDelete(repo, key) => manifest::delete(service, &caller, repo, key).await,
        Endpoint::UploadStart(repo) => upload::start(service, parts, body, &caller, repo).await,
        Endpoint::UploadStatus(repo, id) => upload::status(service, &caller, repo, id).await,
        Endpoint::UploadPatch(repo, id) => {
            upload::patch(service, parts, body, &caller, repo, id).await
        }
        Endpoint::UploadFinish(repo, id) => {
            upload::finish(service, parts, body, &caller, repo, id).await
        }
        Endpoint::UploadCancel(repo, id) => upload::cancel(service, &caller, repo, id).await,
        Endpoint::TagsList(repo) => list::tags(service, parts, &repo).await,
        Endpoint::Referrers(repo, digest) => list::referrers(service, parts, &repo, &digest).await,
    }
}

/// Turns failed authentication into an answer that lets the client try again.
pub(crate) fn refused(
    service: &Service,
    headers: &HeaderMap,
    scope: Option<&str>,
    error: AuthError,
) -> ApiError {
    let message = error.to_string();
    match error {
        AuthError::BadCredentials => {
            ApiError::unauthorized(message, &challenge(service, headers, scope, None))
        }
        AuthError::BadToken(_) | AuthError::BadHeader => ApiError::unauthorized(
            message,
            &challenge(service, headers, scope, Some("invalid_token")),
        ),
        AuthError::HeaderTooLarge => ApiError::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "UNAUTHORIZED",
            message,
        ),
        AuthError::Busy => ApiError::busy(message),
        AuthError::Database(error) => error.into(),
    }
}

/// Lets pass, or says 401 when another token could help and 403 when none can.
/// What is not there and what may not be seen look the same.
async fn authorize(
    service: &Arc<Service>,
    caller: &Caller,
    endpoint: &Endpoint,
    parts: &Parts,
) -> Result<(), ApiError> {
    let allowed = match endpoint.need() {
        Need::Login => caller.has_credentials(),
        Need::Catalog => caller.may_list(),
        Need::Repository(repo, action) => {
            caller.may(repo, action) || (action == Action::Pull && is_public(service, repo).await?)
        }
    };
    if allowed {
        return Ok(());
    }
    let challenge = |error| {
        let scope = scope(endpoint, parts);
        challenge(service, &parts.headers, scope.as_deref(), error)
    };
    if !caller.has_credentials() {
        return Err(ApiError::unauthorized(
            "authentication required: log in with docker login, or send a token from the realm",
            &challenge(None),
        ));
    }
    if caller.is_token() {
        return Err(ApiError::unauthorized(
            "the token does not grant this: ask the realm for one with the scope of the challenge",
            &challenge(Some("insufficient_scope")),
        ));
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "DENIED",
        "requested access to the resource is denied: ask its owner for it",
    ))
}

async fn is_public(service: &Arc<Service>, repo: &Repository) -> Result<bool, ApiError> {
    let row = service.db.repository(repo).await?;
    Ok(row.is_some_and(|row| row.visibility == Visibility::Public))
}

/// The scope of a token that is good for a request; none where any token is.
///
/// A mount reads its source besides, so that is named too: a client that asks for
/// what the challenge says gets the mount, not a session to upload with. Source:
/// distribution `registry/handlers/app.go`, which names both.
fn scope(endpoint: &Endpoint, parts: &Parts) -> Option<String> {
    let (repo, action) = match endpoint.need() {
        Need::Repository(repo, action) => (repo, action),
        Need::Catalog => return Some("registry:catalog:*".to_owned()),
        Need::Login => return None,
    };
    let actions = match action {
        Action::Pull => "pull",
        Action::Push => "pull,push",
        Action::Delete => "delete",
    };
    let mut scope = format!("repository:{repo}:{actions}");
    if matches!(endpoint, Endpoint::UploadStart(_))
        && let Some(source) = upload::mount_source(&Query::of(parts))
        && source != *repo
    {
        scope.push_str(&format!(" repository:{source}:pull"));
    }
    Some(scope)
}

/// The `WWW-Authenticate` value for a request that a token with `scope` is good for.
pub(crate) fn challenge(
    service: &Service,
    headers: &HeaderMap,
    scope: Option<&str>,
    error: Option<&str>,
) -> String {
    let base = match &service.public_url {
        Some(url) => url.clone(),
        None => {
            let host = headers
                .get(HOST)
                .and_then(|value| value.to_str().ok())
                .filter(|host| is_host(host));
            format!("http://{}", host.unwrap_or("localhost"))
        }
    };
    let mut text = format!(r#"Bearer realm="{base}/auth/token",service="{SERVICE}""#);
    if let Some(scope) = scope {
        text.push_str(&format!(r#",scope="{scope}""#));
    }
    if let Some(error) = error {
        text.push_str(&format!(r#",error="{error}""#));
    }
    text
}

/// Whether a text is `host[:port]` and can stand in a quoted string.
pub(crate) fn is_host(text: &str) -> bool {
    let fine =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !text.is_empty() && text.len() <= 255 && text.bytes().all(fine)
}

/// `Content-Length` when there is one; hyper has refused malformed and double ones.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An answer without a body.
fn empty(status: StatusCode, headers: &[(HeaderName, String)]) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().append(name.clone(), value);
        }
    }
    response
}

//! `/api/v1/builds` on the network: authenticates the caller, then forwards to
//! the engine process with the caller's name and a token that can do no more
//! than the job needs.

use std::{path::PathBuf, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use builder_proto::api::{ErrorBody, ErrorDetail};
use hyper_util::rt::TokioIo;
use oci::{Reference, Repository};
use registry::{Action, Caller, Registry};
use tokio::net::UnixStream;

use crate::config::Config;

/// A job may wait in the queue and run this long with its token.
const JOB_TOKEN_LIFE: Duration = Duration::from_secs(6 * 60 * 60);
/// Set here only; whatever a client sends under these names is dropped.
const CALLER: &str = "carrack-caller";
const TOKEN: &str = "carrack-registry-token";
/// Of this hop alone (RFC 9110, section 7.6.1).
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[derive(Clone, Debug)]
struct Forwarder {
    registry: Registry,
    socket: PathBuf,
}

/// Routes of the build API.
pub fn router(config: &Config, registry: Registry) -> Router {
    let state = Forwarder {
        registry,
        socket: config.front_builder_socket(),
    };
    Router::new()
        .route("/api/v1/builds", any(forward))
        .route("/api/v1/builds/{*rest}", any(forward))
        .with_state(state)
}

async fn forward(State(forwarder): State<Forwarder>, request: Request) -> Response {
    match forwarder.forward(request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

/// Why a request was not forwarded.
#[derive(Debug)]
enum Problem {
    Unauthorized(String),
    Forbidden(String),
    BadTag(String),
    Unavailable(String),
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Unauthorized(message) => (StatusCode::UNAUTHORIZED, "unauthorized", message),
            Self::Forbidden(message) => (StatusCode::FORBIDDEN, "forbidden", message),
            Self::BadTag(message) => (StatusCode::BAD_REQUEST, "invalid_argument", message),
            Self::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", message),
        };
        let error = ErrorDetail {
            code: code.to_owned(),
            message,
        };
        let mut response = (status, Json(ErrorBody { error })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"carrack\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl Forwarder {
    async fn forward(&self, request: Request) -> Result<Response, Problem> {
        let caller = self
            .registry
            .authenticate(request.headers())
            .await
            .map_err(|error| Problem::Unauthorized(error.to_string()))?;
        // A token of the registry grants pulls and pushes, not builds.
        if caller.is_anonymous() || caller.is_token() {
            return Err(Problem::Unauthorized(
                "builds need a login: send the user name and password by HTTP Basic authentication"
                    .to_owned(),
            ));
        }
        let push = repositories(request.uri().query().unwrap_or(""))?;
        if let Some(refused) = push.iter().find(|repo| !caller.may(repo, Action::Push)) {
            return Err(Problem::Forbidden(format!(
                "{} may not push to {refused}: ask for the right, or choose another tag",
                caller.name()
            )));
        }
        let token = self.registry.job_token(&caller, &push, JOB_TOKEN_LIFE);
        let request = rewrite(request, &caller, &token)?;
        let unavailable = |error: String| {
            Problem::Unavailable(format!(
                "the build service does not answer ({error}): try again in a moment"
            ))
        };
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|e| unavailable(e.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| unavailable(e.to_string()))?;
        // Ends with the exchange: nothing else holds the sender.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("connection to the build service ended: {error}");
            }
        });
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| unavailable(e.to_string()))?;
        let (mut parts, body) = response.into_parts();
        strip(&mut parts.headers);
        Ok(Response::from_parts(parts, Body::new(body)))
    }
}

/// The repositories that a build's tags name on any registry: the token is
/// good for pushing to those and no others.
fn repositories(query: &str) -> Result<Vec<Repository>, Problem> {
    form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "tag")
        .map(|(_, tag)| {
            let reference: Reference = tag
                .parse()
                .map_err(|error| Problem::BadTag(format!("tag {tag:?}: {error}")))?;
            Ok(reference.repository().clone())
        })
        .collect()
}

fn rewrite(request: Request, caller: &Caller, token: &str) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    strip(&mut parts.headers);
    parts.headers.remove(header::AUTHORIZATION);
    parts.headers.remove(header::COOKIE);
    let value = |text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| Problem::Unavailable("the caller's name is not printable".to_owned()))
    };
    parts.headers.insert(CALLER, value(caller.name())?);
    parts.headers.insert(TOKEN, value(token)?);
    parts
        .headers
        .insert(header::HOST, HeaderValue::from_static("builder"));
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path
        .parse()
        .map_err(|_| Problem::Unavailable("the request's path is not valid".to_owned()))?;
    parts.version = http::Version::HTTP_11;
    Ok(Request::from_parts(parts, body))
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP.iter().chain(&[CALLER, TOKEN]) {
        headers.remove(*name);
    }
}

#[cfg(test)]
#[path = "builds/tests.rs"]
mod tests;

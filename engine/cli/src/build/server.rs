//! The build service's HTTP API.
//!
//! Source: the build API's types, `builder_proto::api`. Credentials are those
//! that `login` kept for the server's host; they go to that server only.

use std::time::Duration;

use builder_proto::api::{Build, ErrorBody};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::{config::Settings, credentials, error::CliError};

/// Largest JSON answer, in bytes: a list of builds with their options.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How soon a dead connection under a silent event stream is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A handle on one server.
#[derive(Clone)]
pub(super) struct Server {
    http: reqwest::Client,
    base: String,
    host: String,
    user: Option<(String, String)>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// # Errors
    /// A server address that is no URL, or a credential helper that fails.
    pub(super) async fn new(settings: &Settings) -> Result<Self, CliError> {
        let host = settings.server_host().to_owned();
        let url: reqwest::Url = settings.server.parse().map_err(|error| {
            CliError::usage(format!(
                "{:?} is not the URL of a server: {error}; write for example http://127.0.0.1:5000",
                settings.server
            ))
        })?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            // Credentials are for this server, not for where it points.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&url) {
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|error| CliError::usage(format!("cannot set up HTTP: {error}")))?;
        let found = credentials::find(&settings.config, &host).await?;
        let user = (!found.username.is_empty()).then_some((found.username, found.password));
        Ok(Self {
            http,
            base: settings.server.clone(),
            host,
            user,
        })
    }

    /// `host[:port]`, as image names have it.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.user {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    /// Sends; an answer that is no success becomes an error.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = bounded(response).await.unwrap_or_default();
        Err(self.refused(status, &body))
    }

    /// As [`Self::send`], for an answer that is a JSON document.
    ///
    /// # Errors
    /// Also when the answer is not what was expected.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, CliError> {
        let response = self.send(request).await?;
        let body = bounded(response)
            .await
            .map_err(|error| self.unreachable(error))?;
        serde_json::from_slice(&body).map_err(|error| {
            CliError::Disconnected(format!("{} is no build service: {error}", self.base))
        })
    }

    pub(super) async fn build(&self, id: &str) -> Result<Build, CliError> {
        let path = format!("/api/v1/builds/{}", check_id(id)?);
        self.json(self.request(Method::GET, &path)).await
    }

    /// Asks the service to stop a build; it is cancelled when its last event says so.
    pub(super) async fn cancel(&self, id: &str) -> Result<(), CliError> {
        let path = format!("/api/v1/builds/{}/cancel", check_id(id)?);
        self.send(self.request(Method::POST, &path)).await.map(drop)
    }

    /// The events of a build after the one with id `after`.
    pub(super) async fn events(&self, id: &str, after: &str) -> Result<Response, CliError> {
        let path = format!("/api/v1/builds/{}/events", check_id(id)?);
        let mut request = self
            .request(Method::GET, &path)
            .header(header::ACCEPT, "text/event-stream");
        if !after.is_empty() {
            request = request.header("last-event-id", after);
        }
        self.send(request).await
    }

    pub(super) fn unreachable(&self, error: reqwest::Error) -> CliError {
        // The innermost cause says what happened; the outer ones repeat the URL.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        CliError::Connect(format!(
            "cannot reach the Carrack server at {}: {cause}; is `carrack serve` running? Name another with --server or CARRACK_SERVER",
            self.base
        ))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> CliError {
        let message = match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => body.error.message,
            Err(_) => {
                let text = String::from_utf8_lossy(body);
                let text: String = text.trim().chars().take(200).collect();
                format!("{status} {text}").trim().to_owned()
            }
        };
        let hint = match status {
            StatusCode::UNAUTHORIZED => format!("; run `carrack login {}`", self.host),
            _ => String::new(),
        };
        CliError::usage(format!(
            "Error response from {}: {message}{hint}",
            self.host
        ))
    }
}

/// The id as a part of a path.
///
/// # Errors
/// When it cannot be the id of a build.
pub(super) fn check_id(id: &str) -> Result<&str, CliError> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !id.is_empty() && id.len() <= 128 && id.bytes().all(fine) {
        return Ok(id);
    }
    Err(CliError::usage(format!(
        "{id:?} is not the id of a build; see `carrack builds ls`"
    )))
}

fn is_loopback(url: &reqwest::Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The body, as far as it may go.
async fn bounded(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            break;
        }
    }
    Ok(body)
}

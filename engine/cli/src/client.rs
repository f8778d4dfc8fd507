//! The engine's REST API over a unix socket or TCP.
//!
//! One connection per request: connecting to a unix socket costs
//! microseconds, and attach, exec, wait and logs hold theirs for long.
//! Answers that are JSON documents are bounded; streams are passed on as they
//! arrive.

mod body;
mod endpoint;
mod path;

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::CliError;
pub use body::{JsonLines, read_all};
pub use endpoint::Endpoint;
pub use path::{Filters, Query, segment};

type RequestBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// A handle on one engine.
#[derive(Clone, Debug)]
pub struct Engine {
    endpoint: Endpoint,
    /// `/v1.43`, or nothing: the engine's newest.
    prefix: String,
    debug: bool,
}

/// What goes into one request besides method and path.
#[derive(Debug, Default)]
pub struct Call {
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Option<Vec<u8>>,
}

impl Call {
    pub fn query(query: Query) -> Self {
        Self {
            query,
            ..Self::default()
        }
    }

    /// # Panics
    /// Never: the API types are plain data.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        self.body = Some(serde_json::to_vec(body).expect("API types serialise"));
        self
    }
}

/// An upgraded connection: raw bytes in both directions.
#[derive(Debug)]
pub struct Hijacked {
    pub io: TokioIo<Upgraded>,
}

impl Engine {
    pub fn new(endpoint: Endpoint, api_version: Option<&str>, debug: bool) -> Self {
        let prefix = match api_version {
            Some(version) => format!("/v{}", version.trim_start_matches('v')),
            None => String::new(),
        };
        Self {
            endpoint,
            prefix,
            debug,
        }
    }

    /// A request whose answer is JSON.
    ///
    /// # Errors
    /// No engine, its error answer, or an answer that is not the expected JSON.
    pub async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        call: Call,
    ) -> Result<T, CliError> {
        let bytes = self.bytes(method, path, call).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            CliError::Disconnected(format!(
                "it answered {path} with JSON of another shape ({error})"
            ))
        })
    }

    /// `GET` of JSON.
    ///
    /// # Errors
    /// As [`Engine::json`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: Query) -> Result<T, CliError> {
        self.json(Method::GET, path, Call::query(query)).await
    }

    /// A request whose whole answer is wanted as bytes.
    ///
    /// # Errors
    /// No engine, its error answer, or one that is too large.
    pub async fn bytes(&self, method: Method, path: &str, call: Call) -> Result<Bytes, CliError> {
        let response = self.stream(method, path, call).await?;
        read_all(response.into_body()).await
    }

    /// A request whose answer does not matter once it succeeded. Tells
    /// whether the engine had anything to do (false: 304 Not Modified).
    ///
    /// # Errors
    /// No engine, or its error answer.
    pub async fn command(&self, method: Method, path: &str, call: Call) -> Result<bool, CliError> {
        let response = self.stream(method, path, call).await?;
        let changed = response.status() != StatusCode::NOT_MODIFIED;
        read_all(response.into_body()).await?;
        Ok(changed)
    }

    /// A request whose answer is read as it arrives.
    ///
    /// # Errors
    /// No engine, or its error answer.
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        call: Call,
    ) -> Result<Response<Incoming>, CliError> {
        let body = Full::new(Bytes::from(call.body.clone().unwrap_or_default()));
        let body = body.map_err(|never| match never {}).boxed_unsync();
        let json = call.body.is_some();
        let mut request = self.request(method, path, &call, body)?;
        if json {
            request.headers_mut().insert(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("application/json"),
            );
        }
        succeed(self.send(request).await?).await
    }

    /// Uploads a stream of unknown length.
    ///
    /// # Errors
    /// No engine, its error answer, or a failure of the stream itself.
    pub async fn upload<S>(
        &self,
        method: Method,
        path: &str,
        call: Call,
        content_type: &'static str,
        content: S,
    ) -> Result<Response<Incoming>, CliError>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        use futures_util::TryStreamExt as _;
        let body = StreamBody::new(content.map_ok(hyper::body::Frame::data));
        let body = http_body_util::BodyExt::boxed_unsync(body);
        let mut request = self.request(method, path, &call, body)?;
        request.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static(content_type),
        );
        succeed(self.send(request).await?).await
    }

    /// A `POST` that turns the connection into a raw one (attach, exec).
    ///
    /// # Errors
    /// No engine, its error answer, or an engine that does not switch.
    pub async fn hijack(&self, path: &str, call: Call) -> Result<Hijacked, CliError> {
        let json = call.body.is_some();
        let body = Full::new(Bytes::from(call.body.clone().unwrap_or_default()));
        let body = body.map_err(|never| match never {}).boxed_unsync();
        let mut request = self.request(Method::POST, path, &call, body)?;
        let headers = request.headers_mut();
        headers.insert(
            header::CONNECTION,
            header::HeaderValue::from_static("Upgrade"),
        );
        headers.insert(header::UPGRADE, header::HeaderValue::from_static("tcp"));
        if json {
            headers.insert(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("application/json"),
            );
        }
        let response = succeed(self.send(request).await?).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(CliError::Disconnected(format!(
                "it answered {path} with {} instead of switching to a raw stream",
                response.status()
            )));
        }
        let io = hyper::upgrade::on(response)
            .await
            .map_err(|error| CliError::Disconnected(error.to_string()))?;
        Ok(Hijacked {
            io: TokioIo::new(io),
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        call: &Call,
        body: RequestBody,
    ) -> Result<Request<RequestBody>, CliError> {
        let target = format!("{}{path}{}", self.prefix, call.query.encoded());
        if self.debug {
            eprintln!("debug: {method} {target}");
        }
        let mut request = Request::builder()
            .method(method)
            .uri(&target)
            .header(header::HOST, self.endpoint.authority())
            .header(
                header::USER_AGENT,
                concat!("carrack/", env!("CARGO_PKG_VERSION")),
            )
            .body(body)
            .map_err(|error| CliError::usage(format!("{target} is no request path: {error}")))?;
        request.headers_mut().extend(call.headers.clone());
        Ok(request)
    }

    async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, CliError> {
        let path = request.uri().path().to_owned();
        let stream = self.endpoint.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .map_err(|error| CliError::Disconnected(error.to_string()))?;
        // Ends by itself with the response, or with the upgraded stream.
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        sender
            .send_request(request)
            .await
            .map_err(|error| CliError::Disconnected(format!("no answer to {path} ({error})")))
    }
}

/// Turns an error answer into an error.
async fn succeed(response: Response<Incoming>) -> Result<Response<Incoming>, CliError> {
    let status = response.status();
    if status.is_success()
        || matches!(
            status,
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::NOT_MODIFIED
        )
    {
        return Ok(response);
    }
    let bytes = read_all(response.into_body()).await?;
    let message = match serde_json::from_slice::<engine_api::ErrorMessage>(&bytes) {
        Ok(error) if !error.message.is_empty() => error.message,
        _ => {
            let text = String::from_utf8_lossy(&bytes);
            match text.trim() {
                "" => status.to_string(),
                text => text.chars().take(2000).collect(),
            }
        }
    };
    Err(CliError::Engine {
        status: status.as_u16(),
        message,
    })
}

#[cfg(test)]
#[path = "client/tests.rs"]
mod tests;

//! A request taken apart: path segments, query, version, body.

use bytes::Bytes;
use engine_api::ApiVersion;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use serde::de::DeserializeOwned;

use crate::error::{EngineError, Result};
use crate::query::{Query, decode};

/// Largest JSON body, in bytes. A larger one is refused, never cut.
const JSON_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Decoded segments without the version.
    pub(super) path: Vec<String>,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    /// Of the path; the newest without one. `Err` holds what was written there.
    pub(super) version: std::result::Result<ApiVersion, String>,
    /// The way out of HTTP.
    upgrade: OnUpgrade,
    body: Incoming,
}

impl Request {
    pub(super) fn new(mut request: hyper::Request<Incoming>) -> Self {
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let mut path: Vec<String> = parts
            .uri
            .path()
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| decode(segment, false))
            .collect();
        let version = take_version(&mut path);
        Self {
            method: parts.method,
            path,
            query: Query::parse(parts.uri.query()),
            headers: parts.headers,
            version,
            upgrade,
            body,
        }
    }

    /// The version to answer in; checked by the router before any handler runs.
    pub(super) fn version(&self) -> ApiVersion {
        self.version.clone().unwrap_or(ApiVersion::MAX)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The JSON body.
    ///
    /// # Errors
    /// 400 for one that is not JSON of the type, or larger than 4 MiB.
    pub(super) async fn json<T: DeserializeOwned>(self) -> Result<(T, OnUpgrade)> {
        let (bytes, upgrade) = self.bytes().await?;
        if bytes.is_empty() {
            return Err(EngineError::bad(
                "invalid JSON: got EOF while reading request body",
            ));
        }
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| EngineError::bad(format!("invalid JSON: {error}")))?;
        Ok((value, upgrade))
    }

    /// The JSON body, or the default without one.
    ///
    /// # Errors
    /// As [`Request::json`].
    pub(super) async fn json_or_default<T: DeserializeOwned + Default>(
        self,
    ) -> Result<(T, OnUpgrade)> {
        let (bytes, upgrade) = self.bytes().await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok((T::default(), upgrade));
        }
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| EngineError::bad(format!("invalid JSON: {error}")))?;
        Ok((value, upgrade))
    }

    async fn bytes(self) -> Result<(Bytes, OnUpgrade)> {
        let body = Limited::new(self.body, JSON_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| EngineError::bad(format!("read the request body: {error}")))?;
        Ok((body.to_bytes(), self.upgrade))
    }

    pub(super) fn into_upgrade(self) -> OnUpgrade {
        self.upgrade
    }

    /// The body as it comes, for archives.
    pub(super) fn into_body(self) -> http_body_util::BodyDataStream<Incoming> {
        http_body_util::BodyDataStream::new(self.body)
    }
}

/// Removes a leading `v1.NN` and reads it.
fn take_version(path: &mut Vec<String>) -> std::result::Result<ApiVersion, String> {
    let looks = |text: &str| {
        text.strip_prefix('v')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    if !path.first().is_some_and(|first| looks(first)) {
        return Ok(ApiVersion::MAX);
    }
    let text = path.remove(0)[1..].to_owned();
    text.parse().map_err(|_| text)
}

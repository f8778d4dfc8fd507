//! Answers: JSON, empty, streams of JSON lines, and errors in Docker's form.

use axum::body::Body;
use bytes::Bytes;
use engine_api::{ApiVersion, ErrorMessage};
use futures_util::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::{EngineError, Result};

pub(super) type Answer = Response<Body>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Result<Answer> {
    let mut body = serde_json::to_vec(value)
        .map_err(|error| EngineError::internal("write the answer", error))?;
    body.push(b'\n');
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    Ok(answer)
}

pub(super) fn ok<T: Serialize>(value: &T) -> Result<Answer> {
    json(StatusCode::OK, value)
}

pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

pub(super) fn no_content() -> Result<Answer> {
    Ok(empty(StatusCode::NO_CONTENT))
}

/// An error; 304 has no body.
pub(super) fn error(error: &EngineError) -> Answer {
    let status = error.status();
    if status == StatusCode::NOT_MODIFIED {
        return empty(status);
    }
    let message = ErrorMessage {
        message: error.to_string(),
    };
    json(status, &message).unwrap_or_else(|_| empty(status))
}

/// A body that is sent as it is made, headers at once.
pub(super) fn stream(content_type: &'static str, chunks: mpsc::Receiver<Bytes>) -> Answer {
    let chunks = ReceiverStream::new(chunks).map(Ok::<_, std::convert::Infallible>);
    streamed(content_type, Body::from_stream(chunks))
}

/// An archive. One that ends with an error breaks the connection, so that no
/// client takes the part for the whole.
pub(super) fn archive(chunks: mpsc::Receiver<std::io::Result<Bytes>>) -> Answer {
    let body = Body::from_stream(ReceiverStream::new(chunks));
    streamed("application/x-tar", body)
}

fn streamed(content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// One JSON object per line, each sent as it comes.
pub(super) fn lines<T: Serialize + Send + 'static>(values: mpsc::Receiver<T>) -> Answer {
    let lines = ReceiverStream::new(values).map(|value| {
        let mut line = serde_json::to_vec(&value).unwrap_or_default();
        line.extend_from_slice(b"\r\n");
        Ok::<_, std::convert::Infallible>(line)
    });
    let mut answer = Response::new(Body::from_stream(lines));
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

/// The headers that every answer carries.
pub(super) fn stamp(answer: &mut Answer, version: ApiVersion) {
    let headers = answer.headers_mut();
    let text = |text: String| HeaderValue::from_str(&text).ok();
    if let Some(value) = text(version.to_string()) {
        headers.insert("api-version", value);
    }
    headers.insert("ostype", HeaderValue::from_static("linux"));
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert(
        http::header::SERVER,
        HeaderValue::from_static(concat!("Carrack/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
}

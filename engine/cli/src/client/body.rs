//! Reading answers: whole, or line by line.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::error::CliError;

/// Largest JSON document that is accepted; a host with 100 000 containers
/// stays below it.
const DOCUMENT_BYTES_MAX: usize = 256 << 20;
/// Longest line of a stream of JSON lines.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The whole body.
///
/// # Errors
/// When the connection breaks or the body is too large.
pub async fn read_all(body: Incoming) -> Result<Bytes, CliError> {
    let collected = Limited::new(body, DOCUMENT_BYTES_MAX).collect().await;
    collected
        .map(|body| body.to_bytes())
        .map_err(|error| CliError::Disconnected(error.to_string()))
}

/// A body of JSON values, one per line (pull, push, events, stats).
#[derive(Debug)]
pub struct JsonLines {
    body: Incoming,
    buffer: BytesMut,
    ended: bool,
}

impl JsonLines {
    pub fn new(body: Incoming) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            ended: false,
        }
    }

    /// The next line, without its end; `None` behind the last one.
    ///
    /// # Errors
    /// When the connection breaks or a line is too long.
    ///
    /// # Cancellation
    /// Safe: nothing is lost.
    pub async fn next_line(&mut self) -> Result<Option<Bytes>, CliError> {
        loop {
            while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(line.trim_ascii_end().len());
                if !line.is_empty() {
                    return Ok(Some(line.freeze()));
                }
            }
            if self.ended {
                let rest = self.buffer.split();
                return Ok((!rest.trim_ascii().is_empty()).then(|| rest.freeze()));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(CliError::Disconnected(
                    "it sent a line of more than 16 MiB".to_owned(),
                ));
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(CliError::Disconnected(error.to_string())),
            }
        }
    }

    /// The next value.
    ///
    /// # Errors
    /// As [`JsonLines::next_line`], and when a line is not such a value.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CliError> {
        let Some(line) = self.next_line().await? else {
            return Ok(None);
        };
        serde_json::from_slice(&line).map(Some).map_err(|error| {
            CliError::Disconnected(format!("it sent a line of another shape ({error})"))
        })
    }
}

//! `/containers/{id}/archive` and `/containers/{id}/export`.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::StatusCode;
use http::header::HeaderValue;
use tokio::sync::mpsc;

use super::answer::{self, Answer};
use super::request::Request;
use crate::archive::{PackError, Place, place};
use crate::container::Container;
use crate::core::Core;
use crate::error::{EngineError, Result, chain};

/// Chunks between the connection and the packing thread.
const CHUNKS_MAX: usize = 4;
/// Bytes of a chunk on its way out.
const CHUNK_BYTES: usize = 256 * 1024;

fn path(request: &Request) -> Result<String> {
    let path = request.query.text("path");
    path.map(str::to_owned)
        .ok_or_else(|| EngineError::bad("bad parameter: path cannot be empty"))
}

/// HEAD says what a path is, GET sends it as a tar after the same words.
pub(super) async fn get(
    core: &Arc<Core>,
    container: Arc<Container>,
    request: &Request,
) -> Result<Answer> {
    let asked = path(request)?;
    let only_head = request.method == http::Method::HEAD;
    let found = {
        let (core, container, asked) = (Arc::clone(core), Arc::clone(&container), asked.clone());
        run(move || {
            let place = place(&core, &container, &container.view(), &asked)?;
            let stat = place.stat(&asked, container.id.as_str())?;
            Ok((place, stat))
        })
        .await?
    };
    let (place, stat) = found;
    let json = serde_json::to_vec(&stat)
        .map_err(|error| EngineError::internal("write the path's description", error))?;
    let header = base64::prelude::BASE64_STANDARD.encode(json);
    let mut answer = if only_head {
        answer::empty(StatusCode::OK)
    } else {
        packed(place, asked)
    };
    if let Ok(value) = HeaderValue::from_str(&header) {
        answer
            .headers_mut()
            .insert("x-docker-container-path-stat", value);
    }
    Ok(answer)
}

/// The whole root as one tar.
pub(super) async fn export(core: &Arc<Core>, container: Arc<Container>) -> Result<Answer> {
    let core = Arc::clone(core);
    let place = run(move || place(&core, &container, &container.view(), "/")).await?;
    Ok(packed(place, "/".to_owned()))
}

fn packed(place: Place, asked: String) -> Answer {
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        let writer = ChannelWriter { sender };
        let mut buffered = io::BufWriter::with_capacity(CHUNK_BYTES, writer);
        // The 200 is sent: a failure shows as an archive without its end.
        match place.pack(&asked, &mut buffered) {
            Ok(()) => drop(io::Write::flush(&mut buffered)),
            Err(PackError::Tar(error)) => {
                tracing::debug!(error = chain(&error), "archive cut short")
            }
            Err(error) => tracing::warn!(error = chain(&error), "archive cut short"),
        }
    });
    answer::stream("application/x-tar", chunks)
}

pub(super) async fn put(
    core: &Arc<Core>,
    container: Arc<Container>,
    request: Request,
) -> Result<Answer> {
    let asked = path(&request)?;
    let mut body = request.into_body();
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(CHUNKS_MAX);
    let reader = ChannelReader {
        receiver,
        chunk: Bytes::new(),
    };
    let core = Arc::clone(core);
    let work = tokio::task::spawn_blocking(move || {
        let place = place(&core, &container, &container.view(), &asked)?;
        place.unpack(&asked, container.id.as_str(), reader)
    });
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(io::Error::other);
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    drop(sender);
    work.await
        .map_err(|error| EngineError::internal("unpack the archive", error))??;
    // What follows the end of the archive is read, so that the connection stays usable.
    while body.next().await.is_some() {}
    Ok(answer::empty(StatusCode::OK))
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| EngineError::internal("read the container's files", error))?
}

/// Sends what is written to a body; fails once the client is gone.
struct ChannelWriter {
    sender: mpsc::Sender<Bytes>,
}

impl io::Write for ChannelWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.sender
            .blocking_send(Bytes::copy_from_slice(data))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a request's body on a blocking thread.
struct ChannelReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl io::Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let count = self.chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

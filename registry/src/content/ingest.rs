//! A request body on its way into an object: hashed and written in one pass.
//!
//! While one batch is hashed and written on a blocking thread, the next is
//! collected from the network. A slow client holds no thread, and an upload
//! holds at most two batches in memory.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use oci::Hasher;
use tokio::task::JoinHandle;

use super::{ObjectWriter, StoreError};

/// Bytes handed to a blocking thread at once: large enough to make the hop
/// between threads (about 15 µs) small beside hashing (about 700 µs).
const BATCH_BYTES: usize = 1024 * 1024;
/// Batches up to here are not worth the hop.
const INLINE_BYTES: usize = 128 * 1024;
/// Longest silence of a client within a body.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Where an upload stands: its object, its hash and its length.
pub(crate) struct Ingest {
    pub(crate) writer: Box<dyn ObjectWriter>,
    pub(crate) hasher: Hasher,
    /// Bytes both written and hashed.
    pub(crate) offset_bytes: u64,
}

impl Ingest {
    fn absorb(&mut self, chunks: &[Bytes]) -> Result<(), StoreError> {
        self.writer.write(chunks)?;
        for chunk in chunks {
            self.hasher.update(chunk);
            self.offset_bytes += chunk.len() as u64;
        }
        Ok(())
    }
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyFailure {
    /// The client went away or broke HTTP; what arrived is kept for resuming.
    #[error("the request body ended early")]
    Broken,
    #[error("no bytes arrived for {} seconds", SILENCE_MAX.as_secs())]
    Silent,
    #[error("the body is longer than the {0} bytes that were announced")]
    TooLong(u64),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blocking thread panicked; the state is lost.
    #[error("writing the upload failed abnormally")]
    Lost,
}

/// Streams `body` into `ingest`, at most `bytes_max` of it.
///
/// Gives the state back also on failure, as far as it got: what it says is
/// written and hashed is. `None` only with `Lost`.
pub(crate) async fn pump(
    ingest: Ingest,
    mut body: axum::body::Body,
    bytes_max: u64,
) -> (Option<Ingest>, Result<(), BodyFailure>) {
    let mut worker = Worker::Idle(ingest);
    let mut batch = Batch::default();
    let mut received = 0u64;
    let end = loop {
        let frame = match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
            Err(_) => break Err(BodyFailure::Silent),
            Ok(None) => break Ok(()),
            Ok(Some(Err(_))) => break Err(BodyFailure::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        received += data.len() as u64;
        if received > bytes_max {
            break Err(BodyFailure::TooLong(bytes_max));
        }
        batch.push(data);
        if batch.bytes >= BATCH_BYTES {
            let (next, result) = worker.submit(std::mem::take(&mut batch)).await;
            worker = next;
            if let Err(error) = result {
                return (worker.into_ingest(), Err(error));
            }
        }
    };
    let (mut worker, mut result) = worker.submit(batch).await;
    if result.is_ok() {
        (worker, result) = worker.settle().await;
    }
    (worker.into_ingest(), result.and(end))
}

#[derive(Default)]
struct Batch {
    chunks: Vec<Bytes>,
    bytes: usize,
}

impl Batch {
    /// Small frames are copied together, so that a client that sends single
    /// bytes costs one byte of memory for each, not a frame.
    fn push(&mut self, data: Bytes) {
        const SMALL: usize = 16 * 1024;
        self.bytes += data.len();
        match self.chunks.pop() {
            Some(last) if last.len() + data.len() <= SMALL => {
                let mut joined = match last.try_into_mut() {
                    Ok(owned) => owned,
                    Err(shared) => {
                        let mut copy = bytes::BytesMut::with_capacity(SMALL);
                        copy.extend_from_slice(&shared);
                        copy
                    }
                };
                joined.extend_from_slice(&data);
                self.chunks.push(joined.freeze());
            }
            Some(last) => self.chunks.extend([last, data]),
            None => self.chunks.push(data),
        }
    }
}

type Absorbed = (Ingest, Result<(), StoreError>);

#[expect(
    clippy::large_enum_variant,
    reason = "one lives per upload and moves once per MiB"
)]
enum Worker {
    Idle(Ingest),
    Busy(JoinHandle<Absorbed>),
    Lost,
}

impl Worker {
    /// Waits for the running batch, then starts the next.
    async fn submit(self, batch: Batch) -> (Self, Result<(), BodyFailure>) {
        let (worker, result) = self.settle().await;
        let Self::Idle(mut ingest) = worker else {
            return (worker, result.and(Err(BodyFailure::Lost)));
        };
        if result.is_err() || batch.chunks.is_empty() {
            return (Self::Idle(ingest), result);
        }
        if batch.bytes <= INLINE_BYTES {
            let result = ingest.absorb(&batch.chunks);
            return (Self::Idle(ingest), result.map_err(BodyFailure::Store));
        }
        let task = tokio::task::spawn_blocking(move || {
            let result = ingest.absorb(&batch.chunks);
            (ingest, result)
        });
        (Self::Busy(task), Ok(()))
    }

    async fn settle(self) -> (Self, Result<(), BodyFailure>) {
        match self {
            Self::Busy(task) => match task.await {
                Ok((ingest, result)) => (Self::Idle(ingest), result.map_err(BodyFailure::Store)),
                Err(_) => (Self::Lost, Err(BodyFailure::Lost)),
            },
            Self::Lost => (Self::Lost, Err(BodyFailure::Lost)),
            idle @ Self::Idle(_) => (idle, Ok(())),
        }
    }

    fn into_ingest(self) -> Option<Ingest> {
        match self {
            Self::Idle(ingest) => Some(ingest),
            Self::Busy(_) | Self::Lost => None,
        }
    }
}

#[cfg(test)]
#[path = "ingest/tests.rs"]
mod tests;

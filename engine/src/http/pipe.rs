//! Bodies as blocking readers and writers, for tar on the blocking pool.
//! Bounded on both sides: neither end runs ahead of the other.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::error::chain;

/// Chunks between the connection and the thread.
const CHUNKS_MAX: usize = 4;
/// Bytes of a chunk on its way out.
const CHUNK_BYTES: usize = 256 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A body of what `work` writes on the blocking pool. When it fails the body
/// ends with an error.
pub(super) fn written(
    work: impl FnOnce(&mut io::BufWriter<ChannelWriter>) -> Result<(), Failure> + Send + 'static,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        let channel = ChannelWriter {
            sender: sender.clone(),
        };
        let mut out = io::BufWriter::with_capacity(CHUNK_BYTES, channel);
        let done = work(&mut out).and_then(|()| Ok(io::Write::flush(&mut out)?));
        let Err(error) = done else { return };
        let error = chain(&*error);
        if sender.is_closed() {
            tracing::debug!(error, "the client left in the middle of an archive");
        } else {
            tracing::warn!(error, "archive cut short");
            let _ = sender.blocking_send(Err(io::Error::other(error)));
        }
    });
    chunks
}

/// A reader of a request's body, and the work that feeds it. Once the reader
/// is dropped the rest of the body is read and thrown away, so that the
/// connection stays usable.
pub(super) fn reader(
    mut body: BodyDataStream<Incoming>,
) -> (impl Future<Output = ()> + Send, ChannelReader) {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let feed = async move {
        while let Some(chunk) = body.next().await {
            if sender.send(chunk.map_err(io::Error::other)).await.is_err() {
                break;
            }
        }
        drop(sender);
        while body.next().await.is_some_and(|chunk| chunk.is_ok()) {}
    };
    let reader = ChannelReader {
        receiver,
        chunk: Bytes::new(),
    };
    (feed, reader)
}

/// Sends what is written to a body; fails once the client is gone.
#[derive(Debug)]
pub(super) struct ChannelWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl io::Write for ChannelWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.sender
            .blocking_send(Ok(Bytes::copy_from_slice(data)))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a request's body on a blocking thread.
#[derive(Debug)]
pub(super) struct ChannelReader {
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

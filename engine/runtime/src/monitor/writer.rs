//! The writing half of a connection to a monitor.

use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Mutex, Semaphore};

use super::frame::{self, Kind};

/// Payload of one input frame: small, so that a signal waits for little.
const STDIN_CHUNK_BYTES: usize = 16 << 10;

/// Sends input, signals and terminal sizes to a container. Cheap to clone; all
/// clones write to the same connection.
#[derive(Debug, Clone)]
pub struct MonitorWriter {
    out: Arc<Mutex<Out>>,
    credit: Arc<Semaphore>,
}

#[derive(Debug)]
struct Out {
    stream: OwnedWriteHalf,
    /// What a cancelled call left unsent: frames must not be torn.
    unsent: BytesMut,
}

impl MonitorWriter {
    pub(super) fn new(stream: OwnedWriteHalf, credit: Arc<Semaphore>) -> MonitorWriter {
        let out = Out {
            stream,
            unsent: BytesMut::new(),
        };
        MonitorWriter {
            out: Arc::new(Mutex::new(out)),
            credit,
        }
    }

    /// Writes to the container's standard input; waits while the container
    /// does not read. The connection's reader must be polled meanwhile.
    ///
    /// # Errors
    /// When the monitor is gone.
    ///
    /// # Cancellation
    /// A prefix of the data may have been sent.
    pub async fn stdin(&self, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            let chunk = data.split_to(data.len().min(STDIN_CHUNK_BYTES));
            let permits = u32::try_from(chunk.len()).expect("chunks are 16 KiB");
            let granted = self.credit.acquire_many(permits).await;
            granted
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
                .forget();
            self.send(Kind::Stdin, &chunk).await?;
        }
        Ok(())
    }

    /// Ends the container's standard input. Its output goes on.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub async fn close_stdin(&self) -> io::Result<()> {
        self.send(Kind::CloseStdin, &[]).await
    }

    /// Sets the size of the container's terminal.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub async fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let [a, b] = columns.to_le_bytes();
        let [c, d] = rows.to_le_bytes();
        self.send(Kind::Resize, &[a, b, c, d]).await
    }

    /// Sends a signal to the container's first process (or the exec's).
    ///
    /// # Errors
    /// When the monitor is gone.
    pub async fn signal(&self, number: i32) -> io::Result<()> {
        self.send(Kind::Signal, &number.to_le_bytes()).await
    }

    /// Stops output on this connection, which then only reports the exit: a
    /// daemon that reads the log file need not drain the output as well.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub async fn mute(&self) -> io::Result<()> {
        self.send(Kind::Mute, &[]).await
    }

    pub(super) async fn send(&self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let mut guard = self.out.lock().await;
        let out = &mut *guard;
        out.unsent
            .extend_from_slice(&frame::header(kind, payload.len()));
        out.unsent.extend_from_slice(payload);
        while out.unsent.has_remaining() {
            out.stream.write_buf(&mut out.unsent).await?;
        }
        Ok(())
    }
}

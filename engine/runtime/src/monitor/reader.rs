//! The reading half of a connection to a monitor.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::Semaphore;

use super::ExitStatus;
use super::frame::{self, HEADER_BYTES, Kind};

/// Something a container did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MonitorEvent {
    /// With a terminal, everything is standard output.
    Stdout(Bytes),
    Stderr(Bytes),
    /// The last event: all output came before it.
    Exited(ExitStatus),
}

/// Yields what the container does, in order.
#[derive(Debug)]
pub struct MonitorReader {
    stream: OwnedReadHalf,
    buffer: BytesMut,
    early: VecDeque<(Kind, Bytes)>,
    credit: Arc<Semaphore>,
}

impl MonitorReader {
    pub(super) fn new(stream: OwnedReadHalf, credit: Arc<Semaphore>) -> MonitorReader {
        MonitorReader {
            stream,
            buffer: BytesMut::new(),
            early: VecDeque::new(),
            credit,
        }
    }

    /// The next event; `None` when the monitor is gone. A `None` without
    /// [`MonitorEvent::Exited`] before it means that the monitor was killed.
    ///
    /// # Cancellation
    /// Safe: no event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<MonitorEvent> {
        loop {
            let next = match self.early.pop_front() {
                Some(frame) => Some(frame),
                None => self.frame().await.ok()?,
            };
            return match next? {
                (Kind::Stdout, data) => Some(MonitorEvent::Stdout(data)),
                (Kind::Stderr, data) => Some(MonitorEvent::Stderr(data)),
                (Kind::Exited, json) => ExitStatus::from_json(&json).ok().map(MonitorEvent::Exited),
                _ => continue,
            };
        }
    }

    /// The next frame that is not about flow control; `None` at the end.
    pub(super) async fn frame(&mut self) -> io::Result<Option<(Kind, Bytes)>> {
        loop {
            while let Some((kind, length)) = frame::first(&self.buffer)? {
                self.buffer.advance(HEADER_BYTES);
                let payload = self.buffer.split_to(length).freeze();
                if kind != Kind::Credit {
                    return Ok(Some((kind, payload)));
                }
                let bytes = payload.first_chunk().map_or(0, |&n| u32::from_le_bytes(n));
                self.credit.add_permits(bytes as usize);
            }
            let read = self.stream.read_buf(&mut self.buffer).await;
            if !matches!(read, Ok(1..)) {
                // Nobody will grant input any more. A monitor that ended with
                // input of ours unread resets the connection.
                self.credit.close();
                return read.map(|_| None);
            }
        }
    }

    /// Keeps a frame for [`next`](Self::next).
    pub(super) fn put_back(&mut self, kind: Kind, payload: Bytes) {
        self.early.push_back((kind, payload));
    }
}

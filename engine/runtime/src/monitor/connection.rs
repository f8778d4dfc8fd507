//! A daemon's connection, seen from the monitor.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use super::frame::{self, HEADER_BYTES, Kind};

/// Output a connection may leave unread before the container is held back.
const OUTPUT_HIGH_BYTES: usize = 128 << 10;

/// Frames a daemon sends a running container are small; input is cut to 16 KiB.
const INPUT_BYTES_MAX: usize = 128 << 10;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Start of what is unsent in `output`.
    sent: usize,
    /// Gets the container's output.
    pub(super) subscribed: bool,
    /// The peer may still send.
    pub(super) readable: bool,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            subscribed: true,
            readable: true,
        })
    }

    pub(super) fn push(&mut self, kind: Kind, payload: &[u8]) {
        frame::push(&mut self.output, kind, payload);
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.output.len()
    }

    /// Whether output should wait for this peer.
    pub(super) fn is_stalled(&self) -> bool {
        self.subscribed && self.output.len() - self.sent > OUTPUT_HIGH_BYTES
    }

    /// Sends what the peer takes now.
    ///
    /// # Errors
    /// When the peer is gone.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.has_unsent() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        self.output.clear();
        self.sent = 0;
        self.output.shrink_to(OUTPUT_HIGH_BYTES);
        Ok(())
    }

    /// Reads what has come and returns the whole frames in it.
    ///
    /// # Errors
    /// When the peer is gone or does not keep to the protocol.
    pub(super) fn receive(&mut self) -> io::Result<Vec<(Kind, Vec<u8>)>> {
        let mut chunk = [0; 16 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.readable = false;
                    break;
                }
                Ok(n) => self.input.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
            if self.input.len() > INPUT_BYTES_MAX {
                break;
            }
        }
        let mut frames = Vec::new();
        let mut used = 0;
        while let Some((kind, length)) = frame::first(&self.input[used..])? {
            let start = used + HEADER_BYTES;
            frames.push((kind, self.input[start..start + length].to_vec()));
            used = start + length;
        }
        self.input.drain(..used);
        match self.input.len() {
            n if n > INPUT_BYTES_MAX => Err(io::ErrorKind::InvalidData.into()),
            _ => Ok(frames),
        }
    }
}

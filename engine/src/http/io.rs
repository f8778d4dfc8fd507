//! The byte stream of one connection, with the two things hyper does not do:
//! bytes that were read ahead come first, and the first answer of an old
//! client's attach is rewritten.
//!
//! Clients older than the `Upgrade` header expect attach and exec to answer
//! `200 OK` and then to own the connection. hyper hands a connection over only
//! after a 101. So the head of the first request is read here; when it is such
//! a request without `Upgrade`, that header is added on the way in and the
//! 101's status line is replaced on the way out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// Longest request head that is looked at; a longer one is passed on as it is.
const HEAD_BYTES_MAX: usize = 64 * 1024;

const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
const UPGRADE: &[u8] = b"Connection: Upgrade\r\nUpgrade: tcp\r\n";

/// What happens to the next status line that is written.
#[derive(Debug)]
enum Rewrite {
    No,
    /// A 101 that comes first becomes a 200.
    Armed,
    /// The replacement that is still to be written.
    Writing(Bytes),
}

/// One accepted connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    ahead: Bytes,
    rewrite: Rewrite,
}

impl Connection {
    /// Reads the first request's head. `None` when the client leaves before it.
    ///
    /// # Errors
    /// Of the socket.
    pub(super) async fn open(mut stream: UnixStream) -> io::Result<Option<Self>> {
        let mut head = BytesMut::with_capacity(4096);
        loop {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(None);
            }
            if find(&head, b"\r\n\r\n").is_some() || head.len() > HEAD_BYTES_MAX {
                break;
            }
        }
        let (ahead, rewrite) = match with_upgrade(&head) {
            Some(changed) => (changed, Rewrite::Armed),
            None => (head.freeze(), Rewrite::No),
        };
        Ok(Some(Self {
            stream,
            ahead,
            rewrite,
        }))
    }

    /// The stream itself, and what was read of it and not used yet: `read`,
    /// which was taken out of here, comes first.
    pub(super) fn into_parts(self, read: Bytes) -> (UnixStream, Bytes) {
        if self.ahead.is_empty() {
            return (self.stream, read);
        }
        let ahead = [read, self.ahead].concat();
        (self.stream, ahead.into())
    }
}

/// The head with `Upgrade` added, if it is a hijack of an old client.
fn with_upgrade(head: &[u8]) -> Option<Bytes> {
    let end = find(head, b"\r\n\r\n")?;
    let line_end = find(head, b"\r\n")? + 2;
    let line = std::str::from_utf8(&head[..line_end]).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split('?').next()?;
    let hijack = path.ends_with("/attach") || (path.contains("/exec/") && path.ends_with("/start"));
    if method != "POST" || !hijack {
        return None;
    }
    let lower = head[line_end..end + 2].to_ascii_lowercase();
    if lower.starts_with(b"upgrade:") || find(&lower, b"\r\nupgrade:").is_some() {
        return None;
    }
    let mut changed = BytesMut::with_capacity(head.len() + UPGRADE.len());
    changed.extend_from_slice(&head[..line_end]);
    changed.extend_from_slice(UPGRADE);
    changed.extend_from_slice(&head[line_end..]);
    Some(changed.freeze())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.has_remaining() {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(count));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if matches!(this.rewrite, Rewrite::Armed) {
            this.rewrite = if data.starts_with(SWITCHING) {
                Rewrite::Writing(Bytes::from_static(OK))
            } else {
                Rewrite::No
            };
        }
        if let Rewrite::Writing(line) = &mut this.rewrite {
            while line.has_remaining() {
                let count = ready!(Pin::new(&mut this.stream).poll_write(cx, line))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                line.advance(count);
            }
            this.rewrite = Rewrite::No;
            return Poll::Ready(Ok(SWITCHING.len()));
        }
        Pin::new(&mut this.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "io/tests.rs"]
mod tests;

//! Connections that leave HTTP: attach and exec.
//!
//! After the answer's head the connection carries the process's streams: output
//! framed per stream (raw with a terminal), input as it is. The client's half
//! close ends the input and nothing else. Output is never buffered here: a
//! client that does not read holds the container's output back, and one that
//! leaves ends only its own connection.
//!
//! Nothing is sent before the client has read the answer's head: Docker's SDK for
//! Python reads the head through a buffer that it then drops, with all output
//! that is in it by then.

use std::os::fd::AsFd;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use engine_api::{ApiVersion, Frame, StreamKind, since};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use runtime::monitor::{ExitStatus, MonitorEvent, MonitorReader, MonitorWriter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::answer::Answer;
use super::io::Connection;
use crate::error::{EngineError, Result};

/// Input read from a client at once.
const INPUT_BYTES: usize = 32 * 1024;
/// ctrl-p ctrl-q.
const DETACH_KEYS: &[u8] = &[16, 17];
/// How often a client is looked at that has not read the answer's head yet. Few
/// are ever: starting a process takes longer than reading.
const HEAD_LOOK: Duration = Duration::from_millis(1);
/// How long output waits for it at the most.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);

/// Which streams a client wants and how.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
    /// The client's half close ends the process's input.
    pub(super) close_stdin: bool,
    /// The bytes that let go of the process; empty for none.
    pub(super) detach_keys: Vec<u8>,
}

/// A connection that left HTTP.
#[derive(Debug)]
pub(super) struct Client {
    input: Input,
    output: Output,
}

#[derive(Debug)]
struct Input {
    /// What was read with the request.
    ahead: Bytes,
    stream: OwnedReadHalf,
}

#[derive(Debug)]
struct Output {
    stream: OwnedWriteHalf,
    /// The client is known to have read the head.
    head_read: bool,
}

impl Input {
    /// The next bytes, none at the end.
    async fn read(&mut self) -> std::io::Result<Bytes> {
        if !self.ahead.is_empty() {
            return Ok(std::mem::take(&mut self.ahead));
        }
        let mut buffer = BytesMut::with_capacity(INPUT_BYTES);
        self.stream.read_buf(&mut buffer).await?;
        Ok(buffer.freeze())
    }
}

impl Output {
    async fn send(&mut self, data: &[u8]) -> std::io::Result<()> {
        if !self.head_read {
            self.head_read = true;
            let socket: &UnixStream = self.stream.as_ref();
            let look = || runtime::unread_bytes(socket.as_fd()).unwrap_or(0);
            let taken = async {
                while look() > 0 {
                    tokio::time::sleep(HEAD_LOOK).await;
                }
            };
            let _late = tokio::time::timeout(HEAD_PATIENCE, taken).await;
        }
        self.stream.write_all(data).await
    }

    async fn send_frame(&mut self, stream: StreamKind, data: &[u8]) -> std::io::Result<()> {
        let mut frame = BytesMut::with_capacity(engine_api::FRAME_HEADER_BYTES + data.len());
        push_frame(&mut frame, stream, data);
        self.send(&frame).await
    }

    /// Ends the stream; the client may still send.
    async fn end(&mut self) {
        let _gone = self.stream.shutdown().await;
    }
}

/// Answers 101 and runs `work` on the connection.
pub(super) fn take_over<W, F>(
    upgrade: OnUpgrade,
    version: ApiVersion,
    tty: bool,
    work: W,
) -> Result<Answer>
where
    W: FnOnce(Client) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let framed = !tty && version >= since::MULTIPLEXED_TYPE;
    let content_type = if framed {
        "application/vnd.docker.multiplexed-stream"
    } else {
        "application/vnd.docker.raw-stream"
    };
    tokio::spawn(async move {
        match upgrade.await.map(downcast::<TokioIo<Connection>>) {
            Ok(Ok(parts)) => {
                let (stream, ahead) = parts.io.into_inner().into_parts(parts.read_buf);
                let (stream, output) = stream.into_split();
                let input = Input { ahead, stream };
                let output = Output {
                    stream: output,
                    head_read: false,
                };
                work(Client { input, output }).await;
            }
            Ok(Err(_)) => tracing::debug!("the client asked for an upgrade over HTTP/2"),
            Err(error) => tracing::debug!(%error, "the client did not upgrade its connection"),
        }
    });
    let mut answer = Response::new(axum::body::Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    Ok(answer)
}

impl Client {
    /// Carries streams until the process ends, the client leaves or detaches.
    /// `ended` runs before the connection is closed, since clients ask for the
    /// exit code right after. The reader comes back if the process goes on.
    pub(super) async fn run(
        self,
        streams: &Streams,
        mut reader: MonitorReader,
        writer: MonitorWriter,
        ended: impl FnOnce(Option<ExitStatus>),
    ) -> Option<MonitorReader> {
        let Self { input, mut output } = self;
        let forward = forward_input(streams, input, writer);
        let mut forward = std::pin::pin!(forward);
        let mut input_open = streams.stdin;
        let left = loop {
            let event = tokio::select! {
                event = reader.next() => event,
                detached = &mut forward, if input_open => {
                    input_open = false;
                    if detached {
                        break true;
                    }
                    continue;
                }
            };
            let (kind, data) = match event {
                Some(MonitorEvent::Stdout(data)) => (StreamKind::Stdout, data),
                Some(MonitorEvent::Stderr(data)) => (StreamKind::Stderr, data),
                Some(MonitorEvent::Exited(status)) => {
                    ended(Some(status));
                    break false;
                }
                None => {
                    ended(None);
                    break false;
                }
            };
            let wanted = match kind {
                StreamKind::Stderr => streams.stderr,
                _ => streams.stdout,
            };
            if wanted && !streams.tty {
                if output.send_frame(kind, &data).await.is_err() {
                    break true;
                }
            } else if wanted && output.send(&data).await.is_err() {
                break true;
            }
        };
        output.end().await;
        left.then_some(reader)
    }

    /// Reports an error in-band, as the head of the answer is already sent.
    pub(super) async fn fail(mut self, streams: &Streams, error: &EngineError) {
        let text = format!("{error}\r\n");
        let _ = if streams.tty {
            self.output.send(text.as_bytes()).await
        } else {
            let stream = StreamKind::Stderr;
            self.output.send_frame(stream, text.as_bytes()).await
        };
        self.output.end().await;
    }

    pub(super) async fn close(mut self) {
        self.output.end().await;
    }

    /// Sends what a log holds, before the live streams.
    pub(super) async fn write(&mut self, data: &[u8]) -> std::io::Result<()> {
        self.output.send(data).await
    }
}

/// Appends one frame. Data of a frame is far below 4 GiB by construction.
pub(super) fn push_frame(out: &mut BytesMut, stream: StreamKind, data: &[u8]) {
    let len_bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&Frame { stream, len_bytes }.to_bytes());
    out.extend_from_slice(data);
}

/// Copies the client's input to the process. `true` when the client typed the
/// detach keys.
async fn forward_input(streams: &Streams, mut input: Input, writer: MonitorWriter) -> bool {
    let mut keys = KeyScanner::new(&streams.detach_keys);
    loop {
        let read = match input.read().await {
            Ok(read) if !read.is_empty() => read,
            _ => break,
        };
        let (data, detached) = keys.pass(read);
        if !data.is_empty() && writer.stdin(data).await.is_err() {
            return false;
        }
        if detached {
            return true;
        }
    }
    if streams.close_stdin {
        let _ = writer.close_stdin().await;
    }
    false
}

/// Finds the detach keys in a stream of input, also across reads.
#[derive(Debug)]
struct KeyScanner {
    keys: Vec<u8>,
    /// How many of the keys were typed so far; they are held back.
    matched: usize,
}

impl KeyScanner {
    fn new(keys: &[u8]) -> Self {
        Self {
            keys: keys.to_owned(),
            matched: 0,
        }
    }

    /// The input without the keys, and whether all of them came.
    fn pass(&mut self, data: Bytes) -> (Bytes, bool) {
        if self.keys.is_empty() {
            return (data, false);
        }
        let mut out = BytesMut::with_capacity(data.len() + self.matched);
        for &byte in &data {
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (out.freeze(), true);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(byte == self.keys[0]);
            if self.matched == 0 {
                out.extend_from_slice(&[byte]);
            }
        }
        (out.freeze(), false)
    }
}

/// Reads `ctrl-p,ctrl-q` or `a,b`; the default when empty.
///
/// # Errors
/// 400 for a word that names no key.
pub(super) fn detach_keys(text: Option<&str>) -> Result<Vec<u8>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(DETACH_KEYS.to_owned());
    };
    text.split(',')
        .map(|word| match word.as_bytes() {
            [byte] => Some(*byte),
            [b'c', b't', b'r', b'l', b'-', key] => match key {
                b'a'..=b'z' => Some(key - b'a' + 1),
                b'@' => Some(0),
                b'[' => Some(27),
                b'\\' => Some(28),
                b']' => Some(29),
                b'^' => Some(30),
                b'_' => Some(31),
                _ => None,
            },
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| EngineError::bad(format!("Invalid detach keys ({text}) provided")))
}

#[cfg(test)]
#[path = "hijack/tests.rs"]
mod tests;

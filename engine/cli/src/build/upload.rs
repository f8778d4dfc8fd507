//! Sends the build context.
//!
//! A thread reads the files and writes the archive; the connection takes it
//! piece by piece, so memory stays bounded whatever the context's size. A
//! context that cannot be read to its end aborts the request: the service
//! never takes half of one for all of it.

use std::{
    io::{self, Read as _, Write},
    time::Instant,
};

use builder_proto::api::{Build, Event, StepStatus};
use bytes::Bytes;
use futures_util::stream;
use reqwest::Method;
use tokio::sync::{mpsc, watch};

use super::{
    context::{Context, Skipped},
    progress::{Progress, REDRAW_PAUSE},
    server::Server,
};
use crate::{error::CliError, output};

/// Bytes per piece, and pieces that may wait for the connection.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_MAX: usize = 4;
/// The step under which sending is shown; no step of the service has it.
const STEP: u32 = u32::MAX;

/// Where the context comes from.
#[derive(Debug)]
pub(super) enum Body {
    Directory(Box<Context>),
    /// A tar archive, as it is.
    Stdin,
}

type Piece = io::Result<Bytes>;

/// Creates the build: sends the context and returns the queued build.
///
/// # Errors
/// When a file cannot be read, or the server refuses.
pub(super) async fn send(
    server: &Server,
    query: &[(&'static str, String)],
    body: Body,
    progress: &mut Progress,
) -> Result<Build, CliError> {
    let (pieces, ready) = mpsc::channel::<Piece>(PIECES_MAX);
    let (moved, sent) = watch::channel(0u64);
    let writer = std::thread::spawn(move || write(body, pieces));
    let stream = stream::unfold((ready, moved), |(mut ready, moved)| async move {
        let piece = ready.recv().await?;
        if let Ok(bytes) = &piece {
            moved.send_modify(|total| *total += bytes.len() as u64);
        }
        Some((piece, (ready, moved)))
    });
    let request = server
        .request(Method::POST, "/api/v1/builds")
        .query(query)
        .header("content-type", "application/x-tar")
        .body(reqwest::Body::wrap_stream(stream));

    let started = Instant::now();
    step(progress, StepStatus::Started, started)?;
    let answer = {
        let call = server.json::<Build>(request);
        tokio::pin!(call);
        let mut ticks = tokio::time::interval(REDRAW_PAUSE);
        loop {
            tokio::select! {
                answer = &mut call => break answer,
                _ = ticks.tick() => {
                    transferred(progress, *sent.borrow(), 0)?;
                    progress.tick()?;
                }
            }
        }
    };
    let written = writer.join().unwrap_or_else(|_| {
        Err(CliError::Disconnected(
            "reading the context broke off".to_owned(),
        ))
    });
    match (answer, written) {
        (Ok(build), Ok(skipped)) => {
            let total = *sent.borrow();
            transferred(progress, total, total)?;
            step(progress, StepStatus::Done, started)?;
            for path in skipped.0 {
                output::note(format!(
                    "WARN: {} is a socket or a device and was not sent",
                    path.display()
                ));
            }
            Ok(build)
        }
        (answer, written) => {
            step(progress, StepStatus::Failed, started)?;
            Err(match (answer, written) {
                // The file that could not be read is why the connection broke.
                (_, Err(error)) if !is_broken_pipe(&error) => error,
                (Err(error), _) => error,
                (Ok(_), Err(error)) => error,
                (Ok(_), Ok(_)) => CliError::Disconnected("the context was not sent".to_owned()),
            })
        }
    }
}

fn step(progress: &mut Progress, status: StepStatus, started: Instant) -> Result<(), CliError> {
    progress.event(&Event::Step {
        step: STEP,
        name: "[internal] send build context".to_owned(),
        status,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        error: None,
    })
}

fn transferred(progress: &mut Progress, current: u64, total: u64) -> Result<(), CliError> {
    progress.event(&Event::Progress {
        step: STEP,
        id: "context".to_owned(),
        status: "transferring".to_owned(),
        current,
        total,
    })
}

/// The connection ended before it took everything; why, the answer says.
fn is_broken_pipe(error: &CliError) -> bool {
    matches!(error, CliError::BrokenPipe)
}

fn write(body: Body, pieces: mpsc::Sender<Piece>) -> Result<Skipped, CliError> {
    let mut out = Pieces {
        pieces,
        buffer: Vec::with_capacity(PIECE_BYTES),
    };
    let written = match body {
        Body::Directory(context) => context.write(&mut out),
        Body::Stdin => copy_stdin(&mut out),
    };
    if let Err(error) = &written {
        out.abort(error);
    }
    written
}

fn copy_stdin(out: &mut Pieces) -> Result<Skipped, CliError> {
    let mut input = io::stdin().lock();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CliError::io("cannot read standard input", error)),
        };
        out.write_all(&buffer[..count])
            .map_err(|error| CliError::io("cannot send the context", error))?;
    }
    out.flush()
        .map_err(|error| CliError::io("cannot send the context", error))?;
    Ok(Skipped::default())
}

/// Hands what is written to the connection, in pieces.
struct Pieces {
    pieces: mpsc::Sender<Piece>,
    buffer: Vec<u8>,
}

impl Pieces {
    fn abort(&self, error: &CliError) {
        let error = io::Error::other(error.to_string());
        // Nobody to tell when the connection is gone.
        let _ = self.pieces.blocking_send(Err(error));
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(PIECE_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..take]);
        if self.buffer.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
        self.pieces
            .blocking_send(Ok(full.into()))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

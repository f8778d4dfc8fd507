//! An attached container or exec: the person's terminal on one side, the
//! engine's raw stream on the other.
//!
//! Owns the terminal's mode while it runs and restores it on every way out.
//! Standard input is read by a plain thread, because a blocked read on a
//! terminal cannot be cancelled and must not hold up the end of the program.

use std::io::{self, Write as _};

use engine_api::StreamKind;
use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
};

use crate::{
    client::{Call, Engine, Hijacked, Query},
    detach::DetachFilter,
    error::{CliError, FAILED},
    frames::Demux,
    terminal::{self, RawMode},
};

/// Bytes read from standard input or the engine at once.
const CHUNK_BYTES: usize = 32 << 10;
/// Chunks of standard input that wait for the engine.
const INPUT_CHUNKS_MAX: usize = 4;
/// The first resize is repeated while the process is not there yet.
const RESIZE_ATTEMPTS: u32 = 10;
const RESIZE_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// What is connected.
#[derive(Debug)]
pub struct Plan {
    /// The process has a terminal: one raw stream instead of frames.
    pub tty: bool,
    pub stdin: bool,
    /// Stdout or stderr is wanted.
    pub output: bool,
    /// Keys that leave the session; none: no way out but the end.
    pub detach_keys: Vec<u8>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The engine closed the stream: the process is gone.
    Finished,
    /// The person typed the detach keys.
    Detached,
    /// This signal asks us to go; the terminal has been restored.
    Signalled(i32),
}

/// Runs the session to its end.
///
/// # Errors
/// When the stream breaks off or our output cannot be written.
pub async fn run(hijacked: Hijacked, plan: Plan) -> Result<Ended, CliError> {
    let raw = (plan.tty && plan.stdin && terminal::stdin_is_terminal())
        .then(RawMode::enter)
        .transpose()
        .map_err(|error| CliError::io("cannot switch the terminal to raw mode", error))?;
    let (reader, mut writer) = tokio::io::split(hijacked.io);
    let input = async {
        if plan.stdin {
            let filter = (plan.tty && raw.is_some() && !plan.detach_keys.is_empty())
                .then(|| DetachFilter::new(plan.detach_keys.clone()));
            if send_input(&mut writer, filter).await {
                return Ended::Detached;
            }
        }
        // Half-close: the process sees the end of its input, we still its output.
        let _ = writer.shutdown().await;
        if plan.output {
            std::future::pending::<()>().await;
        }
        Ended::Finished
    };
    let output = async {
        if plan.output {
            copy_output(reader, plan.tty).await
        } else {
            std::future::pending().await
        }
    };
    let ended = tokio::select! {
        ended = input => Ok(ended),
        done = output => done.map(|()| Ended::Finished),
        number = leave_on_signal(raw.is_some()) => Ok(Ended::Signalled(number)),
    };
    drop(raw);
    ended
}

/// With a raw terminal, signals that end the program must not leave it raw.
async fn leave_on_signal(raw: bool) -> i32 {
    let (Ok(mut term), Ok(mut hup)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return std::future::pending().await;
    };
    if !raw {
        return std::future::pending().await;
    }
    tokio::select! {
        _ = term.recv() => SignalKind::terminate().as_raw_value(),
        _ = hup.recv() => SignalKind::hangup().as_raw_value(),
    }
}

/// Forwards standard input; true when the detach keys were typed. Write
/// errors mean that the process no longer reads, which is no failure.
async fn send_input(writer: &mut (impl AsyncWrite + Unpin), filter: Option<DetachFilter>) -> bool {
    let mut filter = filter;
    let mut chunks = stdin_chunks();
    while let Some(chunk) = chunks.recv().await {
        let (pass, detached) = match &mut filter {
            Some(filter) => {
                let filtered = filter.push(&chunk);
                (filtered.pass, filtered.detached)
            }
            None => (chunk, false),
        };
        if writer.write_all(&pass).await.is_err() || writer.flush().await.is_err() {
            return false;
        }
        if detached {
            return true;
        }
    }
    false
}

fn stdin_chunks() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(INPUT_CHUNKS_MAX);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                Ok(0) => return,
                Ok(len) => {
                    if sender.blocking_send(buffer[..len].to_vec()).is_err() {
                        return;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// Copies an output stream, framed unless the process has a terminal.
///
/// # Errors
/// When the stream breaks off or our output cannot be written.
pub async fn copy_output(
    mut reader: impl tokio::io::AsyncRead + Unpin,
    tty: bool,
) -> Result<(), CliError> {
    let mut sink = Sink::new(tty);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => return sink.finish(),
            Ok(len) => sink.push(&buffer[..len]).await?,
            // The engine may reset the connection once the process is gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return sink.finish(),
            Err(error) => return Err(CliError::Disconnected(error.to_string())),
        }
    }
}

/// Our standard output and error, fed from a raw or framed stream.
#[derive(Debug)]
pub struct Sink {
    demux: Option<Demux>,
}

/// Which of our two outputs.
#[derive(Clone, Copy, Debug)]
enum Channel {
    Out,
    Err,
}

impl Sink {
    pub fn new(tty: bool) -> Self {
        Self {
            demux: (!tty).then(Demux::default),
        }
    }

    /// # Errors
    /// When the frames are broken or our output cannot be written.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let Some(demux) = &mut self.demux else {
            return write(Channel::Out, bytes.to_vec()).await;
        };
        let pieces = demux
            .push(bytes)
            .map_err(|error| CliError::Disconnected(error.to_string()))?;
        for (stream, piece) in pieces {
            let (channel, bytes) = match stream {
                StreamKind::Stdin | StreamKind::Stdout => (Channel::Out, piece.to_vec()),
                StreamKind::Stderr => (Channel::Err, piece.to_vec()),
                StreamKind::SystemError => (
                    Channel::Err,
                    [b"error from daemon in stream: ", piece].concat(),
                ),
            };
            write(channel, bytes).await?;
        }
        Ok(())
    }

    /// # Errors
    /// When the stream ended inside a frame.
    pub fn finish(&self) -> Result<(), CliError> {
        match &self.demux {
            Some(demux) if !demux.is_at_boundary() => Err(CliError::Disconnected(
                "it ended in the middle of a frame".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

/// Writes on the blocking pool: a pager that stops reading must stop this
/// stream only, not the signals and keys beside it.
async fn write(channel: Channel, bytes: Vec<u8>) -> Result<(), CliError> {
    let written = tokio::task::spawn_blocking(move || match channel {
        Channel::Out => {
            let mut out = io::stdout().lock();
            out.write_all(&bytes).and_then(|()| out.flush())
        }
        Channel::Err => io::stderr().lock().write_all(&bytes),
    });
    let written = written
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    written.map_err(|error| CliError::io("cannot write the output", error))
}

/// Tells the engine our terminal's size now and whenever it changes, until
/// the handle is aborted. `path` is a container's or exec's resize path.
pub fn follow_size(engine: Engine, path: String) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Ok(mut changes) = signal(SignalKind::window_change()) else {
            return;
        };
        for _ in 0..RESIZE_ATTEMPTS {
            if resize(&engine, &path).await {
                break;
            }
            tokio::time::sleep(RESIZE_PAUSE).await;
        }
        while changes.recv().await.is_some() {
            resize(&engine, &path).await;
        }
    })
}

async fn resize(engine: &Engine, path: &str) -> bool {
    let Some((rows, columns)) = terminal::size() else {
        return true;
    };
    let query = Query::new().with("h", rows).with("w", columns);
    engine
        .command(Method::POST, path, Call::query(query))
        .await
        .is_ok()
}

/// Sends the signals that reach us on to the container, until the handle is
/// aborted. Registered before the start, so that none of them kills us first.
pub fn proxy_signals(engine: Engine, container: String) -> JoinHandle<()> {
    const PROXIED: [(&str, SignalKind); 7] = [
        ("HUP", SignalKind::hangup()),
        ("INT", SignalKind::interrupt()),
        ("QUIT", SignalKind::quit()),
        ("TERM", SignalKind::terminate()),
        ("USR1", SignalKind::user_defined1()),
        ("USR2", SignalKind::user_defined2()),
        ("ALRM", SignalKind::alarm()),
    ];
    let (sender, mut signals) = mpsc::channel(16);
    let mut watchers = tokio::task::JoinSet::new();
    for (name, kind) in PROXIED {
        let Ok(mut stream) = signal(kind) else {
            continue;
        };
        let sender = sender.clone();
        watchers.spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(name).await.is_err() {
                    return;
                }
            }
        });
    }
    tokio::spawn(async move {
        // Aborting this task drops the set and with it the watchers.
        let _watchers = watchers;
        while let Some(name) = signals.recv().await {
            let query = Query::new().with("signal", name);
            let path = format!("/containers/{container}/kill");
            // Not running yet or any more: nobody there to receive it.
            let _ = engine
                .command(Method::POST, &path, Call::query(query))
                .await;
        }
    })
}

/// Docker's rule: a terminal for the process wants one on our side.
///
/// # Errors
/// When standard input is connected, `tty` is asked for and input is none.
pub fn check_tty(stdin: bool, tty: bool) -> Result<(), CliError> {
    if stdin && tty && !terminal::stdin_is_terminal() {
        return Err(CliError::usage(
            "the input device is not a TTY; leave out -t when input comes from a pipe or file",
        )
        .with_code(FAILED));
    }
    Ok(())
}

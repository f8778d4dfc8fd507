//! Progress of pulls and pushes: where the lines go, and readers that count.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use engine_api::{ErrorDetail, Progress, ProgressDetail};
use tokio::sync::mpsc;

/// Lines between two of the same layer are at least this far apart: terminals
/// cannot show more, and the connection has better things to carry.
const TICK: Duration = Duration::from_millis(100);

/// Where progress lines go. A client that does not read holds back only what
/// must not be lost (status lines), never the transfer itself.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    lines: mpsc::Sender<Progress>,
}

impl Sink {
    pub(crate) fn new(lines: mpsc::Sender<Progress>) -> Self {
        Self { lines }
    }

    /// A line about the whole operation.
    pub(crate) async fn status(&self, text: impl Into<String>) {
        let line = Progress {
            status: text.into(),
            ..Default::default()
        };
        let _ = self.lines.send(line).await;
    }

    /// The first line: `latest: Pulling from library/busybox`.
    pub(crate) async fn headed(&self, id: &str, text: String) {
        let line = Progress {
            status: text,
            id: id.to_owned(),
            ..Default::default()
        };
        let _ = self.lines.send(line).await;
    }

    /// A line about one layer.
    pub(crate) async fn layer(&self, id: &str, text: &str) {
        let line = Progress {
            status: text.to_owned(),
            id: id.to_owned(),
            progress_detail: Some(ProgressDetail::default()),
            ..Default::default()
        };
        let _ = self.lines.send(line).await;
    }

    pub(crate) async fn aux(&self, value: serde_json::Value) {
        let line = Progress {
            progress_detail: Some(ProgressDetail::default()),
            aux: Some(value),
            ..Default::default()
        };
        let _ = self.lines.send(line).await;
    }

    /// The failure of an operation whose 200 is already sent.
    pub(crate) async fn failed(&self, message: &str) {
        let line = Progress {
            error: message.to_owned(),
            error_detail: Some(ErrorDetail {
                message: message.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let _ = self.lines.send(line).await;
    }

    /// Whether anyone still listens.
    pub(crate) fn is_closed(&self) -> bool {
        self.lines.is_closed()
    }

    fn bytes(&self, status: &str, id: &str, current: u64, total: u64) {
        let line = Progress {
            status: status.to_owned(),
            id: id.to_owned(),
            progress_detail: Some(ProgressDetail { current, total }),
            progress: bar(current, total),
            ..Default::default()
        };
        // Lost when the client is slow: the next one says more.
        let _ = self.lines.try_send(line);
    }
}

/// Counts bytes of one layer and reports them.
#[derive(Debug)]
pub(crate) struct Meter {
    sink: Sink,
    status: &'static str,
    id: String,
    current: u64,
    total: u64,
    next: Instant,
}

impl Meter {
    pub(crate) fn new(sink: Sink, status: &'static str, id: &str, total: u64) -> Self {
        Self {
            sink,
            status,
            id: id.to_owned(),
            current: 0,
            total,
            next: Instant::now(),
        }
    }

    /// What a transfer that goes on has already.
    pub(crate) fn start_at(&mut self, bytes: u64) {
        self.current = bytes;
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.current += bytes as u64;
        let now = Instant::now();
        if now >= self.next {
            self.next = now + TICK;
            self.sink
                .bytes(self.status, &self.id, self.current, self.total);
        }
    }
}

/// A reader whose bytes a [`Meter`] counts. Ends with an error once nobody
/// listens: the client has cancelled the pull.
#[derive(Debug)]
pub(crate) struct Counted<R> {
    inner: R,
    meter: Meter,
}

impl<R> Counted<R> {
    pub(crate) fn new(inner: R, meter: Meter) -> Self {
        Self { inner, meter }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.meter.sink.is_closed() {
            return Err(io::Error::other("the client cancelled the transfer"));
        }
        let count = self.inner.read(buffer)?;
        self.meter.add(count);
        Ok(count)
    }
}

/// `[====>     ]  1.2MB/3.4MB` as Docker draws it.
fn bar(current: u64, total: u64) -> String {
    if total == 0 {
        return String::new();
    }
    let filled = usize::try_from(current.min(total) * 50 / total).unwrap_or(50);
    let arrow = if filled < 50 { ">" } else { "" };
    let rest = 50 - filled - arrow.len();
    format!(
        "[{}{arrow}{}] {:>8}/{}",
        "=".repeat(filled),
        " ".repeat(rest),
        size(current),
        size(total)
    )
}

/// Decimal units with four significant digits, as in Go's units package.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            let digits = match value {
                v if v >= 100.0 || unit == "B" => 0,
                v if v >= 10.0 => 2,
                _ => 3,
            };
            return format!("{value:.digits$}{unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.0}PB")
}

#[cfg(test)]
#[path = "progress/tests.rs"]
mod tests;

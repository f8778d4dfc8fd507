//! `GET /containers/{id}/logs`.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use engine_api::{StreamKind, since};
use tokio::sync::mpsc;

use super::answer::{self, Answer};
use super::hijack::{Client, Streams, push_frame};
use super::request::Request;
use crate::clock;
use crate::container::Container;
use crate::container::spec::log_path;
use crate::core::Core;
use crate::error::{EngineError, Result};
use crate::logs::{Changes, LogQuery, LogReader, Record};

/// Bytes of records read at once.
const BATCH_BYTES: usize = 64 * 1024;
/// Batches that may wait for the client.
const BATCHES_MAX: usize = 2;

pub(super) fn logs(core: &Core, container: &Arc<Container>, request: &Request) -> Result<Answer> {
    let query = &request.query;
    let wanted = LogQuery {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        since: moment(query.text("since"), "since")?,
        until: moment(query.text("until"), "until")?,
        tail: match query.text("tail") {
            None | Some("all") => None,
            // Anything that is no number means all, as with Docker.
            Some(text) => text.parse().ok(),
        },
    };
    if !wanted.stdout && !wanted.stderr {
        return Err(EngineError::bad(
            "Bad parameters: you must choose at least one stream",
        ));
    }
    if container.view().host_config.log_config.kind == "none" {
        return Err(EngineError::NotImplemented(
            "configured logging driver does not support reading".to_owned(),
        ));
    }
    let style = Style {
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        tty: container.config.tty,
    };
    let follow = query.flag("follow");
    let (sender, chunks) = mpsc::channel(BATCHES_MAX);
    let container = Arc::clone(container);
    let closing = core.closing.clone();
    tokio::spawn(async move {
        let feed = feed(&container, wanted, follow, &sender, |record, out| {
            write(record, style, out);
        });
        tokio::select! {
            result = feed => if let Err(error) = result {
                tracing::warn!(container.id = %container.id, %error, "read the log");
            },
            () = sender.closed() => {}
            () = closing.cancelled() => {}
        }
    });
    let framed = !style.tty && request.version() >= since::MULTIPLEXED_TYPE;
    let content_type = if framed {
        "application/vnd.docker.multiplexed-stream"
    } else {
        "application/vnd.docker.raw-stream"
    };
    Ok(answer::stream(content_type, chunks))
}

fn moment(text: Option<&str>, key: &str) -> Result<Option<time::OffsetDateTime>> {
    // `0` is what clients send for "not given".
    let text = text.filter(|text| *text != "0");
    text.map(|text| {
        clock::parse_moment(text, clock::now())
            .ok_or_else(|| EngineError::bad(format!("invalid value for \"{key}\": {text}")))
    })
    .transpose()
}

/// Sends records until the end, or with `follow` until the container has ended
/// and all that it wrote is sent.
async fn feed(
    container: &Container,
    query: LogQuery,
    follow: bool,
    sender: &mpsc::Sender<Bytes>,
    write: impl Fn(&Record, &mut BytesMut),
) -> io::Result<()> {
    let path = log_path(&container.dir);
    let until = query.until;
    // Before the first read, so that nothing falls between the two.
    let mut changes = if follow {
        Some(Changes::of(&container.dir)?)
    } else {
        None
    };
    let mut view = container.watch();
    let mut reader = run(move || LogReader::open(&path, query)).await?;
    loop {
        // Looked at before reading: what was written before the end is then read.
        let ended = {
            let view = view.borrow_and_update();
            view.removed || !view.state.counts_as_running()
        };
        loop {
            let records;
            (reader, records) = next_batch(reader).await?;
            if records.is_empty() {
                break;
            }
            let mut out = BytesMut::new();
            for record in &records {
                write(record, &mut out);
            }
            if sender.send(out.freeze()).await.is_err() {
                return Ok(());
            }
        }
        let Some(changes) = changes.as_mut().filter(|_| !ended && !reader.is_done()) else {
            return Ok(());
        };
        let late = async {
            match until.map(|until| until - clock::now()) {
                Some(left) => tokio::time::sleep(left.try_into().unwrap_or_default()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changes.next() => changed?,
            gone = view.changed() => if gone.is_err() { return Ok(()); },
            () = late => return Ok(()),
        }
    }
}

/// The next records; none at the end of what is written.
async fn next_batch(mut reader: LogReader) -> io::Result<(LogReader, Vec<Record>)> {
    run(move || {
        let records = reader.batch(BATCH_BYTES)?;
        Ok((reader, records))
    })
    .await
}

/// Sends what the log holds now to an attached client.
pub(super) async fn replay(
    container: &Container,
    streams: &Streams,
    client: &mut Client,
) -> io::Result<()> {
    let path = log_path(&container.dir);
    let query = LogQuery {
        stdout: streams.stdout,
        stderr: streams.stderr,
        ..Default::default()
    };
    let mut reader = run(move || LogReader::open(&path, query)).await?;
    loop {
        let records;
        (reader, records) = next_batch(reader).await?;
        if records.is_empty() {
            return Ok(());
        }
        let mut out = BytesMut::new();
        for record in &records {
            let style = Style {
                tty: streams.tty,
                ..Style::default()
            };
            write(record, style, &mut out);
        }
        client.write(&out).await?;
    }
}

/// How lines are shown.
#[derive(Clone, Copy, Debug, Default)]
struct Style {
    timestamps: bool,
    /// With the attributes that `--log-opt` chose: none can be chosen yet, and
    /// what is left is the space after them.
    details: bool,
    tty: bool,
}

fn write(record: &Record, style: Style, out: &mut BytesMut) {
    let mut data = Vec::with_capacity(record.data.len() + 32);
    if style.timestamps {
        // Always nine digits, so that columns line up.
        let time = clock::parse_rfc3339(&record.time).map(clock::rfc3339_nanos);
        data.extend_from_slice(time.as_deref().unwrap_or(&record.time).as_bytes());
        data.push(b' ');
    }
    if style.details {
        data.push(b' ');
    }
    data.extend_from_slice(&record.data);
    if style.tty {
        out.extend_from_slice(&data);
    } else {
        let kind = if record.stderr {
            StreamKind::Stderr
        } else {
            StreamKind::Stdout
        };
        push_frame(out, kind, &data);
    }
}

async fn run<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

//! Writes a running build's log: numbers its events and stores them in order.
//!
//! One task per build owns the numbering. Events reach the database in
//! batches, as many as arrived while the last batch was written, and followers
//! are woken only when a batch is stored, so following is reading the database
//! and waiting. The change of state that ends the build is stored with the
//! last events in one transaction.

use std::{collections::HashMap, time::Instant};

use builder_proto::api::{BuildFailure, BuildState, Event, LogStream, StepStatus};
use oci::Digest;
use tokio::{sync::mpsc, task::JoinHandle};

use super::live::Live;
use crate::{
    db::{Db, DbError, StoredEvent},
    solver::{Reporter, StepEvent, StepUpdate},
};

/// Events of one transaction.
const BATCH_MAX: usize = 512;
/// Output of one build that is stored, in bytes: a log longer than this is
/// noise that would fill the disk.
const LOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The recorder of one build.
#[derive(Debug)]
pub(crate) struct Recorder {
    task: JoinHandle<Result<Log, DbError>>,
}

/// How a build leaves the running state.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) state: BuildState,
    pub(crate) digest: Option<String>,
    pub(crate) error: Option<BuildFailure>,
}

impl Recorder {
    /// Starts recording; news sent to the reporter is stored until all its
    /// clones are gone.
    pub(crate) async fn start(
        db: Db,
        live: Live,
        build_id: &str,
    ) -> Result<(Self, Reporter), DbError> {
        let (reporter, news) = Reporter::channel();
        let mut log = Log {
            seq: db.system_last_seq(build_id).await?,
            db,
            live,
            build_id: build_id.to_owned(),
            steps: HashMap::new(),
            bytes: 0,
            pending: Vec::new(),
        };
        log.push(Event::State {
            state: BuildState::Running,
            digest: None,
            error: None,
        });
        let task = tokio::spawn(log.record(news));
        Ok((Self { task }, reporter))
    }

    /// Stores what is left and the change of state. The build's reporters must
    /// be gone, else this waits for them.
    ///
    /// # Errors
    /// When the database fails; the build is then still running.
    ///
    /// # Panics
    /// When the recorder did.
    pub(crate) async fn finish(self, ending: Ending) -> Result<(), DbError> {
        let log = match self.task.await {
            Ok(log) => log?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody aborts the task.
                Err(error) => panic!("the recorder was cancelled: {error}"),
            },
        };
        log.finish(ending).await
    }
}

#[derive(Debug)]
struct Log {
    db: Db,
    live: Live,
    build_id: String,
    seq: i64,
    steps: HashMap<Digest, Step>,
    bytes: usize,
    pending: Vec<StoredEvent>,
}

#[derive(Debug)]
struct Step {
    number: u32,
    name: String,
    began: Instant,
    /// Bytes of an unfinished character: standard output, standard error.
    tails: [Vec<u8>; 2],
}

impl Log {
    async fn record(mut self, mut news: mpsc::Receiver<StepEvent>) -> Result<Self, DbError> {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        self.flush().await?;
        while news.recv_many(&mut batch, BATCH_MAX).await > 0 {
            for event in batch.drain(..) {
                self.note(event);
            }
            self.flush().await?;
        }
        Ok(self)
    }

    fn push(&mut self, event: Event) {
        self.seq += 1;
        self.pending.push(StoredEvent {
            seq: self.seq,
            event,
        });
    }

    async fn flush(&mut self) -> Result<(), DbError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.db
            .system_append_events(&self.build_id, &self.pending)
            .await?;
        self.pending.clear();
        self.live.stored(&self.build_id);
        Ok(())
    }

    async fn finish(mut self, ending: Ending) -> Result<(), DbError> {
        self.push(Event::State {
            state: ending.state,
            digest: ending.digest.clone(),
            error: ending.error.clone(),
        });
        self.db
            .system_transition(
                &self.build_id,
                BuildState::Running,
                ending.state,
                ending.digest.as_deref(),
                ending.error.as_ref(),
                &self.pending,
            )
            .await?;
        self.live.stored(&self.build_id);
        Ok(())
    }

    fn note(&mut self, news: StepEvent) {
        let StepEvent { vertex, update } = news;
        if let StepUpdate::Warning(message) = update {
            return self.push(Event::Warning { message });
        }
        let next = u32::try_from(self.steps.len() + 1).unwrap_or(u32::MAX);
        let step = self.steps.entry(vertex).or_insert_with(|| Step {
            number: next,
            name: String::new(),
            began: Instant::now(),
            tails: [Vec::new(), Vec::new()],
        });
        match update {
            StepUpdate::Started { name } => {
                step.name = name;
                step.began = Instant::now();
                self.status(vertex, StepStatus::Started, None);
            }
            StepUpdate::Done => self.status(vertex, StepStatus::Done, None),
            StepUpdate::Cached => self.status(vertex, StepStatus::Cached, None),
            StepUpdate::Cancelled => self.status(vertex, StepStatus::Cancelled, None),
            StepUpdate::Failed(error) => self.status(vertex, StepStatus::Failed, Some(error)),
            StepUpdate::Output { stderr, data } => self.output(vertex, stderr, &data),
            StepUpdate::Transfer {
                id,
                status,
                current,
                total,
            } => {
                let step = step.number;
                self.push(Event::Progress {
                    step,
                    id,
                    status: status.to_owned(),
                    current,
                    total,
                });
            }
            StepUpdate::Warning(_) => {}
        }
    }

    fn status(&mut self, vertex: Digest, status: StepStatus, error: Option<String>) {
        let Some(step) = self.steps.get(&vertex) else {
            return;
        };
        let duration_ms = match status {
            StepStatus::Started => 0,
            _ => u64::try_from(step.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        self.push(Event::Step {
            step: step.number,
            name: step.name.clone(),
            status,
            duration_ms,
            error,
        });
    }

    fn output(&mut self, vertex: Digest, stderr: bool, data: &[u8]) {
        if self.bytes >= LOG_BYTES_MAX {
            return;
        }
        self.bytes += data.len();
        let Some(step) = self.steps.get_mut(&vertex) else {
            return;
        };
        let number = step.number;
        let text = decode(&mut step.tails[usize::from(stderr)], data);
        if !text.is_empty() {
            self.push(Event::Log {
                step: number,
                stream: match stderr {
                    true => LogStream::Stderr,
                    false => LogStream::Stdout,
                },
                data: text,
            });
        }
        if self.bytes >= LOG_BYTES_MAX {
            self.push(Event::Warning {
                message: format!(
                    "the log is over {} MiB: further output is dropped",
                    LOG_BYTES_MAX / 1024 / 1024
                ),
            });
        }
    }
}

/// Decodes UTF-8 that arrives in pieces: an unfinished character waits in
/// `tail`, what can never be one becomes U+FFFD.
fn decode(tail: &mut Vec<u8>, data: &[u8]) -> String {
    tail.extend_from_slice(data);
    let keep = unfinished(tail);
    let rest = tail.split_off(tail.len() - keep);
    let text = String::from_utf8_lossy(tail).into_owned();
    *tail = rest;
    text
}

/// Length of an unfinished character at the end of `bytes`.
fn unfinished(bytes: &[u8]) -> usize {
    (1..=3.min(bytes.len()))
        .find(|length| {
            matches!(
                std::str::from_utf8(&bytes[bytes.len() - length..]),
                Err(error) if error.error_len().is_none() && error.valid_up_to() == 0
            )
        })
        .unwrap_or(0)
}

#[cfg(test)]
#[path = "recorder/tests.rs"]
mod tests;

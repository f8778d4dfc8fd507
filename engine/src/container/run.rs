//! One run of a container: the connection to its monitor and how it ended.

use runtime::monitor::{ExitStatus, Monitor, MonitorEvent, MonitorReader, MonitorWriter};
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use super::state::Exit;
use crate::clock;

/// What exists only while the process does.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) writer: MonitorWriter,
    exit: JoinHandle<Option<ExitStatus>>,
}

impl Run {
    /// Watches a started monitor until its end. Output is not asked for here:
    /// the monitor writes the log, and each attached client has its own
    /// connection, so a client that stalls cannot hide the exit.
    pub(crate) fn watch(monitor: Monitor) -> Self {
        let (reader, writer) = monitor.split();
        Self {
            writer,
            exit: tokio::spawn(exit_of(reader)),
        }
    }
}

async fn exit_of(mut reader: MonitorReader) -> Option<ExitStatus> {
    loop {
        match reader.next().await {
            Some(MonitorEvent::Exited(status)) => return Some(status),
            Some(_) => {}
            None => return None,
        }
    }
}

/// What a run leaves behind. Without a status its monitor was killed.
pub(crate) fn exit_record(status: Option<ExitStatus>, started_at: Option<OffsetDateTime>) -> Exit {
    match status {
        Some(status) => Exit {
            code: status.code,
            oom_killed: status.oom_killed,
            error: String::new(),
            started_at,
            finished_at: Some(status.finished_at),
        },
        None => Exit {
            code: 255,
            oom_killed: false,
            error: "the container's monitor was killed".to_owned(),
            started_at,
            finished_at: Some(clock::now()),
        },
    }
}

/// Waits for the end of the process; for ever without one.
pub(crate) async fn ended(run: &mut Option<Run>) -> Option<ExitStatus> {
    match run {
        Some(run) => (&mut run.exit).await.ok().flatten(),
        None => std::future::pending().await,
    }
}

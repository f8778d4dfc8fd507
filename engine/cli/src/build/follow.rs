//! Follows a build's events to their end, across lost connections.
//!
//! The service numbers events and resumes after the last one seen, so nothing
//! is lost or shown twice. Cancelling asks the service and goes on following:
//! the last event tells how it ended.

use std::time::Duration;

use builder_proto::api::{BuildState, Event};
use reqwest::Response;
use tokio::{signal::ctrl_c, time::Instant};

use super::{
    progress::Progress,
    server::Server,
    sse::{Parser, ServerEvent},
};
use crate::{error::CliError, output};

/// Pauses between attempts to connect again.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long the service may stay away. The build goes on meanwhile.
const ABSENCE_MAX: Duration = Duration::from_secs(120);

/// How a build that was followed came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Succeeded,
    Failed,
    Cancelled,
    /// The person left a second time: nobody waits any more.
    Abandoned,
}

/// What woke the loop.
enum Wake {
    Chunk(Option<Result<bytes::Bytes, String>>),
    Interrupt,
    /// Time to redraw.
    Tick,
}

/// Follows the build `id`; `progress` is shown each event.
///
/// # Errors
/// When the service stays away, refuses, or speaks another language.
///
/// # Cancellation
/// Dropping the future leaves the build running.
pub(super) async fn follow(
    server: &Server,
    id: &str,
    progress: &mut Progress,
    cancels: bool,
) -> Result<Ended, CliError> {
    let mut last_id = String::new();
    let mut interrupted = false;
    let mut pause = RETRY_PAUSE_MIN;
    let mut lost_at: Option<Instant> = None;
    loop {
        let response = match server.events(id, &last_id).await {
            Ok(response) => response,
            Err(error @ CliError::Connect(_)) => {
                let lost = *lost_at.get_or_insert_with(Instant::now);
                if lost.elapsed() > ABSENCE_MAX {
                    output::note(format!(
                        "The build goes on without us; follow it with `carrack builds logs -f {id}`."
                    ));
                    return Err(error);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_PAUSE_MAX);
                continue;
            }
            Err(error) => return Err(error),
        };
        let stream = Stream {
            server,
            id,
            cancels,
            response,
            parser: Parser::default(),
        };
        let before = last_id.clone();
        if let Some(ended) = stream
            .read(progress, &mut last_id, &mut interrupted)
            .await?
        {
            return Ok(ended);
        }
        // A connection that brought something is no sign of absence.
        if last_id == before {
            let lost = *lost_at.get_or_insert_with(Instant::now);
            if lost.elapsed() > ABSENCE_MAX {
                return Err(CliError::Disconnected(
                    "the event stream keeps breaking off".to_owned(),
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        } else {
            lost_at = None;
            pause = RETRY_PAUSE_MIN;
        }
    }
}

/// One connection's worth of events.
struct Stream<'a> {
    server: &'a Server,
    id: &'a str,
    cancels: bool,
    response: Response,
    parser: Parser,
}

impl Stream<'_> {
    /// `None` when the connection ended before the build.
    async fn read(
        mut self,
        progress: &mut Progress,
        last_id: &mut String,
        interrupted: &mut bool,
    ) -> Result<Option<Ended>, CliError> {
        let mut ticks = tokio::time::interval(super::progress::REDRAW_PAUSE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wake = tokio::select! {
                chunk = self.response.chunk() => {
                    Wake::Chunk(chunk.map_err(|error| error.to_string()).transpose())
                }
                _ = ctrl_c() => Wake::Interrupt,
                _ = ticks.tick() => Wake::Tick,
            };
            match wake {
                Wake::Tick => progress.tick()?,
                Wake::Chunk(None | Some(Err(_))) => return Ok(None),
                Wake::Chunk(Some(Ok(bytes))) => {
                    let events = self.parser.push(&bytes);
                    let events = events.map_err(|e| CliError::Disconnected(e.to_string()))?;
                    for event in events {
                        if let Some(ended) = show(progress, &event, last_id)? {
                            return Ok(Some(ended));
                        }
                    }
                }
                Wake::Interrupt if !self.cancels || *interrupted => {
                    return Ok(Some(Ended::Abandoned));
                }
                Wake::Interrupt => {
                    *interrupted = true;
                    progress.message("cancelling the build; press Ctrl-C again to stop waiting")?;
                    self.server.cancel(self.id).await?;
                }
            }
        }
    }
}

fn show(
    progress: &mut Progress,
    event: &ServerEvent,
    last_id: &mut String,
) -> Result<Option<Ended>, CliError> {
    event.id.clone_into(last_id);
    // An event of a kind that is newer than this program is not worth failing for.
    let Ok(parsed) = serde_json::from_str::<Event>(&event.data) else {
        return Ok(None);
    };
    progress.event(&parsed)?;
    let Event::State { state, .. } = parsed else {
        return Ok(None);
    };
    Ok(match state {
        BuildState::Queued | BuildState::Running => None,
        BuildState::Succeeded => Some(Ended::Succeeded),
        BuildState::Failed => Some(Ended::Failed),
        BuildState::Cancelled => Some(Ended::Cancelled),
    })
}

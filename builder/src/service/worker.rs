//! Workers: each takes the oldest queued build, runs it to its end, and looks
//! for the next.

use builder_proto::api::{BuildFailure, BuildState};
use tokio_util::sync::CancellationToken;

use super::{
    Builder,
    job::{self, JobError},
    recorder::{Ending, Recorder},
    state::{Action, next},
};
use crate::{
    db::{BuildRow, DbError},
    solver::error::chain,
};

/// Works until the service drains.
pub(crate) async fn work(builder: Builder) {
    let inner = &*builder.0;
    let running = next(BuildState::Queued, Action::Start).expect("a queued build may start");
    while !inner.draining.is_cancelled() {
        // Registered before looking, so that a build queued meanwhile wakes us.
        let queued = inner.queued.notified();
        match inner.db.system_claim(running).await {
            Ok(Some(row)) => {
                // One wake-up may stand for several builds.
                inner.queued.notify_one();
                let id = row.id.clone();
                if let Err(error) = run(&builder, row).await {
                    tracing::error!(
                        build.id = id,
                        error = chain(&error),
                        "a build could not be recorded; the next start will run it again"
                    );
                }
            }
            Ok(None) => tokio::select! {
                () = queued => {}
                () = inner.draining.cancelled() => {}
            },
            Err(error) => {
                tracing::error!(error = chain(&error), "cannot read the build queue");
                tokio::select! {
                    () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
                    () = inner.draining.cancelled() => {}
                }
            }
        }
    }
}

/// Runs one build to an ended state, or back into the queue.
async fn run(builder: &Builder, row: BuildRow) -> Result<(), DbError> {
    let inner = &*builder.0;
    let id = row.id.clone();
    let cancel = CancellationToken::new();
    builder.running().insert(id.clone(), cancel.clone());
    let started = Recorder::start(inner.db.clone(), inner.live.clone(), &id).await;
    let (recorder, reporter) = match started {
        Ok(started) => started,
        Err(error) => {
            builder.running().remove(&id);
            return Err(error);
        }
    };
    // A request that came before the token was registered is in the row.
    if matches!(inner.db.system_build(&id).await?, Some(row) if row.cancel_requested) {
        cancel.cancel();
    }
    let interrupt = inner.interrupt.clone();
    let job = job::run(&inner.workshop, &inner.contexts, &row, reporter, &cancel);
    tokio::pin!(job);
    let (result, interrupted) = tokio::select! {
        result = &mut job => (result, false),
        () = interrupt.cancelled() => {
            let asked = cancel.is_cancelled();
            cancel.cancel();
            (job.await, !asked)
        }
    };
    let (action, digest, error) = match result {
        Ok(digest) => (Action::Succeed, digest.map(|d| d.to_string()), None),
        Err(JobError::Cancelled) if interrupted => (Action::Requeue, None, None),
        Err(JobError::Cancelled) => (Action::Cancel, None, None),
        Err(JobError::Failed(failure)) => (Action::Fail, None, Some(*failure)),
    };
    let state =
        next(BuildState::Running, action).expect("a running build may take each of these actions");
    if state.is_ended() {
        builder.remove_context(&id).await;
    }
    log(&id, state, error.as_ref());
    let finished = recorder
        .finish(Ending {
            state,
            digest,
            error,
        })
        .await;
    builder.running().remove(&id);
    inner.workshop.settle().await;
    finished
}

fn log(id: &str, state: BuildState, error: Option<&BuildFailure>) {
    let error = error.map(|failure| failure.message.as_str());
    tracing::info!(build.id = id, ?state, error, "build ended");
}

//! Workers: each takes the oldest queued build, runs it to its end, and looks
//! for the next.

use builder_proto::api::{BuildFailure, BuildState};
use oci::Digest;
use tokio::{sync::oneshot, task::JoinError};
use tokio_util::sync::CancellationToken;

use super::{
    Builder, failure,
    job::{self, JobError},
    recorder::{Ending, Recorder},
    state::{Action, next},
};
use crate::{
    db::{BuildRow, DbError},
    ops::blocking,
    solver::error::chain,
};

/// What a build is told that a fault of this program ended.
const INTERNAL: &str = "internal error: the build service's log has the details";

/// Works until the service drains.
pub(crate) async fn work(builder: Builder) {
    let inner = &*builder.0;
    let running = next(BuildState::Queued, Action::Start).expect("a queued build may start");
    while !inner.draining.is_cancelled() {
        // Registered before looking, so that a build queued meanwhile wakes us.
        let queued = inner.queued.notified();
        let running_build = inner.retention.build().await;
        match inner.db.system_claim(running).await {
            Ok(Some(row)) => {
                // One wake-up may stand for several builds.
                inner.queued.notify_one();
                // In a task of its own: whatever panics in it, this worker
                // looks for the next build.
                let id = row.id.clone();
                let ended = tokio::spawn(run(builder.clone(), row)).await;
                settle(&builder, &id, ended).await;
                drop(running_build);
                inner.retention.tidy(&inner.db, &inner.workshop).await;
            }
            Ok(None) => {
                drop(running_build);
                tokio::select! {
                    () = queued => {}
                    () = inner.draining.cancelled() => {}
                }
            }
            Err(error) => {
                drop(running_build);
                tracing::error!(error = chain(&error), "cannot read the build queue");
                tokio::select! {
                    () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
                    () = inner.draining.cancelled() => {}
                }
            }
        }
    }
}

/// Takes a build out of the running state when its end could not be recorded:
/// a database that failed may do better next time, what panicked once would
/// panic again.
async fn settle(builder: &Builder, id: &str, ended: Result<Result<(), DbError>, JoinError>) {
    let again = match ended {
        Ok(Ok(())) => return,
        Ok(Err(error)) => {
            let error = chain(&error);
            tracing::error!(build.id = id, error, "a build could not be recorded");
            true
        }
        Err(panic) => {
            tracing::error!(build.id = id, error = %panic, "the end of a build panicked");
            false
        }
    };
    let done = async {
        match builder.0.db.system_build(id).await? {
            Some(row) if row.state == BuildState::Running => match again {
                true => builder.release(&row).await,
                false => {
                    let error = Some(failure(INTERNAL.to_owned()));
                    let failed = builder.change(&row, BuildState::Running, Action::Fail, error);
                    failed.await.map(drop)
                }
            },
            _ => Ok(()),
        }
    };
    if let Err(error) = done.await {
        tracing::error!(
            build.id = id,
            error = chain(&error),
            "a build stays running until the next start, which runs it again"
        );
    }
}

/// The entry of a build in the map of those that run; removed when dropped.
struct Registered<'a> {
    builder: &'a Builder,
    id: &'a str,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.builder.running().remove(self.id);
    }
}

/// Runs one build to an ended state, or back into the queue.
///
/// # Errors
/// When the database fails; the build is then still in the running state.
async fn run(builder: Builder, row: BuildRow) -> Result<(), DbError> {
    let inner = &*builder.0;
    let id = row.id.clone();
    let cancel = CancellationToken::new();
    // Also when this panics: then nobody waits for the job any more.
    let _ends_job = cancel.clone().drop_guard();
    builder.running().insert(id.clone(), cancel.clone());
    let registered = Registered {
        builder: &builder,
        id: &id,
    };
    // A request that came before the token was registered is in the row.
    if matches!(inner.db.system_build(&id).await?, Some(row) if row.cancel_requested) {
        cancel.cancel();
    }
    let (recorder, reporter) = Recorder::start(inner.db.clone(), inner.live.clone(), &id).await?;
    let (own, cancelled) = (builder.clone(), cancel.clone());
    let (leftover, context) = oneshot::channel();
    let job = async move {
        let inner = &*own.0;
        let token = own.token(&row);
        let token =
            token.map_err(|error| JobError::Failed(Box::new(failure(error.to_string()))))?;
        let place = job::Place {
            workshop: &inner.workshop,
            contexts: &inner.contexts,
            token,
            leftover,
        };
        job::run(place, &row, reporter, &cancelled).await
    };
    let (result, interrupted) = supervise(job, &inner.interrupt, &cancel).await;
    let (action, digest, error) = match result {
        Ok(digest) => (Action::Succeed, digest.map(|d| d.to_string()), None),
        Err(JobError::Cancelled) if interrupted => (Action::Requeue, None, None),
        Err(JobError::Cancelled) => (Action::Cancel, None, None),
        Err(JobError::Failed(failure)) => (Action::Fail, None, Some(*failure)),
    };
    let state =
        next(BuildState::Running, action).expect("a running build may take each of these actions");
    log(&id, state, error.as_ref());
    recorder
        .finish(Ending {
            state,
            digest,
            error,
        })
        .await?;
    // Not before the end is stored: a build that a crash brings back needs it.
    if state.is_ended() {
        builder.remove_context(&id).await;
    }
    drop(registered);
    // The directory goes with its last user, which is us unless another build
    // still waits for a step of this one.
    if let Ok(tree) = context.await {
        blocking(move || drop(tree)).await;
    }
    inner.workshop.settle().await;
    Ok(())
}

/// Runs a job in a task of its own, so that a panic in it ends the build and
/// not the worker. Also tells whether `interrupt` took the build back.
async fn supervise(
    job: impl Future<Output = Result<Option<Digest>, JobError>> + Send + 'static,
    interrupt: &CancellationToken,
    cancel: &CancellationToken,
) -> (Result<Option<Digest>, JobError>, bool) {
    let mut job = tokio::spawn(job);
    let (result, interrupted) = tokio::select! {
        result = &mut job => (result, false),
        () = interrupt.cancelled() => {
            let asked = cancel.is_cancelled();
            cancel.cancel();
            (job.await, !asked)
        }
    };
    let result = result.unwrap_or_else(|panic| Err(broken(&panic)));
    (result, interrupted)
}

/// The end of a build whose job panicked. What the panic said goes to the
/// service's log only: it is no business of whoever sent the build.
fn broken(panic: &JoinError) -> JobError {
    tracing::error!(error = %panic, "a build ended in a panic");
    JobError::Failed(Box::new(failure(INTERNAL.to_owned())))
}

fn log(id: &str, state: BuildState, error: Option<&BuildFailure>) {
    let error = error.map(|failure| failure.message.as_str());
    tracing::info!(build.id = id, ?state, error, "build ended");
}

#[cfg(test)]
#[path = "worker/tests.rs"]
mod tests;

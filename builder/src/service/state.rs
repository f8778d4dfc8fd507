//! The life of a build: which change of state may follow which.

use builder_proto::api::BuildState;

/// What happens to a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A worker takes it.
    Start,
    Succeed,
    Fail,
    Cancel,
    /// Its worker went away before it ended.
    Requeue,
}

/// The state that `action` leads to from `state`; `None` when it may not happen.
pub(crate) fn next(state: BuildState, action: Action) -> Option<BuildState> {
    use BuildState::{Cancelled, Failed, Queued, Running, Succeeded};
    match (state, action) {
        (Queued, Action::Start) => Some(Running),
        (Queued | Running, Action::Cancel) => Some(Cancelled),
        (Running, Action::Succeed) => Some(Succeeded),
        (Queued | Running, Action::Fail) => Some(Failed),
        (Running, Action::Requeue) => Some(Queued),
        _ => None,
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;

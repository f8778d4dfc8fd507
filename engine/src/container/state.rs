//! The states of a container and the legal ways between them.
//!
//! One actor owns the state; everyone else sees copies. [`State::after`] is
//! the only place that knows which transitions exist.

use time::OffsetDateTime;

use crate::clock;
use crate::db::StateRow;

/// How the last run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// 128+n when a signal ended it.
    pub(crate) code: i32,
    pub(crate) oom_killed: bool,
    /// Why it could not start; empty when it ran.
    pub(crate) error: String,
    pub(crate) started_at: Option<OffsetDateTime>,
    pub(crate) finished_at: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Never ran; `failure` is the last attempt to start it.
    Created {
        failure: Option<Exit>,
    },
    Running {
        pid: u32,
        started_at: OffsetDateTime,
    },
    Paused {
        pid: u32,
        started_at: OffsetDateTime,
    },
    /// Ended, and its restart policy will start it again after a pause.
    Restarting {
        last: Exit,
    },
    Exited {
        last: Exit,
    },
    Removing {
        last: Option<Exit>,
        /// Its anonymous volumes go with it.
        volumes: bool,
    },
    /// Removal failed half-way; only another removal is possible.
    Dead {
        last: Option<Exit>,
        reason: String,
    },
}

/// What can happen to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Started {
        pid: u32,
        at: OffsetDateTime,
    },
    StartFailed(Exit),
    Paused,
    Resumed,
    Exited(Exit),
    /// Ended, and will be restarted by its policy.
    ExitedToRestart(Exit),
    /// Stopped while it waited to be restarted.
    RestartCancelled,
    RemovalBegan {
        volumes: bool,
    },
    RemovalFailed(String),
}

/// The change does not apply to the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("container is {state}: {change} is not possible")]
pub(crate) struct IllegalChange {
    state: &'static str,
    change: String,
}

impl State {
    /// The state after `change`.
    ///
    /// # Errors
    /// When no such transition exists.
    pub(crate) fn after(&self, change: Change) -> Result<Self, IllegalChange> {
        use Change as C;
        Ok(match (self, change) {
            (
                Self::Created { .. } | Self::Exited { .. } | Self::Restarting { .. },
                C::Started { pid, at },
            ) => Self::Running {
                pid,
                started_at: at,
            },
            (Self::Created { .. }, C::StartFailed(exit)) => Self::Created {
                failure: Some(exit),
            },
            (Self::Exited { .. } | Self::Restarting { .. }, C::StartFailed(exit)) => {
                Self::Exited { last: exit }
            }
            (&Self::Running { pid, started_at }, C::Paused) => Self::Paused { pid, started_at },
            (&Self::Paused { pid, started_at }, C::Resumed) => Self::Running { pid, started_at },
            (Self::Running { .. } | Self::Paused { .. }, C::Exited(exit)) => {
                Self::Exited { last: exit }
            }
            (Self::Running { .. } | Self::Paused { .. }, C::ExitedToRestart(exit)) => {
                Self::Restarting { last: exit }
            }
            (Self::Restarting { last }, C::RestartCancelled) => Self::Exited { last: last.clone() },
            (
                Self::Created { failure: last } | Self::Dead { last, .. },
                C::RemovalBegan { volumes },
            ) => Self::Removing {
                last: last.clone(),
                volumes,
            },
            (Self::Exited { last } | Self::Restarting { last }, C::RemovalBegan { volumes }) => {
                Self::Removing {
                    last: Some(last.clone()),
                    volumes,
                }
            }
            (Self::Removing { last, .. }, C::RemovalFailed(reason)) => Self::Dead {
                last: last.clone(),
                reason,
            },
            (state, change) => {
                return Err(IllegalChange {
                    state: state.status(),
                    change: change.verb().to_owned(),
                });
            }
        })
    }

    /// Docker's word for it.
    pub(crate) fn status(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::Restarting { .. } => "restarting",
            Self::Exited { .. } => "exited",
            Self::Removing { .. } => "removing",
            Self::Dead { .. } => "dead",
        }
    }

    /// A process exists.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Paused { .. })
    }

    /// Docker's `Running`: up, or about to be again.
    pub(crate) fn counts_as_running(&self) -> bool {
        self.is_up() || matches!(self, Self::Restarting { .. })
    }

    /// Host pid of the init process, 0 when there is none.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Running { pid, .. } | Self::Paused { pid, .. } => *pid,
            _ => 0,
        }
    }

    pub(crate) fn last_exit(&self) -> Option<&Exit> {
        match self {
            Self::Created { failure: last }
            | Self::Removing { last, .. }
            | Self::Dead { last, .. } => last.as_ref(),
            Self::Restarting { last } | Self::Exited { last } => Some(last),
            Self::Running { .. } | Self::Paused { .. } => None,
        }
    }

    pub(crate) fn started_at(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Running { started_at, .. } | Self::Paused { started_at, .. } => Some(*started_at),
            other => other.last_exit().and_then(|exit| exit.started_at),
        }
    }

    /// What goes to the database.
    pub(crate) fn to_row(&self) -> StateRow {
        let exit = self.last_exit();
        StateRow {
            status: self.status().to_owned(),
            exit_code: exit.map_or(0, |exit| exit.code),
            oom_killed: exit.is_some_and(|exit| exit.oom_killed),
            error: exit.map(|exit| exit.error.clone()).unwrap_or_default(),
            started_at: self.started_at().map(clock::rfc3339),
            finished_at: exit.and_then(|exit| exit.finished_at).map(clock::rfc3339),
            remove_volumes: matches!(self, Self::Removing { volumes: true, .. }),
        }
    }

    /// The state after a restart of the daemon, when no monitor answers:
    /// whatever ran has ended, with `exit` if the monitor left one.
    pub(crate) fn from_row(row: &StateRow, exit: Option<Exit>) -> Self {
        let moment = |text: &Option<String>| text.as_deref().and_then(clock::parse_rfc3339);
        let recorded = Exit {
            code: row.exit_code,
            oom_killed: row.oom_killed,
            error: row.error.clone(),
            started_at: moment(&row.started_at),
            finished_at: moment(&row.finished_at),
        };
        match row.status.as_str() {
            "created" if exit.is_none() => Self::Created {
                failure: (!recorded.error.is_empty()).then_some(recorded),
            },
            "exited" | "restarting" => Self::Exited {
                last: exit.unwrap_or(recorded),
            },
            "removing" | "dead" => Self::Dead {
                last: Some(recorded),
                reason: "its removal was interrupted: remove it again".to_owned(),
            },
            // It ran when the daemon or the host went down.
            _ => Self::Exited {
                last: exit.map_or_else(
                    || Exit {
                        code: 255,
                        error: "the container's monitor is gone and left no exit code".to_owned(),
                        finished_at: Some(clock::now()),
                        ..recorded.clone()
                    },
                    |exit| Exit {
                        started_at: exit.started_at.or(recorded.started_at),
                        ..exit
                    },
                ),
            },
        }
    }
}

impl Change {
    fn verb(&self) -> &'static str {
        match self {
            Self::Started { .. } | Self::StartFailed(_) => "starting it",
            Self::Paused => "pausing it",
            Self::Resumed => "resuming it",
            Self::Exited(_) | Self::ExitedToRestart(_) => "its exit",
            Self::RestartCancelled => "cancelling its restart",
            Self::RemovalBegan { .. } | Self::RemovalFailed(_) => "removing it",
        }
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;

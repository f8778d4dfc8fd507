//! What can go wrong between a specification and a running process.

use std::io;

use serde::{Deserialize, Serialize};

use crate::spec::SpecError;

/// Failure to create or start a process.
///
/// The texts of [`NotFound`](Self::NotFound) and
/// [`PermissionDenied`](Self::PermissionDenied) are those of runc: Docker's
/// clients derive exit codes from them.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program does not exist: exit code 127.
    #[error("{0}")]
    NotFound(String),
    /// The program may not be executed: exit code 126.
    #[error("{0}")]
    PermissionDenied(String),
    /// The specification, or the image it names, asks for what is not allowed.
    #[error("{0}")]
    Refused(String),
    /// The system refused a step of the set-up.
    #[error("{0}")]
    Setup(String),
    #[error("the container is not running")]
    NotRunning,
    /// The monitor has ended; see `ExitStatus::read`.
    #[error("the container's monitor has ended")]
    Gone,
    /// The monitor died without a reason.
    #[error("the container's monitor died during the set-up; see the daemon's standard error")]
    Died,
    #[error("{action}")]
    System {
        action: &'static str,
        source: io::Error,
    },
}

impl LaunchError {
    /// The exit code that Docker gives a container that fails so.
    pub fn exit_code(&self) -> i32 {
        match self {
            LaunchError::NotFound(_) => 127,
            LaunchError::PermissionDenied(_) => 126,
            _ => 125,
        }
    }

    pub(crate) fn system(action: &'static str, source: io::Error) -> LaunchError {
        LaunchError::System { action, source }
    }

    pub(crate) fn from_payload(payload: &[u8]) -> LaunchError {
        match serde_json::from_slice::<Failure>(payload) {
            Ok(failure) => failure.into(),
            Err(e) => LaunchError::system("read the monitor's failure", e.into()),
        }
    }
}

impl From<SpecError> for LaunchError {
    fn from(error: SpecError) -> LaunchError {
        LaunchError::Refused(error.to_string())
    }
}

/// A failure on its way from init or monitor to the daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailureKind {
    NotFound,
    PermissionDenied,
    Refused,
    Setup,
    NotRunning,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure {
            kind,
            message: message.into(),
        }
    }

    /// A system call that failed while doing `what`.
    pub(crate) fn setup(what: impl std::fmt::Display, error: impl Into<io::Error>) -> Failure {
        Failure::new(
            FailureKind::Setup,
            format!("{what}: {}", error_text(&error.into())),
        )
    }

    pub(crate) fn exit_code(&self) -> i32 {
        match self.kind {
            FailureKind::NotFound => 127,
            FailureKind::PermissionDenied => 126,
            FailureKind::Refused | FailureKind::Setup | FailureKind::NotRunning => 125,
        }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("two strings serialise")
    }
}

impl From<Failure> for LaunchError {
    fn from(failure: Failure) -> LaunchError {
        match failure.kind {
            FailureKind::NotFound => LaunchError::NotFound(failure.message),
            FailureKind::PermissionDenied => LaunchError::PermissionDenied(failure.message),
            FailureKind::Refused => LaunchError::Refused(failure.message),
            FailureKind::Setup => LaunchError::Setup(failure.message),
            FailureKind::NotRunning => LaunchError::NotRunning,
        }
    }
}

/// strerror's words as Docker's clients match them: in lower case and without
/// the number.
pub(crate) fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = plain.chars();
    chars
        .next()
        .map(|c| c.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// An error with its causes, for a message that travels as one string.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

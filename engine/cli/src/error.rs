//! Why a command failed, and the exit code that says so.

use std::io;

/// Exit code of an ordinary failure.
pub const FAILED: u8 = 1;
/// Exit code of `run` and `create` when the engine or the command line is at
/// fault rather than the container (docker-run(1), EXIT STATUS).
pub const ENGINE_FAILED: u8 = 125;
/// What a shell reports for a program that SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;

/// A failed command. The text is what the person sees, whole.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The engine answered with an error.
    #[error("Error response from daemon: {message}")]
    Engine { status: u16, message: String },
    /// No engine answers at the address.
    #[error("{0}")]
    Connect(String),
    /// The command line or a file that it names is wrong.
    #[error("{0}")]
    Usage(String),
    /// The conversation with the engine broke off.
    #[error("the engine closed the connection: {0}; its log says why")]
    Disconnected(String),
    #[error("{context}: {source}")]
    Io { context: String, source: io::Error },
    /// The reader of our output went away: nothing to tell anybody.
    #[error("the output was closed")]
    BrokenPipe,
    /// Everything has been said already, or the code is the container's.
    #[error("exit status {0}")]
    Exit(u8),
    /// A failure with a code of its own.
    #[error("{source}")]
    WithCode { code: u8, source: Box<CliError> },
}

impl CliError {
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub fn io(context: impl Into<String>, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Io {
            context: context.into(),
            source,
        }
    }

    /// The same failure with the exit code of `run`.
    #[must_use]
    pub fn with_code(self, code: u8) -> Self {
        match self {
            Self::Exit(_) | Self::BrokenPipe | Self::WithCode { .. } => self,
            other => Self::WithCode {
                code,
                source: Box::new(other),
            },
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exit(code) | Self::WithCode { code, .. } => *code,
            Self::BrokenPipe => BROKEN_PIPE,
            _ => FAILED,
        }
    }

    /// Whether there is nothing to print.
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Exit(_) | Self::BrokenPipe)
    }

    /// The engine's status when it answered with an error.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Engine { status, .. } => Some(*status),
            Self::WithCode { source, .. } => source.status(),
            _ => None,
        }
    }

    /// The engine's message without our prefix.
    pub fn engine_message(&self) -> Option<&str> {
        match self {
            Self::Engine { message, .. } => Some(message),
            Self::WithCode { source, .. } => source.engine_message(),
            _ => None,
        }
    }
}

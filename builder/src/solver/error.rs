//! Why a definition is refused, a step fails, a solve ends without a result.

use std::sync::Arc;

use oci::Digest;

use crate::db::DbError;

/// Why a definition is not a graph that can be run.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum GraphError {
    #[error("the definition has {0} operations: at most {max} are allowed", max = super::graph::VERTICES_MAX)]
    TooManyVertices(usize),
    #[error("the definition is {0} bytes: at most {max} are allowed", max = super::graph::BYTES_MAX)]
    TooLarge(usize),
    #[error("the longest chain of operations is over {max}: split the build", max = super::graph::DEPTH_MAX)]
    TooDeep,
    #[error("operation {position} is not valid protobuf: {reason}")]
    Protobuf { position: usize, reason: String },
    #[error("the last entry must be the result: one input and no operation")]
    NoResult,
    #[error("operation {0} has no type, or one that this version does not know")]
    NoOperation(String),
    #[error("input digest {0:?} is not a digest")]
    BadDigest(String),
    #[error("operation {vertex} reads {input}, which is not in the definition")]
    UnknownInput { vertex: String, input: String },
    #[error("operation {vertex} reads output {index} of {input}, which has {outputs}")]
    NoSuchOutput {
        vertex: String,
        input: String,
        index: i64,
        outputs: usize,
    },
    #[error("the operations form a cycle")]
    Cycle,
    #[error("operation {vertex}: {field} is {index}, which is out of range")]
    BadIndex {
        vertex: String,
        field: &'static str,
        index: i64,
    },
    #[error("operation {vertex}: {field} has the unknown value {value}")]
    UnknownEnum {
        vertex: String,
        field: &'static str,
        value: i32,
    },
    #[error("operation {vertex}: {field} {reason}")]
    BadField {
        vertex: String,
        field: &'static str,
        reason: String,
    },
    #[error("operation {vertex}: {what} is not supported")]
    Unsupported { vertex: String, what: &'static str },
    #[error(
        "operation {vertex}: {what} needs the entitlement {entitlement:?}, which this build does not have"
    )]
    NotEntitled {
        vertex: String,
        what: &'static str,
        entitlement: &'static str,
    },
}

/// Why a step failed. Shared by every build that waited for it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum OpError {
    /// The process of an exec ended with a code that does not count as success.
    #[error("process {process:?} did not complete successfully: exit code: {code}")]
    Exit { process: String, code: i32 },
    #[error(
        "process {process:?} did not complete successfully: cannot allocate memory: the step used all the memory it may"
    )]
    OutOfMemory { process: String },
    #[error("cancelled")]
    Cancelled,
    /// The build asks for something that cannot be had; it fails again if repeated.
    #[error("{0}")]
    User(String),
    /// The host, a registry or the disk failed; another try may succeed.
    #[error("{doing}: {reason}")]
    Host { doing: String, reason: String },
}

impl OpError {
    /// A failure of the host while it tried to `doing` (verb and object), with
    /// the chain of causes in one line.
    pub(crate) fn host(doing: impl Into<String>, error: &dyn std::error::Error) -> Self {
        Self::Host {
            doing: doing.into(),
            reason: chain(error),
        }
    }
}

/// An error and its causes in one line; a cause already said is not repeated.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    text
}

impl From<DbError> for OpError {
    fn from(error: DbError) -> Self {
        Self::host("use the step cache", &error)
    }
}

/// Why a solve has no result: the step that failed first, and its error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct SolveError {
    pub(crate) vertex: Digest,
    pub(crate) error: Arc<OpError>,
}

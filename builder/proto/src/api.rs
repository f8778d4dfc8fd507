//! JSON of the build API (`/api/v1/builds`), shared by the service and its clients.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What to build; sent as query parameters beside the context tarball.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildOptions {
    /// References to push the result to, for example `127.0.0.1:5000/team/app:1`.
    pub tags: Vec<String>,
    /// Path of the Dockerfile inside the context; `Dockerfile` when empty.
    pub dockerfile: String,
    /// Stage to build; the last one when empty.
    pub target: String,
    pub build_args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Ignore cached results of earlier builds.
    pub no_cache: bool,
    /// Push to `tags` when the build succeeds.
    pub push: bool,
    /// `os/architecture[/variant]`; the host's when empty.
    pub platform: String,
    /// Network of RUN: `default`, `none` or `host`.
    pub network: String,
}

/// The life of a build. Transitions: queued → running → one of the ended
/// states; queued → cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl BuildState {
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// A build as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    pub id: String,
    pub state: BuildState,
    pub options: BuildOptions,
    /// RFC 3339, UTC.
    pub created_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Manifest digest of the image, once succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<BuildFailure>,
    /// Who asked for it.
    pub created_by: String,
}

/// Why a build failed, in terms of the Dockerfile where it can be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildFailure {
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// 1-based.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// The source line(s) around the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// Exit code of the RUN that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// One event of a build's log. Sent over SSE with `id:` = its sequence
/// number, so that `Last-Event-ID` resumes without loss or duplicate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event {
    /// The build changed state. The last event of every build is one with an ended state.
    State {
        state: BuildState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<BuildFailure>,
    },
    /// A step began, ended or was found in the cache. `step` identifies it within the build.
    Step {
        step: u32,
        /// As buildx prints it: `[stage-1 2/5] RUN make`.
        name: String,
        status: StepStatus,
        /// Milliseconds since the step began, on ended states.
        #[serde(default)]
        duration_ms: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Output of a step. `data` is UTF-8 with invalid bytes replaced.
    Log {
        step: u32,
        stream: LogStream,
        data: String,
    },
    /// Bytes moved by a step: pulling, exporting, pushing.
    Progress {
        step: u32,
        id: String,
        status: String,
        current: u64,
        total: u64,
    },
    /// Advice that does not fail the build.
    Warning { message: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    Started,
    Done,
    Cached,
    Failed,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// Body of every error answer under `/api/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// Stable word for programs: `invalid_argument`, `not_found`, `unauthorized`, …
    pub code: String,
    /// What went wrong and what to do next.
    pub message: String,
}

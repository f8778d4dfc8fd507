//! What can go wrong between this host and a registry, by what the caller can
//! do about it.
//!
//! The texts of pull failures follow Docker's, since people and scripts search
//! for them.

use std::time::Duration;

use serde::Deserialize;

use crate::{Digest, ManifestError, Reference};

/// Why a registry operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The tag, manifest or blob does not exist there.
    #[error("{what} not found: {message}")]
    NotFound { what: String, message: String },
    /// The registry refuses this caller; a repository that is not there often looks the same.
    #[error(
        "{action} access denied for {name}, repository does not exist or may require 'docker login': {message}"
    )]
    Denied {
        /// `pull` or `push`.
        action: &'static str,
        name: String,
        message: String,
    },
    /// The user name, password or token was not accepted.
    #[error("login to {registry} failed: {message}")]
    BadCredentials { registry: String, message: String },
    /// No answer: name resolution, connection, TLS or a broken transfer.
    #[error("registry {registry} cannot be reached at {origin}: {reason}")]
    Unreachable {
        registry: String,
        origin: String,
        reason: String,
        /// Whether asking again soon may help: a connection that broke or was
        /// refused, not a name that is unknown or a certificate that is wrong.
        passing: bool,
    },
    /// The registry asks to slow down.
    #[error("toomanyrequests: {registry} is limiting requests: {message}")]
    Throttled {
        registry: String,
        message: String,
        retry_after: Option<Duration>,
    },
    /// Bytes differ from their digest or size: never used, never retried blindly.
    #[error("content of {digest} from {registry} is corrupt: {reason}")]
    Corrupt {
        registry: String,
        digest: Digest,
        reason: String,
    },
    /// The registry refuses the content that was pushed.
    #[error("{registry} refused the request: {code}: {message}")]
    Rejected {
        registry: String,
        status: u16,
        code: String,
        message: String,
    },
    /// The registry failed on its side; trying again later may help.
    #[error("{registry} failed with HTTP status {status}: {message}")]
    Server {
        registry: String,
        status: u16,
        message: String,
        retry_after: Option<Duration>,
    },
    /// An answer that the distribution-spec does not allow.
    #[error("{registry} broke the registry protocol: {reason}")]
    Protocol { registry: String, reason: String },
    /// Following the registry would send secrets or data where they do not belong.
    #[error("{registry} sent the client to {target}, which was refused: {reason}")]
    Unsafe {
        registry: String,
        target: String,
        reason: &'static str,
    },
    #[error("no matching manifest for {wanted} in the manifest list entries (there are: {found})")]
    NoPlatform { wanted: String, found: String },
    #[error("{name}: {source}")]
    Manifest { name: String, source: ManifestError },
    #[error("image configuration {digest} cannot be read: {source}")]
    Config {
        digest: Digest,
        source: serde_json::Error,
    },
    /// The caller's content could not be read, before or while it was sent.
    #[error("reading the content to push failed: {0}")]
    Source(std::io::Error),
    #[error("cannot set up the HTTP client: {0}")]
    Setup(String),
}

impl ClientError {
    /// Whether the thing asked for is absent, as opposed to unreadable now.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the same request may succeed later without a change.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Throttled { .. } | Self::Server { .. } => true,
            // Content that comes from another registry fails as that one does.
            Self::Source(error) => error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<Self>())
                .is_some_and(Self::is_transient),
            _ => false,
        }
    }

    /// Whether the same request is worth another try in a moment, and the wait
    /// that the registry asks for.
    pub(super) fn passing(&self) -> Option<Option<Duration>> {
        match self {
            Self::Unreachable { passing: true, .. } => Some(None),
            Self::Throttled { retry_after, .. } => Some(*retry_after),
            Self::Server {
                status,
                retry_after,
                ..
            } if is_passing(*status) => Some(*retry_after),
            Self::Rejected { status, .. } if is_passing(*status) => Some(None),
            _ => None,
        }
    }
}

/// Whether a status speaks of the moment and not of the request.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 502 | 503 | 504)
}

/// The first entry of a registry's error body.
#[derive(Debug, Default)]
pub(super) struct RegistryMessage {
    pub(super) code: String,
    pub(super) message: String,
}

impl RegistryMessage {
    /// Reads distribution-spec's `{"errors":[…]}`; anything else becomes a clipped text.
    pub(super) fn parse(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            errors: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        if let Ok(Body { errors }) = serde_json::from_slice(body)
            && let Some(first) = errors.into_iter().next()
        {
            return Self {
                code: clip(&first.code, 64),
                message: clip(&first.message, 512),
            };
        }
        Self {
            code: String::new(),
            message: clip(String::from_utf8_lossy(body).trim(), 256),
        }
    }

    /// `manifest unknown: no such tag`, as Docker prints code and message.
    pub(super) fn text(&self, default_code: &str) -> String {
        let code = if self.code.is_empty() {
            default_code.to_owned()
        } else {
            match self.code.as_str() {
                "TOOMANYREQUESTS" => "toomanyrequests".to_owned(),
                code => code.to_ascii_lowercase().replace('_', " "),
            }
        };
        if self.message.is_empty() || self.message == code {
            code
        } else {
            format!("{code}: {}", self.message)
        }
    }
}

/// What a request was for; decides how a refusal reads.
#[derive(Clone, Debug)]
pub(super) enum Subject<'a> {
    Manifest(&'a Reference),
    Blob(&'a Reference, Digest),
    Push(&'a Reference),
}

impl Subject<'_> {
    fn reference(&self) -> &Reference {
        match self {
            Self::Manifest(reference) | Self::Blob(reference, _) | Self::Push(reference) => {
                reference
            }
        }
    }

    /// Turns a status that is not a success into an error.
    pub(super) fn refuse(
        &self,
        status: http::StatusCode,
        retry_after: Option<Duration>,
        message: &RegistryMessage,
    ) -> ClientError {
        let registry = self.reference().registry().to_owned();
        let name = self.reference().familiar_name();
        match status.as_u16() {
            404 if message.code == "NAME_UNKNOWN" => ClientError::NotFound {
                what: format!("repository {name}"),
                message: message.text("name unknown"),
            },
            404 => match self {
                Self::Manifest(reference) => ClientError::NotFound {
                    what: format!("manifest for {}", reference.familiar()),
                    message: message.text("manifest unknown"),
                },
                Self::Blob(_, digest) => ClientError::NotFound {
                    what: format!("blob {digest} of {name}"),
                    message: message.text("blob unknown"),
                },
                Self::Push(_) => ClientError::NotFound {
                    what: format!("repository {name}"),
                    message: message.text("name unknown"),
                },
            },
            401 | 403 => ClientError::Denied {
                action: match self {
                    Self::Push(_) => "push",
                    Self::Manifest(_) | Self::Blob(..) => "pull",
                },
                name,
                message: message.text(if status == 401 {
                    "unauthorized"
                } else {
                    "denied"
                }),
            },
            429 => ClientError::Throttled {
                registry,
                message: message.text("toomanyrequests"),
                retry_after,
            },
            status @ 500.. => ClientError::Server {
                registry,
                status,
                message: message.text("server error"),
                retry_after,
            },
            status => ClientError::Rejected {
                registry,
                status,
                code: if message.code.is_empty() {
                    format!("HTTP status {status}")
                } else {
                    message.code.clone()
                },
                message: message.message.clone(),
            },
        }
    }
}

/// Keeps foreign text in errors short and on one line.
pub(super) fn clip(text: &str, chars_max: usize) -> String {
    text.chars()
        .take(chars_max)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

//! Errors of the distribution API: code, status and what to do. The only place
//! that maps internal failures to HTTP.
//!
//! Source: distribution-spec, section "Error Codes".

use http::{
    HeaderValue, StatusCode,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};

use crate::{
    content::{BodyFailure, StoreError},
    db::DbError,
    endpoint::EndpointError,
};

/// An error as a client sees it.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) detail: Option<Value>,
    pub(crate) headers: Vec<(http::HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            detail: None,
            headers: Vec::new(),
        }
    }

    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>, challenge: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
            .with_header(WWW_AUTHENTICATE, challenge)
    }

    pub(crate) fn upload_unknown() -> Self {
        Self::not_found(
            "BLOB_UPLOAD_UNKNOWN",
            "there is no such upload of yours in this repository: it ended, expired or was \
             cancelled; start a new one with POST /v2/<name>/blobs/uploads/",
        )
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message)
            .with_header(RETRY_AFTER, "1")
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: http::HeaderName, value: &str) -> Self {
        if let Ok(value) = value.parse() {
            self.headers.push((name, value));
        }
        self
    }

    #[must_use]
    pub(crate) fn with_detail(mut self, detail: Value) -> Self {
        self.detail = Some(detail);
        self
    }

    fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            "the registry failed on its side: try again, and look into its log if it goes on",
        )
    }

    fn full() -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "INSUFFICIENT_STORAGE",
            "the registry's disk is full: ask its administrator to free some space, then push again",
        )
    }
}

impl From<EndpointError> for ApiError {
    fn from(error: EndpointError) -> Self {
        let message = error.to_string();
        match error {
            EndpointError::BadPath => Self::bad("NAME_INVALID", message),
            EndpointError::Unknown => Self::not_found("UNSUPPORTED", message),
            EndpointError::Method { allowed } => {
                Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
                    .with_header(ALLOW, allowed)
            }
            EndpointError::Name(_) => Self::bad("NAME_INVALID", message),
            EndpointError::Tag(_) => Self::bad("TAG_INVALID", message),
            EndpointError::Digest(_) => Self::bad("DIGEST_INVALID", message),
            EndpointError::UploadId => Self::not_found("BLOB_UPLOAD_UNKNOWN", message),
        }
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match &error {
            DbError::Full(_) => Self::full(),
            DbError::Closed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "UNAVAILABLE",
                "the registry is shutting down: try again in a moment",
            )
            .with_header(RETRY_AFTER, "2"),
            DbError::Conflict(_)
            | DbError::Unreadable(_)
            | DbError::Other(_)
            | DbError::Migrate(_) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "a database query failed");
                Self::internal()
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Full => Self::full(),
            StoreError::Broken => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "UNAVAILABLE",
                error.to_string(),
            ),
            StoreError::Missing(_) | StoreError::Io(_) => {
                tracing::error!(%error, "the blob storage failed");
                Self::internal()
            }
        }
    }
}

impl From<BodyFailure> for ApiError {
    fn from(error: BodyFailure) -> Self {
        let message = error.to_string();
        match error {
            BodyFailure::Broken => Self::bad("BLOB_UPLOAD_INVALID", message),
            BodyFailure::Silent => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID", message)
            }
            BodyFailure::TooLong(_) => Self::bad("SIZE_INVALID", message),
            BodyFailure::Store(error) => error.into(),
            BodyFailure::Lost => {
                tracing::error!("a task that writes an upload ended abnormally");
                Self::internal()
            }
        }
    }
}

impl axum::response::IntoResponse for ApiError {
    fn into_response(self) -> axum::response::Response {
        let mut entry = json!({ "code": self.code, "message": self.message });
        if let Some(detail) = self.detail {
            entry["detail"] = detail;
        }
        let body = json!({ "errors": [entry] }).to_string();
        let mut response = axum::response::Response::new(body.into());
        *response.status_mut() = self.status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

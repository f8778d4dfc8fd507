//! Errors of the build API and the answers they become, in one place.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use builder_proto::api::{ErrorBody, ErrorDetail};

use crate::{db::DbError, solver::error::chain};

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    InvalidArgument(String),
    #[error("no build has the id {0:?}: list them with GET /api/v1/builds")]
    NoSuchBuild(String),
    #[error("nothing is served at this path: builds are under /api/v1/builds")]
    NoSuchPath,
    #[error("this path does not take that method")]
    NoSuchMethod,
    #[error("the context is larger than {0} bytes: leave files out with .dockerignore")]
    TooLarge(u64),
    #[error("{0} builds are waiting already: try again later")]
    QueueFull(usize),
    #[error("too many contexts are being uploaded: try again later")]
    UploadsFull,
    #[error("the build service is shutting down: try again later")]
    ShuttingDown,
    #[error("the upload ended early: send the context again")]
    UploadBroken,
    #[error(
        "only {arrived} bytes of the context arrived in {seconds} seconds, at least {expected} are expected: send it again over a faster connection"
    )]
    UploadSlow {
        arrived: u64,
        expected: u64,
        seconds: u64,
    },
    #[error("there is no space left for the context: remove unused images or builds")]
    NoSpace,
    #[error("the context could not be stored")]
    Store(#[source] std::io::Error),
    #[error("the build database failed")]
    Db(#[from] DbError),
}

impl ApiError {
    /// Status and the stable word for programs.
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidArgument(_) => (StatusCode::BAD_REQUEST, "invalid_argument"),
            Self::NoSuchBuild(_) | Self::NoSuchPath => (StatusCode::NOT_FOUND, "not_found"),
            Self::NoSuchMethod => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::QueueFull(_) | Self::UploadsFull => {
                (StatusCode::TOO_MANY_REQUESTS, "too_many_requests")
            }
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::UploadBroken => (StatusCode::BAD_REQUEST, "upload_broken"),
            Self::UploadSlow { .. } => (StatusCode::REQUEST_TIMEOUT, "upload_stalled"),
            Self::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "no_space"),
            Self::Store(_) | Self::Db(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// A failure to write a context, told apart by what the caller can do.
    pub(crate) fn from_io(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Store(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.parts();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = chain(&self), "a request to the build API failed");
        }
        let body = Json(ErrorBody {
            error: ErrorDetail {
                code: code.to_owned(),
                message: self.to_string(),
            },
        });
        let mut response = (status, body).into_response();
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

//! The endpoints of the distribution API, as a pure function of method and path.
//!
//! Names contain slashes, so the path is taken apart from its end. Nothing is
//! percent-decoded: no character that a name, tag or digest may contain needs
//! encoding, so an encoded one is refused before anything looks at the rest.
//! Source: distribution-spec, table "Endpoints".

use http::Method;
use oci::{Digest, DigestError, ReferenceError, Repository, Tag};
use uuid::Uuid;

/// Longest path that is looked at, in bytes: a name of 255, a digest and words.
const PATH_BYTES_MAX: usize = 1024;

/// Names a manifest within a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ManifestKey {
    Tag(Tag),
    Digest(Digest),
}

/// A request of the distribution API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// end-1: does the registry speak the API, and is the caller logged in.
    Ping,
    Catalog,
    BlobGet(Repository, Digest),
    BlobHead(Repository, Digest),
    BlobDelete(Repository, Digest),
    ManifestGet(Repository, ManifestKey),
    ManifestHead(Repository, ManifestKey),
    ManifestPut(Repository, ManifestKey),
    ManifestDelete(Repository, ManifestKey),
    UploadStart(Repository),
    UploadStatus(Repository, Uuid),
    UploadPatch(Repository, Uuid),
    UploadFinish(Repository, Uuid),
    UploadCancel(Repository, Uuid),
    TagsList(Repository),
    Referrers(Repository, Digest),
}

/// What a caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// What an endpoint needs before it may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need<'a> {
    /// Any login.
    Login,
    Catalog,
    Repository(&'a Repository, Action),
}

/// Why a path is no endpoint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum EndpointError {
    #[error(
        "the path must be at most {PATH_BYTES_MAX} plain characters without empty, '.' or '..' \
         segments and without percent-encoding"
    )]
    BadPath,
    #[error("there is no such endpoint in the distribution API")]
    Unknown,
    #[error("this endpoint does not answer this method")]
    Method {
        /// For the `Allow` header.
        allowed: &'static str,
    },
    #[error(transparent)]
    Name(ReferenceError),
    #[error(transparent)]
    Tag(ReferenceError),
    #[error(transparent)]
    Digest(DigestError),
    #[error("the upload id is not a UUID: start with POST /v2/<name>/blobs/uploads/")]
    UploadId,
}

impl Endpoint {
    /// # Errors
    /// See [`EndpointError`]; the variants map one to one to API error codes.
    pub(crate) fn parse(method: &Method, path: &str) -> Result<Self, EndpointError> {
        check_path(path)?;
        let rest = match path {
            "/v2" | "/v2/" => {
                return on(method, "GET, HEAD", &[("GET", ()), ("HEAD", ())]).map(|()| Self::Ping);
            }
            path => path.strip_prefix("/v2/").ok_or(EndpointError::Unknown)?,
        };
        if rest == "_catalog" {
            return on(method, "GET", &[("GET", Self::Catalog)]);
        }
        if let Some(name) = rest
            .strip_suffix("/blobs/uploads/")
            .or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return on(
                method,
                "POST",
                &[("POST", Self::UploadStart(repository(name)?))],
            );
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return on(method, "GET", &[("GET", Self::TagsList(repository(name)?))]);
        }
        let (head, last) = rest.rsplit_once('/').ok_or(EndpointError::Unknown)?;
        if let Some(name) = head.strip_suffix("/blobs/uploads") {
            return upload(method, name, last);
        }
        let (name, word) = head.rsplit_once('/').ok_or(EndpointError::Unknown)?;
        match word {
            "blobs" => blob(method, name, last),
            "manifests" => manifest(method, name, last),
            "referrers" => {
                let found = Self::Referrers(repository(name)?, digest(last)?);
                on(method, "GET", &[("GET", found)])
            }
            _ => Err(EndpointError::Unknown),
        }
    }

    /// What the caller must be allowed to do.
    ///
    /// Ending an upload session takes `push`, not `delete`: clients hold a push
    /// token when they give up, and containers/image documents that it cannot
    /// get another.
    pub(crate) fn need(&self) -> Need<'_> {
        match self {
            Self::Ping => Need::Login,
            Self::Catalog => Need::Catalog,
            Self::BlobGet(repo, _)
            | Self::BlobHead(repo, _)
            | Self::ManifestGet(repo, _)
            | Self::ManifestHead(repo, _)
            | Self::TagsList(repo)
            | Self::Referrers(repo, _) => Need::Repository(repo, Action::Pull),
            Self::ManifestPut(repo, _)
            | Self::UploadStart(repo)
            | Self::UploadStatus(repo, _)
            | Self::UploadPatch(repo, _)
            | Self::UploadFinish(repo, _)
            | Self::UploadCancel(repo, _) => Need::Repository(repo, Action::Push),
            Self::BlobDelete(repo, _) | Self::ManifestDelete(repo, _) => {
                Need::Repository(repo, Action::Delete)
            }
        }
    }

    /// A short fixed name for metrics and logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Catalog => "catalog",
            Self::BlobGet(..) => "blob_get",
            Self::BlobHead(..) => "blob_head",
            Self::BlobDelete(..) => "blob_delete",
            Self::ManifestGet(..) => "manifest_get",
            Self::ManifestHead(..) => "manifest_head",
            Self::ManifestPut(..) => "manifest_put",
            Self::ManifestDelete(..) => "manifest_delete",
            Self::UploadStart(..) => "upload_start",
            Self::UploadStatus(..) => "upload_status",
            Self::UploadPatch(..) => "upload_patch",
            Self::UploadFinish(..) => "upload_finish",
            Self::UploadCancel(..) => "upload_cancel",
            Self::TagsList(..) => "tags_list",
            Self::Referrers(..) => "referrers",
        }
    }
}

fn check_path(path: &str) -> Result<(), EndpointError> {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'%' | b'\\');
    if path.len() > PATH_BYTES_MAX || !path.bytes().all(plain) {
        return Err(EndpointError::BadPath);
    }
    let inner = path.strip_prefix('/').ok_or(EndpointError::BadPath)?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    match inner.split('/').any(|s| matches!(s, "" | "." | "..")) {
        true => Err(EndpointError::BadPath),
        false => Ok(()),
    }
}

/// Picks the entry for `method`.
fn on<T: Clone>(
    method: &Method,
    allowed: &'static str,
    table: &[(&str, T)],
) -> Result<T, EndpointError> {
    table
        .iter()
        .find(|(name, _)| *name == method.as_str())
        .map(|(_, found)| found.clone())
        .ok_or(EndpointError::Method { allowed })
}

fn blob(method: &Method, name: &str, last: &str) -> Result<Endpoint, EndpointError> {
    let (repo, digest) = (repository(name)?, digest(last)?);
    let make: fn(Repository, Digest) -> Endpoint = on(
        method,
        "GET, HEAD, DELETE",
        &[
            ("GET", Endpoint::BlobGet as fn(_, _) -> _),
            ("HEAD", Endpoint::BlobHead),
            ("DELETE", Endpoint::BlobDelete),
        ],
    )?;
    Ok(make(repo, digest))
}

fn manifest(method: &Method, name: &str, last: &str) -> Result<Endpoint, EndpointError> {
    let repo = repository(name)?;
    let key = match last.contains(':') {
        true => ManifestKey::Digest(digest(last)?),
        false => ManifestKey::Tag(Tag::parse(last).map_err(EndpointError::Tag)?),
    };
    let make: fn(Repository, ManifestKey) -> Endpoint = on(
        method,
        "GET, HEAD, PUT, DELETE",
        &[
            ("GET", Endpoint::ManifestGet as fn(_, _) -> _),
            ("HEAD", Endpoint::ManifestHead),
            ("PUT", Endpoint::ManifestPut),
            ("DELETE", Endpoint::ManifestDelete),
        ],
    )?;
    Ok(make(repo, key))
}

fn upload(method: &Method, name: &str, last: &str) -> Result<Endpoint, EndpointError> {
    let repo = repository(name)?;
    let id = Uuid::try_parse(last).map_err(|_| EndpointError::UploadId)?;
    let make: fn(Repository, Uuid) -> Endpoint = on(
        method,
        "GET, PATCH, PUT, DELETE",
        &[
            ("GET", Endpoint::UploadStatus as fn(_, _) -> _),
            ("PATCH", Endpoint::UploadPatch),
            ("PUT", Endpoint::UploadFinish),
            ("DELETE", Endpoint::UploadCancel),
        ],
    )?;
    Ok(make(repo, id))
}

fn repository(name: &str) -> Result<Repository, EndpointError> {
    Repository::parse(name).map_err(EndpointError::Name)
}

fn digest(text: &str) -> Result<Digest, EndpointError> {
    text.parse().map_err(EndpointError::Digest)
}

#[cfg(test)]
#[path = "endpoint/tests.rs"]
mod tests;

//! Writing to a registry: blobs first, the manifest last.
//!
//! Each upload begins with a bodyless POST that settles authentication and yields
//! the session, since a body is not sent for nothing.

use std::{
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::{Method, StatusCode, Url, header::CONTENT_TYPE};

use super::{
    Client,
    auth::Credentials,
    blob::call_at,
    error::{ClientError, Subject},
    source::BlobSource,
    transport::{self, Call},
    upload::{Upload, send_body},
};
use crate::{Algorithm, Digest, Hasher, MediaType, Reference};

/// Scope of every push request, so that one token serves them all.
pub(super) const ACTIONS: &str = "pull,push";

impl Client {
    /// Sends a blob of known digest and size in one PUT. Where the connection
    /// breaks or the registry is busy, it goes on as far as patience lasts.
    ///
    /// # Errors
    /// `Denied`, `Rejected` (wrong digest or size), `Source` when the content cannot
    /// be read, and the ways a registry cannot be reached. Nothing becomes visible then.
    pub async fn push_blob(
        &self,
        repository: &Reference,
        digest: &Digest,
        size_bytes: u64,
        source: &dyn BlobSource,
        credentials: &Credentials,
    ) -> Result<(), ClientError> {
        let upload = Upload {
            client: self,
            repository,
            digest,
            size_bytes,
            credentials,
        };
        upload.run(source).await
    }

    /// Sends a blob whose digest is known only at its end: POST, streamed PATCH, PUT.
    /// Returns the digest and the size in bytes. The body can be read only once, so
    /// an upload that breaks is not repeated.
    ///
    /// # Errors
    /// As [`Client::push_blob`].
    pub async fn push_blob_streamed<S>(
        &self,
        repository: &Reference,
        algorithm: Algorithm,
        body: S,
        credentials: &Credentials,
    ) -> Result<(Digest, u64), ClientError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let session = self.start_upload(repository, credentials).await?;
        let seen = Arc::new(Mutex::new((Hasher::new(algorithm), 0u64)));
        let hashed = {
            let seen = Arc::clone(&seen);
            body.inspect(move |chunk| {
                if let (Ok(chunk), Ok(mut seen)) = (chunk, seen.lock()) {
                    seen.0.update(chunk);
                    seen.1 += chunk.len() as u64;
                }
            })
        };
        let call = call_at(Method::PATCH, &session, Subject::Push(repository), ACTIONS);
        let response = send_body(self, &call, &session, credentials, hashed).await?;
        let mut session = transport::location(repository.registry(), &session, &response)?;
        let (digest, size_bytes) = {
            let seen = seen
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            (seen.0.clone().finish(), seen.1)
        };
        session
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let call = call_at(Method::PUT, &session, Subject::Push(repository), ACTIONS);
        match self.transport.send_ok(&call, credentials).await {
            // A repeated request finds no session: the answer to the first was lost.
            Err(ClientError::NotFound { .. })
                if self.has_blob(repository, &digest, credentials).await? => {}
            closed => drop(closed?),
        }
        Ok((digest, size_bytes))
    }

    /// Asks the registry to link a blob from another of its repositories.
    /// `false` means that it must be uploaded instead.
    ///
    /// # Errors
    /// `Denied` and the ways a registry cannot be reached.
    pub async fn mount(
        &self,
        repository: &Reference,
        digest: &Digest,
        from: &Reference,
        credentials: &Credentials,
    ) -> Result<bool, ClientError> {
        let path = format!(
            "v2/{}/blobs/uploads/?mount={digest}&from={}",
            repository.repository(),
            from.repository()
        );
        let mut call = Call::new(Method::POST, path, Subject::Push(repository), ACTIONS);
        call.extra_scopes
            .push(format!("repository:{}:pull", from.repository()));
        let (response, url) = self.transport.send_ok(&call, credentials).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        // The registry opened an upload session instead. Leaving it would cost
        // the registry until it expires; that it cannot be ended is no failure.
        if let Ok(session) = transport::location(repository.registry(), &url, &response) {
            let end = call_at(Method::DELETE, &session, Subject::Push(repository), ACTIONS);
            if let Err(error) = self.transport.send(&end, credentials).await {
                tracing::debug!(%error, "upload session of a refused mount stays open");
            }
        }
        Ok(false)
    }

    /// Sends a manifest exactly as given, under the reference's tag or digest.
    /// Returns its digest.
    ///
    /// # Errors
    /// `Rejected` with code MANIFEST_BLOB_UNKNOWN when content it names is missing,
    /// and as [`Client::push_blob`].
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &MediaType,
        bytes: Bytes,
        credentials: &Credentials,
    ) -> Result<Digest, ClientError> {
        let algorithm = reference
            .digest()
            .map_or(Algorithm::Sha256, Digest::algorithm);
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&bytes);
        let digest = hasher.finish();
        let path = format!(
            "v2/{}/manifests/{}",
            reference.repository(),
            reference.manifest_key()
        );
        let mut call = Call::new(Method::PUT, path, Subject::Push(reference), ACTIONS);
        let value = media_type.as_str().parse().map_err(|_| {
            self.protocol(reference, "the media type cannot be written in a header")
        })?;
        call.headers.insert(CONTENT_TYPE, value);
        call.body = bytes;
        let (response, _) = self.transport.send_ok(&call, credentials).await?;
        match super::blob::header_digest(&response) {
            Some(stated) if stated.algorithm() == algorithm && stated != digest => {
                Err(ClientError::Corrupt {
                    registry: reference.registry().to_owned(),
                    digest,
                    reason: format!("the registry stored the manifest as {stated}"),
                })
            }
            _ => Ok(digest),
        }
    }

    /// Opens an upload session.
    pub(super) async fn start_upload(
        &self,
        repository: &Reference,
        credentials: &Credentials,
    ) -> Result<Url, ClientError> {
        let path = format!("v2/{}/blobs/uploads/", repository.repository());
        let call = Call::new(Method::POST, path, Subject::Push(repository), ACTIONS);
        let (response, url) = self.transport.send_ok(&call, credentials).await?;
        transport::location(repository.registry(), &url, &response)
    }

    fn protocol(&self, reference: &Reference, reason: &str) -> ClientError {
        ClientError::Protocol {
            registry: reference.registry().to_owned(),
            reason: reason.to_owned(),
        }
    }
}

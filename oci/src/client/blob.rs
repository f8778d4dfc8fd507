//! A blob on its way in: bytes that are handed on only while they agree with
//! the descriptor, and an end that is reported only after the digest matched.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use reqwest::{Method, Response, StatusCode, header::RANGE};
use tokio::runtime::Handle;

use super::{
    Client,
    auth::Credentials,
    error::{ClientError, Subject},
    patience::Tries,
    transport::{self, Call, Target},
};
use crate::{Descriptor, Digest, Hasher, Reference};

/// The verified bytes of a blob.
///
/// A consumer that saw the stream end without an error has seen exactly the
/// descriptor's bytes. What it got before an error must be thrown away.
pub struct BlobStream {
    inner: BoxStream<'static, Result<Bytes, ClientError>>,
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobStream")
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.poll_next_unpin(cx)
    }
}

impl BlobStream {
    /// The same bytes as an asynchronous reader; the error is inside the `io::Error`.
    pub fn into_async_read(self) -> impl tokio::io::AsyncBufRead + Send + Unpin + 'static {
        tokio_util::io::StreamReader::new(self.map_err(io::Error::other))
    }

    /// The same bytes as a blocking reader, for a thread outside the runtime
    /// (`spawn_blocking`). `runtime` drives the transfer.
    pub fn into_read(self, runtime: Handle) -> BlobReader {
        BlobReader {
            stream: self,
            runtime,
            chunk: Bytes::new(),
        }
    }

    /// Collects the blob; only for blobs whose descriptor was checked to be small.
    pub async fn collect(mut self) -> Result<Bytes, ClientError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all.into())
    }
}

/// A blocking reader over [`BlobStream`].
#[derive(Debug)]
pub struct BlobReader {
    stream: BlobStream,
    runtime: Handle,
    chunk: Bytes,
}

impl io::Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Where a transfer stands.
struct Transfer {
    client: Client,
    reference: Reference,
    credentials: Credentials,
    descriptor: Descriptor,
    response: Option<Response>,
    hasher: Option<Hasher>,
    received_bytes: u64,
    /// Where the transfer was last continued.
    continued_at: u64,
    tries: Tries,
}

impl Client {
    /// Starts the download of a blob of `repository`.
    ///
    /// # Errors
    /// Immediately when the blob is absent or refused. Later, inside the stream:
    /// `Corrupt` when bytes differ from `descriptor`, `Unreachable` when the
    /// transfer broke and could not be continued by range.
    pub async fn blob(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        credentials: &Credentials,
    ) -> Result<BlobStream, ClientError> {
        let mut transfer = Transfer {
            client: self.clone(),
            reference: repository.clone(),
            credentials: credentials.clone(),
            descriptor: descriptor.clone(),
            response: None,
            hasher: Some(Hasher::new(descriptor.digest.algorithm())),
            received_bytes: 0,
            continued_at: 0,
            tries: self.transport.tries(),
        };
        transfer.open().await?;
        let inner = futures_util::stream::try_unfold(transfer, Transfer::next).boxed();
        Ok(BlobStream { inner })
    }
}

impl Transfer {
    /// Requests the bytes from `received_bytes` on.
    async fn open(&mut self) -> Result<(), ClientError> {
        let path = format!(
            "v2/{}/blobs/{}",
            self.reference.repository(),
            self.descriptor.digest
        );
        let subject = Subject::Blob(&self.reference, self.descriptor.digest);
        let mut call = Call::new(Method::GET, path, subject, "pull");
        if self.received_bytes > 0 {
            let range = format!("bytes={}-", self.received_bytes);
            let range = range.parse().expect("digits and ASCII make a header value");
            call.headers.insert(RANGE, range);
        }
        let (response, _) = self.client.transport.send(&call, &self.credentials).await?;
        if self.received_bytes > 0 && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            let (got, size) = (self.received_bytes, self.descriptor.size);
            return Err(self.corrupt(format!("only {got} of {size} bytes are there")));
        }
        if !response.status().is_success() {
            return Err(transport::refusal(&call.subject, response).await);
        }
        if self.received_bytes > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            // The server ignores ranges: start over and hash from the beginning.
            // Bytes already handed on cannot be taken back, so this is the end.
            return Err(self.broken("the transfer broke and the registry does not resume"));
        }
        self.response = Some(response);
        Ok(())
    }

    /// The next chunk, or the verified end.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ClientError> {
        loop {
            let Some(response) = self.response.as_mut() else {
                return Ok(None);
            };
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    self.received_bytes += chunk.len() as u64;
                    if self.received_bytes > self.descriptor.size {
                        return Err(self.corrupt(format!(
                            "more bytes than the {} that its descriptor says",
                            self.descriptor.size
                        )));
                    }
                    if let Some(hasher) = self.hasher.as_mut() {
                        hasher.update(&chunk);
                    }
                    return Ok(Some((chunk, self)));
                }
                Ok(None) if self.received_bytes == self.descriptor.size => {
                    return self.finish().map(|()| None);
                }
                Ok(None) => self.resume("the transfer ended early").await?,
                Err(error) => self.resume(&transport::chain(&error)).await?,
            }
        }
    }

    fn finish(&mut self) -> Result<(), ClientError> {
        self.response = None;
        let found = self.hasher.take().map(Hasher::finish);
        match found {
            Some(found) if found == self.descriptor.digest => Ok(()),
            found => {
                let found = found.map_or_else(String::new, |digest| digest.to_string());
                Err(self.corrupt(format!("the bytes hash to {found}")))
            }
        }
    }

    async fn resume(&mut self, reason: &str) -> Result<(), ClientError> {
        self.response = None;
        self.tries.moved(self.received_bytes - self.continued_at);
        self.continued_at = self.received_bytes;
        if !self.tries.wait(None).await {
            return Err(self.broken(reason));
        }
        tracing::debug!(
            blob.digest = %self.descriptor.digest,
            received_bytes = self.received_bytes,
            reason,
            "continuing a broken transfer"
        );
        self.open().await
    }

    fn corrupt(&self, reason: String) -> ClientError {
        ClientError::Corrupt {
            registry: self.reference.registry().to_owned(),
            digest: self.descriptor.digest,
            reason,
        }
    }

    fn broken(&self, reason: &str) -> ClientError {
        ClientError::Unreachable {
            registry: self.reference.registry().to_owned(),
            origin: self.reference.registry().to_owned(),
            reason: format!("{reason} after {} bytes", self.received_bytes),
            passing: false,
        }
    }
}

/// A check of presence, and the digest that a manifest came with.
pub(super) fn header_digest(response: &Response) -> Option<Digest> {
    response
        .headers()
        .get("docker-content-digest")?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// A call that goes to a URL the registry gave, such as an upload session.
pub(super) fn call_at<'a>(
    method: Method,
    url: &'a reqwest::Url,
    subject: Subject<'a>,
    actions: &'static str,
) -> Call<'a> {
    Call {
        target: Target::Url(url),
        ..Call::new(method, String::new(), subject, actions)
    }
}

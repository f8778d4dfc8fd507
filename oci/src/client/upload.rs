//! An upload of known content: it goes on where it broke.
//!
//! Owns the session on the registry. When the connection breaks or the registry
//! says that it is busy, the session is asked how far it got; one that is gone is
//! replaced, unless the blob is there already and only the answer was lost.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::{
    Body, Method, Response, Url,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE},
};

use super::{
    Client,
    auth::Credentials,
    blob::call_at,
    error::{ClientError, Subject},
    push::ACTIONS,
    source::{BlobBytes, BlobSource},
    transport::{self, Call},
};
use crate::{Digest, Reference};

/// Times that a session is asked again how far it got, before another is begun.
const CONFLICTS_MAX: u32 = 3;

/// What is pushed where.
#[derive(Clone, Copy)]
pub(super) struct Upload<'a> {
    pub(super) client: &'a Client,
    pub(super) repository: &'a Reference,
    pub(super) digest: &'a Digest,
    pub(super) size_bytes: u64,
    pub(super) credentials: &'a Credentials,
}

/// A session on the registry, and how much it has.
struct Session {
    url: Url,
    offset_bytes: u64,
    /// Whether an earlier request has written to it.
    used: bool,
}

/// What a failure says of the session it hit.
enum Standing {
    /// Nothing.
    Sound,
    /// An earlier request may still write to it: how far it got is not settled.
    Unsettled,
    /// It has ended, or what it has is wrong.
    Wrong,
}

fn standing(session: &Session, error: &ClientError) -> Standing {
    match error {
        ClientError::Rejected { .. } | ClientError::NotFound { .. } if !session.used => {
            Standing::Sound
        }
        ClientError::Rejected {
            status: 409 | 416, ..
        } => Standing::Unsettled,
        ClientError::Rejected { .. } | ClientError::NotFound { .. } => Standing::Wrong,
        _ => Standing::Sound,
    }
}

impl Upload<'_> {
    /// Sends the content until the registry has it or patience ends.
    pub(super) async fn run(&self, source: &dyn BlobSource) -> Result<(), ClientError> {
        let mut tries = self.client.transport.tries();
        let mut conflicts = 0;
        // Read before a session is opened: content that cannot be had leaves none.
        let mut bytes = source.open(0).await.map_err(ClientError::Source)?;
        let mut session = self.start().await?;
        loop {
            let sent = Arc::new(AtomicU64::new(0));
            let Err(error) = self.send(&session, bytes, &sent).await else {
                return Ok(());
            };
            tries.moved(sent.load(Ordering::Relaxed));
            session = match standing(&session, &error) {
                Standing::Sound => {
                    tries.after(error).await?;
                    match self.find(session).await? {
                        Some(found) => found,
                        None => return Ok(()),
                    }
                }
                _ if !tries.wait(None).await => return Err(error),
                Standing::Unsettled if conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    match self.find(session).await? {
                        Some(found) => found,
                        None => return Ok(()),
                    }
                }
                Standing::Unsettled | Standing::Wrong => self.start().await?,
            };
            bytes = source
                .open(session.offset_bytes)
                .await
                .map_err(ClientError::Source)?;
        }
    }

    async fn start(&self) -> Result<Session, ClientError> {
        let url = self
            .client
            .start_upload(self.repository, self.credentials)
            .await?;
        Ok(Session {
            url,
            offset_bytes: 0,
            used: false,
        })
    }

    /// The session to go on with; `None` when the registry has the blob.
    async fn find(&self, session: Session) -> Result<Option<Session>, ClientError> {
        let (client, repository) = (self.client, self.repository);
        let there = client.has_blob(repository, self.digest, self.credentials);
        match there.await {
            Ok(true) => return Ok(None),
            Err(error) if error.is_transient() => return Err(error),
            // A refusal to say is no reason to stop.
            Ok(false) | Err(_) => {}
        }
        let subject = Subject::Push(repository);
        let call = call_at(Method::GET, &session.url, subject, ACTIONS);
        let (response, _) = client.transport.send(&call, self.credentials).await?;
        let offset_bytes = received(&response);
        if !response.status().is_success() || offset_bytes > self.size_bytes {
            return self.start().await.map(Some);
        }
        let moved = transport::location(repository.registry(), &session.url, &response);
        let found = Session {
            url: moved.unwrap_or(session.url),
            offset_bytes,
            used: true,
        };
        tracing::debug!(
            blob.digest = %self.digest,
            offset_bytes,
            "continuing a broken upload"
        );
        Ok(Some(found))
    }

    /// Sends what the session lacks and closes it.
    async fn send(
        &self,
        session: &Session,
        bytes: BlobBytes,
        sent: &Arc<AtomicU64>,
    ) -> Result<(), ClientError> {
        let mut url = session.url.clone();
        url.query_pairs_mut()
            .append_pair("digest", &self.digest.to_string());
        let mut call = call_at(Method::PUT, &url, Subject::Push(self.repository), ACTIONS);
        let rest = self.size_bytes - session.offset_bytes;
        call.headers.insert(CONTENT_LENGTH, rest.into());
        if session.used && rest > 0 {
            // Has the registry refuse what does not fit instead of appending it.
            let range = format!("{}-{}", session.offset_bytes, self.size_bytes - 1);
            let range = range
                .parse()
                .expect("digits and a hyphen make a header value");
            call.headers.insert(CONTENT_RANGE, range);
        }
        let sent = Arc::clone(sent);
        let counted = bytes.inspect(move |chunk| {
            let count = chunk.as_ref().map_or(0, Bytes::len);
            sent.fetch_add(count as u64, Ordering::Relaxed);
        });
        send_body(self.client, &call, &url, self.credentials, counted)
            .await
            .map(drop)
    }
}

/// Bytes that a session has by `Range: 0-<last>`. `0-0` is what empty ones say, so
/// one byte counts as none.
fn received(response: &Response) -> u64 {
    let last = response
        .headers()
        .get(RANGE)
        .and_then(|value| value.to_str().ok())
        .map(|text| text.strip_prefix("bytes=").unwrap_or(text))
        .and_then(|text| text.strip_prefix("0-"))
        .and_then(|last| last.parse::<u64>().ok());
    last.filter(|last| *last > 0)
        .map_or(0, |last| last.saturating_add(1))
}

/// Sends `body`, which can be read once; `Authorization` only at the registry's origin.
///
/// # Errors
/// `Source` when `body` fails, else what the registry or the way to it says.
pub(super) async fn send_body<S>(
    client: &Client,
    call: &Call<'_>,
    session: &Url,
    credentials: &Credentials,
    body: S,
) -> Result<Response, ClientError>
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let registry = call.reference().registry();
    let base = client.transport.base(call.reference()).await?;
    let failed = Arc::new(Mutex::new(None::<io::Error>));
    let watched = {
        let failed = Arc::clone(&failed);
        body.map(move |chunk| {
            chunk.map_err(|error| {
                let kind = error.kind();
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                io::Error::from(kind)
            })
        })
    };
    let mut request = client
        .transport
        .http()
        .request(call.method.clone(), session.clone())
        .headers(call.headers.clone())
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(Body::wrap_stream(watched));
    if transport::same_origin(&base, session) {
        let key = call.token_key(&base, credentials);
        if let Some(authorization) = client.transport.authorization(&key) {
            request = request.header(AUTHORIZATION, authorization);
        }
    }
    let response = request.send().await.map_err(|error| {
        let source = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match source {
            Some(source) => ClientError::Source(source),
            None => transport::unreachable(registry, session, &error),
        }
    })?;
    match response.status().is_success() {
        true => Ok(response),
        false => Err(transport::refusal(&call.subject, response).await),
    }
}

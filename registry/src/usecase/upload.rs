//! Upload sessions: start, append, finish, cancel.
//!
//! A session's truth is its row: offset and hasher state after it. Bytes of the
//! object past the offset were never acknowledged and are cut off when a later
//! request goes on. Work that must not stop when the client goes away runs in
//! tasks of its own, so that what arrived is recorded.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::Body;
use oci::{Algorithm, Digest, Hasher, Repository};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{blocking, commit};
use crate::{
    content::{
        BodyFailure, Ingest, Lease, ObjectKey, StoreError, pump, restore_hasher, save_hasher,
    },
    db::{UploadRow, now_micros},
    error::ApiError,
    metrics::Running,
    service::Service,
};

/// How long a session lives after its last byte.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Blobs up to here live in their row, in bytes.
pub(super) const ROW_BYTES_MAX: u64 = 64 * 1024;
/// Bytes read at a time when an object must be hashed again.
const REHASH_BYTES: usize = 1024 * 1024;

/// How long a status waits for the request that writes to the session. One whose
/// client is gone ends at once; one that goes on has no final offset anyway.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// The sessions that a request is working on, and the boot they belong to.
#[derive(Debug)]
pub(crate) struct Uploads {
    held: Arc<Held>,
    pub(crate) boot_id: String,
}

/// Ids of sessions, each held by one request.
#[derive(Debug, Default)]
struct Held {
    ids: Mutex<HashSet<String>>,
    ended: Notify,
}

/// Holds a session for one request.
#[derive(Debug)]
pub(crate) struct Busy {
    held: Arc<Held>,
    id: String,
}

impl Held {
    fn ids(&self) -> MutexGuard<'_, HashSet<String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uploads {
    pub(crate) fn new() -> Self {
        // Without a boot id nothing is trusted across processes: a unique one.
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(
            |_| Uuid::new_v4().to_string(),
            |text| text.trim().to_owned(),
        );
        Self {
            held: Arc::default(),
            boot_id,
        }
    }

    /// `None` when another request holds the session.
    pub(crate) fn begin(&self, id: &str) -> Option<Busy> {
        self.held.ids().insert(id.to_owned()).then(|| Busy {
            held: Arc::clone(&self.held),
            id: id.to_owned(),
        })
    }

    /// Waits until no request holds the session, at most [`SETTLE_TIME`].
    async fn settle(&self, id: &str) {
        let free = async {
            loop {
                // Enabled before the look, so that no end in between is missed.
                let mut ended = std::pin::pin!(self.held.ended.notified());
                ended.as_mut().enable();
                if !self.held.ids().contains(id) {
                    return;
                }
                ended.await;
            }
        };
        // Whoever asks in the middle of an upload is told how far it is recorded.
        let _ = tokio::time::timeout(SETTLE_TIME, free).await;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.held.ids().remove(&self.id);
        self.held.ended.notify_waiters();
    }
}

/// What a request adds to a session.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) body: Body,
    /// First and last byte by `Content-Range`.
    pub(crate) range: Option<(u64, u64)>,
    /// By `Content-Length`.
    pub(crate) length: Option<u64>,
}

/// Who asks for what session.
#[derive(Clone, Debug)]
pub(crate) struct Finish {
    pub(crate) repo: Repository,
    pub(crate) owner: String,
    pub(crate) id: Uuid,
}

/// Begins a session.
pub(crate) async fn start(
    service: &Arc<Service>,
    repo: Repository,
    owner: String,
    algorithm: Algorithm,
) -> Result<Uuid, ApiError> {
    let (lease, _) = blocking(service, |store| store.create()).await?;
    let id = Uuid::new_v4();
    let row = UploadRow {
        id: id.to_string(),
        owner,
        object_key: lease.key().clone(),
        offset_bytes: 0,
        algorithm,
        hash_state: None,
        boot_id: service.uploads.boot_id.clone(),
        expires_at: expiry(),
    };
    match service.db.create_upload(repo, row).await {
        Ok(()) => Ok(id),
        Err(error) => {
            service.store.recycle(lease);
            Err(error.into())
        }
    }
}

/// How many bytes the session has. A client whose connection broke asks while the
/// request it lost is still being recorded, so that one is waited for.
pub(crate) async fn status(service: &Arc<Service>, session: &Finish) -> Result<u64, ApiError> {
    service.uploads.settle(&session.id.to_string()).await;
    Ok(find(service, session).await?.offset_bytes)
}

/// Ends the session and forgets its bytes.
pub(crate) async fn cancel(service: &Arc<Service>, session: &Finish) -> Result<(), ApiError> {
    let _busy = begin(service, session)?;
    let row = find(service, session).await?;
    discard(service, row).await
}

/// Appends a chunk; returns how many bytes the session has then.
///
/// # Cancellation
/// The append goes on in a task of its own.
pub(crate) async fn append(
    service: &Arc<Service>,
    session: Finish,
    chunk: Chunk,
) -> Result<u64, ApiError> {
    let task = {
        let service = Arc::clone(service);
        async move { append_here(&service, &session, chunk).await }
    };
    joined(service.tasks.spawn(task).await)
}

/// Appends the last chunk, if any, and makes the blob visible.
///
/// # Cancellation
/// As [`append`]: a client that goes away after its last byte has pushed the blob.
pub(crate) async fn finish(
    service: &Arc<Service>,
    session: Finish,
    digest: Digest,
    chunk: Chunk,
    may_know: bool,
) -> Result<(), ApiError> {
    let task = {
        let service = Arc::clone(service);
        async move { finish_here(&service, &session, digest, chunk, may_know).await }
    };
    joined(service.tasks.spawn(task).await)
}

/// Pushes a whole blob in one request, without a session.
pub(crate) async fn single(
    service: &Arc<Service>,
    repo: Repository,
    digest: Digest,
    chunk: Chunk,
    may_know: bool,
) -> Result<(), ApiError> {
    let task = {
        let service = Arc::clone(service);
        async move {
            let _running = Running::start(&service.metrics.uploads_running);
            if let Some(payload) = small_body(&service, 0, &chunk) {
                let payload = collect(&service, chunk.body, payload).await?;
                return commit::row(&service, repo, &digest, payload, None).await;
            }
            let (lease, writer) = blocking(&service, |store| store.create()).await?;
            let ingest = Ingest {
                writer,
                hasher: Hasher::new(digest.algorithm()),
                offset_bytes: 0,
            };
            let result = match receive(&service, ingest, chunk).await {
                (Some(ingest), Ok(())) => {
                    commit::object(&service, repo, digest, &lease, ingest, None, may_know).await
                }
                (_, Err(failure)) => Err(failure.into()),
                (None, Ok(())) => Err(BodyFailure::Lost.into()),
            };
            if result.is_err() {
                remove(&service, lease.key().clone()).await;
            }
            result
        }
    };
    joined(service.tasks.spawn(task).await)
}

async fn append_here(
    service: &Arc<Service>,
    session: &Finish,
    chunk: Chunk,
) -> Result<u64, ApiError> {
    let _busy = begin(service, session)?;
    let _running = Running::start(&service.metrics.uploads_running);
    let mut row = find(service, session).await?;
    check_range(session, &row, &chunk)?;
    let lease = service.store.leases().hold(row.object_key.clone());
    let algorithm = row.algorithm;
    let ingest = open(service, &lease, &row, algorithm).await?;
    let (ingest, result) = receive(service, ingest, chunk).await;
    let Some(ingest) = ingest else {
        return Err(BodyFailure::Lost.into());
    };
    if let Err(BodyFailure::Store(StoreError::Full)) = &result {
        // What is there cannot become a blob on this disk: give the space back.
        discard(service, row).await?;
        return Err(StoreError::Full.into());
    }
    row.offset_bytes = ingest.offset_bytes;
    row.hash_state = Some(save_hasher(&ingest.hasher));
    row.boot_id.clone_from(&service.uploads.boot_id);
    row.expires_at = expiry();
    drop(ingest);
    service.db.advance_upload(row.clone()).await?;
    result?;
    Ok(row.offset_bytes)
}

async fn finish_here(
    service: &Arc<Service>,
    session: &Finish,
    digest: Digest,
    chunk: Chunk,
    may_know: bool,
) -> Result<(), ApiError> {
    let _busy = begin(service, session)?;
    let _running = Running::start(&service.metrics.uploads_running);
    let row = find(service, session).await?;
    check_range(session, &row, &chunk)?;
    let lease = service.store.leases().hold(row.object_key.clone());
    let repo = session.repo.clone();
    if let Some(length) = small_body(service, row.offset_bytes, &chunk) {
        let payload = collect(service, chunk.body, length).await?;
        let id = Some(row.id.clone());
        let result = commit::row(service, repo, &digest, payload, id).await;
        return match result {
            Ok(()) => {
                service.store.recycle(lease);
                Ok(())
            }
            Err(error) => ended(service, row, error).await,
        };
    }
    let ingest = open(service, &lease, &row, digest.algorithm()).await?;
    let (ingest, result) = receive(service, ingest, chunk).await;
    let result = match (ingest, result) {
        (Some(ingest), Ok(())) => {
            let id = Some(row.id.clone());
            commit::object(service, repo, digest, &lease, ingest, id, may_know).await
        }
        (Some(ingest), Err(failure)) if failure.keeps_session() => {
            // The closing request broke: what arrived of it counts, as with PATCH.
            if ingest.offset_bytes > row.offset_bytes {
                let mut row = row;
                row.offset_bytes = ingest.offset_bytes;
                row.algorithm = digest.algorithm();
                row.hash_state = Some(save_hasher(&ingest.hasher));
                row.boot_id.clone_from(&service.uploads.boot_id);
                row.expires_at = expiry();
                service.db.advance_upload(row).await?;
            }
            return Err(failure.into());
        }
        (_, Err(failure)) => Err(failure.into()),
        (None, Ok(())) => Err(BodyFailure::Lost.into()),
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) => ended(service, row, error).await,
    }
}

/// A failed commit ends the session: its bytes are not what was announced, or do not fit.
async fn ended(service: &Arc<Service>, row: UploadRow, error: ApiError) -> Result<(), ApiError> {
    if let Err(second) = discard(service, row).await {
        tracing::warn!(code = second.code, "a failed upload stays until it expires");
    }
    Err(error)
}

/// The length of a body that is small enough to be kept in a row, when it is all of the blob.
fn small_body(service: &Arc<Service>, offset_bytes: u64, chunk: &Chunk) -> Option<u64> {
    let length = chunk.length?;
    let fits = offset_bytes == 0 && length <= ROW_BYTES_MAX && service.store.is_writable();
    fits.then_some(length)
}

async fn collect(service: &Arc<Service>, body: Body, length: u64) -> Result<Vec<u8>, ApiError> {
    let limit = usize::try_from(length).unwrap_or(usize::MAX);
    let bytes = axum::body::to_bytes(body, limit)
        .await
        .map_err(|_| ApiError::from(BodyFailure::Broken))?;
    if bytes.len() as u64 != length {
        return Err(BodyFailure::Broken.into());
    }
    service.metrics.received_bytes.inc_by(length);
    Ok(bytes.into())
}

async fn receive(
    service: &Arc<Service>,
    ingest: Ingest,
    chunk: Chunk,
) -> (Option<Ingest>, Result<(), BodyFailure>) {
    let before = ingest.offset_bytes;
    let announced = chunk.range.map(|(first, last)| last - first + 1);
    let bytes_max = announced.or(chunk.length).unwrap_or(u64::MAX);
    let (ingest, result) = pump(ingest, chunk.body, bytes_max).await;
    let received = ingest.as_ref().map_or(0, |i| i.offset_bytes - before);
    service.metrics.received_bytes.inc_by(received);
    let short = announced.is_some_and(|announced| received < announced);
    let result = match result {
        Ok(()) if short => Err(BodyFailure::Broken),
        result => result,
    };
    (ingest, result)
}

/// Opens the session's object where its row says it ends, with a hasher that has
/// seen all bytes before.
async fn open(
    service: &Arc<Service>,
    lease: &Lease,
    row: &UploadRow,
    algorithm: Algorithm,
) -> Result<Ingest, ApiError> {
    let offset_bytes = row.offset_bytes;
    let trusted = row.boot_id == service.uploads.boot_id && row.algorithm == algorithm;
    let hasher = match (&row.hash_state, offset_bytes) {
        (_, 0) => Some(Hasher::new(algorithm)),
        (Some(state), _) if trusted => restore_hasher(algorithm, state),
        _ => None,
    };
    let lease = lease.clone();
    let opened = blocking(service, move |store| {
        let writer = store.resume(&lease, offset_bytes)?;
        let hasher = match hasher {
            Some(hasher) => hasher,
            None => rehash(store, lease.key(), algorithm, offset_bytes)?,
        };
        Ok(Ingest {
            writer,
            hasher,
            offset_bytes,
        })
    })
    .await;
    match opened {
        Ok(ingest) => Ok(ingest),
        // Its bytes did not survive; the client starts again.
        Err(StoreError::Missing(_)) => {
            service.db.delete_upload(row.id.clone()).await?;
            Err(ApiError::upload_unknown())
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn rehash(
    store: &dyn crate::content::BlobStore,
    key: &ObjectKey,
    algorithm: Algorithm,
    length: u64,
) -> Result<Hasher, StoreError> {
    let reader = store.open(key)?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; REHASH_BYTES];
    let mut offset = 0;
    while offset < length {
        let wanted = usize::try_from(length - offset)
            .unwrap_or(REHASH_BYTES)
            .min(REHASH_BYTES);
        let count = reader.read_at(&mut buffer[..wanted], offset)?;
        if count == 0 {
            return Err(StoreError::Missing(key.to_string()));
        }
        hasher.update(&buffer[..count]);
        offset += count as u64;
    }
    Ok(hasher)
}

fn check_range(session: &Finish, row: &UploadRow, chunk: &Chunk) -> Result<(), ApiError> {
    let Some((first, last)) = chunk.range else {
        return Ok(());
    };
    if first != row.offset_bytes {
        return Err(ApiError::new(
            http::StatusCode::RANGE_NOT_SATISFIABLE,
            "RANGE_INVALID",
            format!(
                "the chunk begins at byte {first}, but the upload has {} bytes: go on there",
                row.offset_bytes
            ),
        )
        .with_header(http::header::RANGE, &range_header(row.offset_bytes))
        .with_header(http::header::LOCATION, &location(session)));
    }
    match chunk.length {
        Some(length) if last - first + 1 != length => Err(ApiError::bad(
            "SIZE_INVALID",
            "Content-Length and Content-Range differ in the chunk's length",
        )),
        _ => Ok(()),
    }
}

/// `0-<last byte>`; an empty upload has no last byte and says `0-0`, as others do.
pub(crate) fn range_header(offset_bytes: u64) -> String {
    format!("0-{}", offset_bytes.saturating_sub(1))
}

pub(crate) fn location(session: &Finish) -> String {
    format!("/v2/{}/blobs/uploads/{}", session.repo, session.id)
}

fn begin(service: &Arc<Service>, session: &Finish) -> Result<Busy, ApiError> {
    service
        .uploads
        .begin(&session.id.to_string())
        .ok_or_else(|| {
            ApiError::new(
                http::StatusCode::CONFLICT,
                "BLOB_UPLOAD_INVALID",
                "another request is writing to this upload: wait for it, then ask for its status",
            )
        })
}

async fn find(service: &Arc<Service>, session: &Finish) -> Result<UploadRow, ApiError> {
    service
        .db
        .upload(&session.repo, &session.owner, &session.id.to_string())
        .await?
        .ok_or_else(ApiError::upload_unknown)
}

async fn discard(service: &Arc<Service>, row: UploadRow) -> Result<(), ApiError> {
    remove(service, row.object_key).await;
    service.db.delete_upload(row.id).await?;
    Ok(())
}

/// Removes an object that nothing names; what fails here is left to the sweeper.
pub(super) async fn remove(service: &Arc<Service>, key: ObjectKey) {
    if let Err(error) = blocking(service, move |store| store.remove(&key)).await {
        tracing::warn!(%error, "an unused object stays until the next sweep");
    }
}

fn expiry() -> i64 {
    now_micros() + i64::try_from(LIFETIME.as_micros()).unwrap_or(i64::MAX)
}

fn joined<T>(result: Result<Result<T, ApiError>, tokio::task::JoinError>) -> Result<T, ApiError> {
    result.unwrap_or_else(|_| Err(BodyFailure::Lost.into()))
}

impl BodyFailure {
    /// Whether the session is still good for another try.
    fn keeps_session(&self) -> bool {
        match self {
            Self::Broken | Self::Silent => true,
            Self::TooLong(_) | Self::Store(_) | Self::Lost => false,
        }
    }
}

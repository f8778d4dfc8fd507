//! The moment a blob becomes visible: digest compared, bytes durable, one transaction.
//!
//! Order: object synced, then row committed, then the answer. A crash between
//! the first two leaves an orphan object; after them the blob is there.

use std::sync::Arc;

use oci::{Digest, Repository};

use super::{
    blocking,
    upload::{ROW_BYTES_MAX, remove},
};
use crate::{
    content::{BlobStore, Ingest, Lease, ObjectKey, StoreError},
    db::{BlobLocation, BlobRow, Placement},
    error::ApiError,
    service::Service,
};

/// Commits a blob that is in memory.
pub(super) async fn row(
    service: &Arc<Service>,
    repo: Repository,
    digest: &Digest,
    payload: Vec<u8>,
    upload: Option<String>,
) -> Result<(), ApiError> {
    let mut hasher = oci::Hasher::new(digest.algorithm());
    hasher.update(&payload);
    compare(digest, &hasher.finish())?;
    let blob = BlobRow {
        size_bytes: payload.len() as u64,
        location: BlobLocation::Row(payload),
    };
    place(service, repo, *digest, blob, upload).await.map(drop)
}

/// Commits a blob that was written to the object of `lease`.
///
/// `may_know`: the caller may read every repository, so it may be told (by a
/// quicker answer) that the blob was there already.
pub(super) async fn object(
    service: &Arc<Service>,
    repo: Repository,
    digest: Digest,
    lease: &Lease,
    ingest: Ingest,
    upload: Option<String>,
    may_know: bool,
) -> Result<(), ApiError> {
    let Ingest {
        mut writer,
        hasher,
        offset_bytes,
    } = ingest;
    compare(&digest, &hasher.finish())?;
    let key = lease.key().clone();
    if offset_bytes <= ROW_BYTES_MAX {
        let read = key.clone();
        let payload = blocking(service, move |store| read_all(store, &read, offset_bytes)).await?;
        row(service, repo, &digest, payload, upload).await?;
        remove(service, key).await;
        return Ok(());
    }
    let blob = BlobRow {
        size_bytes: offset_bytes,
        location: BlobLocation::Object(key.clone()),
    };
    let known = may_know && service.db.system_blob(&digest).await?.is_some();
    if !(known && relink(service, &repo, &digest, upload.as_deref()).await?) {
        blocking(service, move |_| writer.sync()).await?;
        let placement = place(service, repo, digest, blob, upload).await?;
        if matches!(placement, Placement::New | Placement::Replaced(_)) {
            return Ok(());
        }
    }
    remove(service, key).await;
    Ok(())
}

/// Links a blob that is there already instead of syncing the bytes that came;
/// `false` when it is not usable after all.
async fn relink(
    service: &Arc<Service>,
    repo: &Repository,
    digest: &Digest,
    upload: Option<&str>,
) -> Result<bool, ApiError> {
    if damaged(service, digest).await? {
        return Ok(false);
    }
    let linked = service.db.mount_blob(repo.clone(), *digest, None).await?;
    if linked && let Some(upload) = upload {
        service.db.delete_upload(upload.to_owned()).await?;
    }
    Ok(linked)
}

async fn place(
    service: &Arc<Service>,
    repo: Repository,
    digest: Digest,
    blob: BlobRow,
    upload: Option<String>,
) -> Result<Placement, ApiError> {
    let damaged = damaged(service, &digest).await?;
    let placement = service
        .db
        .commit_blob(repo, digest, blob, upload, damaged)
        .await?;
    if let Placement::Replaced(Some(old)) = &placement {
        tracing::warn!(blob.digest = %digest, "a damaged blob was replaced by a new push");
        remove(service, old.clone()).await;
    }
    Ok(placement)
}

/// Whether the stored object of this digest is gone or has another size than its row.
async fn damaged(service: &Arc<Service>, digest: &Digest) -> Result<bool, ApiError> {
    let Some(BlobRow {
        size_bytes,
        location: BlobLocation::Object(key),
    }) = service.db.system_blob(digest).await?
    else {
        return Ok(false);
    };
    let length = blocking(service, move |store| store.open(&key)?.size_bytes()).await;
    match length {
        Ok(length) => Ok(length != size_bytes),
        Err(StoreError::Missing(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn compare(wanted: &Digest, found: &Digest) -> Result<(), ApiError> {
    if wanted == found {
        return Ok(());
    }
    Err(ApiError::bad(
        "DIGEST_INVALID",
        format!(
            "the uploaded bytes hash to {found}, not to {wanted}: the content changed on its \
             way; upload it again"
        ),
    ))
}

fn read_all(store: &dyn BlobStore, key: &ObjectKey, length: u64) -> Result<Vec<u8>, StoreError> {
    let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
    let count = store.open(key)?.read_at(&mut payload, 0)?;
    match count == payload.len() {
        true => Ok(payload),
        false => Err(StoreError::Missing(key.to_string())),
    }
}

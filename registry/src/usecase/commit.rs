//! The moment a blob becomes visible: digest compared, bytes durable, one transaction.
//!
//! An object is sealed: a record of what it is goes with its bytes, and one sync
//! makes both durable. The row that names it may then be committed without a
//! sync of its own, since after a loss of power [`adopt`] makes it again from the
//! seal. A killed process loses no commit at all. Stores without seals get a
//! synced object first and a synced commit after.

use std::sync::Arc;

use oci::{Digest, Repository};
use serde::{Deserialize, Serialize};

use super::{
    blocking,
    upload::{ROW_BYTES_MAX, remove},
};
use crate::{
    content::{BlobStore, Ingest, Lease, ObjectKey, StoreError},
    db::{BlobLocation, BlobRow, Durability, Placement},
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
    let durable = Durability::Durable;
    place(service, repo, *digest, blob, upload, durable)
        .await
        .map(drop)
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
    let known = may_know && service.db.system_blob(&digest).await?.is_some();
    if known && relink(service, &repo, &digest, upload.as_deref()).await? {
        remove(service, key).await;
        return Ok(());
    }
    let record = Seal {
        repo: repo.clone(),
        digest,
        size_bytes: offset_bytes,
    };
    let record = serde_json::to_vec(&record).expect("names and numbers are plain JSON");
    let sealed = blocking(service, move |_| match writer.seal(&record)? {
        true => Ok(true),
        false => writer.sync().map(|()| false),
    })
    .await?;
    let durability = match sealed {
        true => Durability::Lazy,
        false => Durability::Durable,
    };
    let blob = BlobRow {
        size_bytes: offset_bytes,
        location: BlobLocation::Object(key.clone()),
    };
    let placement = place(service, repo.clone(), digest, blob, upload, durability).await?;
    if placement == Placement::Known {
        // Not before the answer: a quicker or slower one would tell the caller
        // that others have the blob. Until it is gone the seal stands for the row.
        let flushed = Arc::clone(service);
        let lease = lease.clone();
        service.tasks.spawn(async move {
            match flushed.db.system_flush(repo).await {
                Ok(()) => remove(&flushed, lease.key().clone()).await,
                Err(error) => tracing::warn!(%error, "a second copy stays until the next sweep"),
            }
        });
    }
    Ok(())
}

/// What an object is, kept with it.
#[derive(Debug, Serialize, Deserialize)]
struct Seal {
    repo: Repository,
    digest: Digest,
    size_bytes: u64,
}

/// After a loss of power: makes the rows of sealed objects that were acknowledged
/// and whose commits were lost. Returns how many.
///
/// # Errors
/// When the store or the database cannot be read.
pub(crate) async fn adopt(service: &Arc<Service>) -> Result<usize, ApiError> {
    let keys = blocking(service, |store| {
        let mut keys = Vec::new();
        store.each_key(&mut |key| keys.push(key)).map(|()| keys)
    })
    .await?;
    let mut adopted = 0;
    for key in keys {
        if service.db.system_is_blob(&key).await? {
            continue;
        }
        let lease = service.store.leases().hold(key);
        let held = lease.clone();
        if let Some(seal) = blocking(service, move |store| check_seal(store, &held)).await? {
            let key = lease.key().clone();
            let upload = service.db.system_upload_of(&key).await?;
            let blob = BlobRow {
                size_bytes: seal.size_bytes,
                location: BlobLocation::Object(key),
            };
            let durable = Durability::Durable;
            place(service, seal.repo, seal.digest, blob, upload, durable).await?;
            adopted += 1;
        }
    }
    Ok(adopted)
}

/// The object's seal, if its bytes are still what it says.
fn check_seal(store: &dyn BlobStore, lease: &Lease) -> Result<Option<Seal>, StoreError> {
    let Some(record) = store.seal_of(lease.key())? else {
        return Ok(None);
    };
    let Ok(seal) = serde_json::from_slice::<Seal>(&record) else {
        return Ok(None);
    };
    if store.open(lease.key())?.size_bytes()? != seal.size_bytes {
        return Ok(None);
    }
    let algorithm = seal.digest.algorithm();
    let hasher = super::upload::rehash(store, lease.key(), algorithm, seal.size_bytes)?;
    Ok((hasher.finish() == seal.digest).then_some(seal))
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
    durability: Durability,
) -> Result<Placement, ApiError> {
    let damaged = damaged(service, &digest).await?;
    let placement = service
        .db
        .commit_blob(repo, digest, blob, upload, damaged, durability)
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

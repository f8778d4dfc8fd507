//! Background cleaning: upload sessions past their time, and objects that no
//! row names because a crash came between writing bytes and committing them.
//!
//! Safe beside running requests: an object goes only while the sweeper itself
//! holds it, which nobody else can then, and no row names it. Claiming comes
//! first: an object that was listed while in use may be in use again, or wait for
//! its next use.

use std::{sync::Arc, time::Duration};

use crate::{
    content::{Lease, ObjectKey},
    service::Service,
};

/// Time between two rounds.
const PERIOD: Duration = Duration::from_secs(600);
/// Sessions ended and objects looked up at a time.
const CHUNK: usize = 500;

/// Sweeps at start and then periodically until the registry stops.
pub(crate) async fn run(service: Arc<Service>) {
    loop {
        if let Err(error) = round(&service).await {
            tracing::warn!(
                error,
                "cleaning up unfinished uploads failed; trying again later"
            );
        }
        tokio::select! {
            () = service.stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// One round; returns how many objects were removed.
pub(crate) async fn round(service: &Arc<Service>) -> Result<usize, String> {
    expire(service).await?;
    let store = Arc::clone(&service.store);
    let keys = tokio::task::spawn_blocking(move || {
        let mut keys = Vec::new();
        store.each_key(&mut |key| keys.push(key)).map(|()| keys)
    })
    .await
    .map_err(|error| error.to_string())?
    .map_err(|error| error.to_string())?;
    let mut removed = 0;
    for chunk in keys.chunks(CHUNK) {
        if service.stop.is_cancelled() {
            break;
        }
        removed += sweep_chunk(service, chunk).await?;
    }
    if removed > 0 {
        tracing::info!(objects = removed, "removed what unfinished uploads left");
    }
    Ok(removed)
}

async fn sweep_chunk(service: &Arc<Service>, chunk: &[ObjectKey]) -> Result<usize, String> {
    let claims: Vec<Lease> = chunk
        .iter()
        .filter_map(|key| service.store.claim(key))
        .collect();
    let free: Vec<ObjectKey> = claims.iter().map(|claim| claim.key().clone()).collect();
    let known = service
        .db
        .system_known_objects(&free)
        .await
        .map_err(|error| error.to_string())?;
    let orphans: Vec<ObjectKey> = free
        .into_iter()
        .filter(|key| !known.contains(key))
        .collect();
    let count = orphans.len();
    remove(service, orphans).await?;
    Ok(count)
}

async fn expire(service: &Arc<Service>) -> Result<(), String> {
    let expired = service
        .db
        .system_expired_uploads(CHUNK as i64)
        .await
        .map_err(|error| error.to_string())?;
    for (id, key) in expired {
        // Busy sessions prolong themselves when their request ends.
        let Some(_busy) = service.uploads.begin(&id) else {
            continue;
        };
        service
            .db
            .delete_upload(id)
            .await
            .map_err(|error| error.to_string())?;
        remove(service, vec![key]).await?;
    }
    Ok(())
}

async fn remove(service: &Arc<Service>, keys: Vec<ObjectKey>) -> Result<(), String> {
    let store = Arc::clone(&service.store);
    tokio::task::spawn_blocking(move || keys.iter().try_for_each(|key| store.remove(key)))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}

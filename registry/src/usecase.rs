//! What the registry does, independent of HTTP: uploads, manifests, reading.

mod commit;
mod manifest;
mod upload;

pub(crate) use commit::adopt;
pub(crate) use manifest::{PutManifest, Stored, put_manifest, too_large};
pub(crate) use upload::{
    Chunk, Finish, Uploads, append, cancel, finish, location, range_header, single, start, status,
};

use std::sync::Arc;

use crate::{content::StoreError, service::Service};

/// Runs file work on a blocking thread.
pub(crate) async fn blocking<T, F>(service: &Arc<Service>, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce(&dyn crate::content::BlobStore) -> Result<T, StoreError> + Send + 'static,
{
    let store = Arc::clone(&service.store);
    match tokio::task::spawn_blocking(move || work(store.as_ref())).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::Io(std::io::Error::other(error.to_string()))),
    }
}

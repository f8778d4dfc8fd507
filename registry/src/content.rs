//! Blob bytes: immutable objects under random keys.
//!
//! A store knows nothing of digests, repositories or users: those are rows that
//! point at a key. A key is never used twice, so removing an object late can
//! never hit a blob that was pushed again. Bytes of an object that no row names
//! are invisible; a crash leaves at most such orphans, which the sweeper removes.

mod disk;
mod hash;
mod ingest;
mod read;

pub(crate) use disk::DiskStore;
pub(crate) use hash::{restore_hasher, save_hasher};
pub(crate) use ingest::{BodyFailure, Ingest, pump};
pub(crate) use read::BlobBody;

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

/// The name of an object: 32 lower-case hex digits, random.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectKey(String);

impl ObjectKey {
    pub(crate) fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// `None` for anything that is not a key, so no other text reaches a path.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 32 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why the store failed, by what can be done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("no space left in the blob storage: free some or give it more, then push again")]
    Full,
    /// The object is gone although a row names it.
    #[error("the stored object {0} is missing: restore it from a backup or push the blob again")]
    Missing(String),
    /// An earlier write could not be made durable; nothing more is accepted.
    #[error(
        "the blob storage failed to write to its disk and takes no more uploads: \
         check the disk, then restart the registry"
    )]
    Broken,
    #[error("blob storage: {0}")]
    Io(#[from] io::Error),
}

impl StoreError {
    fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error),
        }
    }
}

/// A place for objects. All methods block and belong on a blocking thread.
pub(crate) trait BlobStore: Send + Sync + fmt::Debug {
    /// A new empty object, leased until its lease is dropped.
    fn create(&self) -> Result<(Lease, Box<dyn ObjectWriter>), StoreError>;

    /// The object cut to its first `offset_bytes`, to go on writing there.
    ///
    /// # Errors
    /// `Missing` when it is gone or shorter than that.
    fn resume(&self, lease: &Lease, offset_bytes: u64)
    -> Result<Box<dyn ObjectWriter>, StoreError>;

    fn open(&self, key: &ObjectKey) -> Result<Arc<dyn ObjectReader>, StoreError>;

    /// What [`ObjectWriter::seal`] put on the object; `None` when it was never sealed.
    fn seal_of(&self, key: &ObjectKey) -> Result<Option<Vec<u8>>, StoreError>;

    /// Removes an object; one that is not there counts as removed.
    fn remove(&self, key: &ObjectKey) -> Result<(), StoreError>;

    /// Gives back an object that was created and never written.
    fn recycle(&self, lease: Lease);

    /// Calls `visit` with every object that is not held in reserve for later use.
    fn each_key(&self, visit: &mut dyn FnMut(ObjectKey)) -> Result<(), StoreError>;

    /// A lease on an object that nobody works on and that is not in reserve;
    /// `None` for others. Whoever removes what no row names needs it: a key that
    /// was in use when it was listed may have gone back to the reserve since, and
    /// from there to the next upload.
    fn claim(&self, key: &ObjectKey) -> Option<Lease>;

    /// The keys that requests are working on.
    fn leases(&self) -> &Arc<Leases>;

    /// Whether uploads are accepted.
    fn is_writable(&self) -> bool;
}

/// An object being written.
pub(crate) trait ObjectWriter: Send {
    /// Appends all of `chunks`.
    fn write(&mut self, chunks: &[Bytes]) -> Result<(), StoreError>;

    /// Makes everything written so far survive the loss of power.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// As `sync`, and keeps `record` with the object, as durable as its bytes.
    /// `false` when the store cannot keep records; then nothing was synced.
    fn seal(&mut self, record: &[u8]) -> Result<bool, StoreError>;
}

/// An object being read.
pub(crate) trait ObjectReader: Send + Sync + fmt::Debug {
    fn size_bytes(&self) -> Result<u64, StoreError>;

    /// Fills `buffer` from `offset_bytes` as far as the object goes.
    fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<usize, StoreError>;

    /// As `read_at`, but only what is in memory already; 0 when it would have to wait.
    fn read_cached(&self, buffer: &mut [u8], offset_bytes: u64) -> usize;
}

/// The keys in use by running requests, which the sweeper leaves alone, with the
/// number of leases on each.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<ObjectKey, usize>>);

impl Leases {
    fn keys(&self) -> MutexGuard<'_, HashMap<ObjectKey, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hold(self: &Arc<Self>, key: ObjectKey) -> Lease {
        *self.keys().entry(key.clone()).or_default() += 1;
        self.lease(key)
    }

    /// As `hold`, when nobody else holds the key.
    pub(crate) fn claim(self: &Arc<Self>, key: &ObjectKey) -> Option<Lease> {
        match self.keys().entry(key.clone()) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(free) => free.insert(1),
        };
        Some(self.lease(key.clone()))
    }

    fn lease(self: &Arc<Self>, key: ObjectKey) -> Lease {
        Lease(Arc::new(Held {
            leases: Arc::clone(self),
            key,
        }))
    }
}

/// Keeps an object from being swept while no row names it yet; ends with its last clone.
#[derive(Clone, Debug)]
pub(crate) struct Lease(Arc<Held>);

#[derive(Debug)]
struct Held {
    leases: Arc<Leases>,
    key: ObjectKey,
}

impl Lease {
    pub(crate) fn key(&self) -> &ObjectKey {
        &self.0.key
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut keys = self.leases.keys();
        if let Some(count) = keys.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                keys.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
#[path = "content/conformance.rs"]
mod conformance;

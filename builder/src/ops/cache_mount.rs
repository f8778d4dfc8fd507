//! Cache mounts: directories that outlive builds, by id.
//!
//! `cache/<hash of id>[-n]`, where n counts the copies that `private` sharing
//! made. A directory appears under its name only when its first content is
//! whole.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use oci::Digest;
use runtime::{diff, root::Root};
use tokio::sync::OwnedMutexGuard;

use crate::solver::op::Sharing;

/// Copies of one private cache: as many steps as a host may run at once.
const COPIES_MAX: usize = 256;

/// How long a cache that no step asks for is kept.
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Sizes as they were after the use at that time.
type Measured = HashMap<PathBuf, (SystemTime, Option<u64>)>;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct CacheMounts {
    dir: Arc<Path>,
    locks: Arc<Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>>,
    measured: Arc<Mutex<Measured>>,
}

/// What a cache takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheUsage {
    pub(crate) path: PathBuf,
    /// Milliseconds since the Unix epoch at which a step last began or ended to
    /// use it.
    pub(crate) used_at: i64,
    /// Size of its files; `None` when it cannot be told, as of directories that
    /// are nested deeper than a layer's may be.
    pub(crate) bytes: Option<u64>,
}

/// A cache directory in use.
#[derive(Debug)]
pub(crate) struct CacheLease {
    pub(crate) path: PathBuf,
    /// Whether it has no content yet: it must be filled and then published.
    pub(crate) fresh: bool,
    lock: Option<OwnedMutexGuard<()>>,
}

impl CacheMounts {
    /// Opens the directory and removes what was not published.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "new") {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(Self {
            dir: dir.into(),
            locks: Arc::default(),
            measured: Arc::default(),
        })
    }

    /// Removes caches that no step has asked for in a long time. None may be
    /// in use; blocks.
    pub(crate) fn expire(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let age = entry.metadata()?.modified()?.elapsed();
            if age.is_ok_and(|age| age > UNUSED_MAX) {
                self.remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes a cache, which may not be in use; blocks.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.measured().remove(path);
        // Under the name of what is not published, which a start removes.
        let going = path.with_extension("new");
        fs::rename(path, &going)?;
        fs::remove_dir_all(going)
    }

    /// What the caches take, in no order. Only those that were used since the
    /// last call are walked; blocks.
    pub(crate) fn usage(&self) -> io::Result<Vec<CacheUsage>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some() {
                continue;
            }
            let used = match fs::metadata(&path) {
                Ok(metadata) => metadata.modified()?,
                // Gone since.
                Err(_) => continue,
            };
            let known = self.measured().get(&path).copied();
            let bytes = match known {
                Some((then, bytes)) if then == used => bytes,
                _ => {
                    let bytes = Root::open(&path).and_then(|root| diff::size_bytes(&root));
                    let bytes = bytes.ok();
                    self.measured().insert(path.clone(), (used, bytes));
                    bytes
                }
            };
            let age = used.duration_since(SystemTime::UNIX_EPOCH);
            found.push(CacheUsage {
                path,
                used_at: age.map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
                bytes,
            });
        }
        Ok(found)
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory of cache `id`, once `sharing` allows its use.
    pub(crate) async fn lease(&self, id: &str, sharing: Sharing) -> io::Result<CacheLease> {
        let base = Digest::sha256(id.as_bytes()).hex();
        if sharing == Sharing::Private {
            for copy in 0..COPIES_MAX {
                let name = match copy {
                    0 => base.clone(),
                    copy => format!("{base}-{copy}"),
                };
                let path = self.dir.join(name);
                if let Ok(lock) = self.lock(&path).try_lock_owned() {
                    return self.lease_at(path, Some(lock));
                }
            }
        }
        let path = self.dir.join(base);
        // Shared users hold the lock only while the directory is made.
        let lock = self.lock(&path).lock_owned().await;
        match sharing == Sharing::Shared && path.exists() {
            true => self.lease_at(path, None),
            false => self.lease_at(path, Some(lock)),
        }
    }

    fn lease_at(&self, path: PathBuf, lock: Option<OwnedMutexGuard<()>>) -> io::Result<CacheLease> {
        let fresh = !path.exists();
        let path = match fresh {
            false => {
                note_use(&path)?;
                path
            }
            true => {
                let new = path.with_extension("new");
                fs::create_dir(&new)?;
                new
            }
        };
        Ok(CacheLease { path, fresh, lock })
    }

    /// The lock of one directory.
    fn lock(&self, path: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds or waits for.
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(path.to_owned()).or_default().clone()
    }
}

impl CacheLease {
    /// Gives a directory that was filled its name.
    pub(crate) fn publish(&mut self, sharing: Sharing) -> io::Result<()> {
        let path = self.path.with_extension("");
        fs::rename(&self.path, &path)?;
        self.path = path;
        self.fresh = false;
        if sharing == Sharing::Shared {
            self.lock = None;
        }
        Ok(())
    }
}

impl Drop for CacheLease {
    fn drop(&mut self) {
        if self.fresh {
            let _gone = fs::remove_dir_all(&self.path);
            return;
        }
        // The step may have set any time, and what it wrote is to be measured.
        if let Err(error) = note_use(&self.path) {
            tracing::warn!(%error, "cannot note the use of a cache mount");
        }
    }
}

/// A cache's time of use is the time of its directory.
fn note_use(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.set_modified(SystemTime::now())
}

#[cfg(test)]
#[path = "cache_mount/tests.rs"]
mod tests;

//! When what old builds left is removed: after a build, while none runs.

use tokio::sync::{Mutex, RwLock, RwLockReadGuard};

use crate::{
    config::BuilderConfig,
    db::{Db, DbError},
    ops::Workshop,
    solver::{OpError, error::chain},
};

/// A cache this far over its bound, in hundredths of it, holds the queue until
/// the builds that run have ended: on a busy host there may else always be one.
const PATIENCE_PERCENT: u64 = 120;

/// Bounds what builds leave on the host.
#[derive(Debug)]
pub(super) struct Retention {
    cache_bytes_max: Option<u64>,
    builds_kept_max: u32,
    log_bytes_max: u64,
    /// Builds read, removal writes: what a build finds in the cache is there
    /// until it ends.
    gate: RwLock<()>,
    /// One worker tidies at a time.
    tidying: Mutex<()>,
}

impl Retention {
    pub(super) fn new(config: &BuilderConfig) -> Self {
        Self {
            cache_bytes_max: config.cache_bytes_max,
            builds_kept_max: config.builds_kept_max,
            log_bytes_max: config.log_bytes_max,
            gate: RwLock::default(),
            tidying: Mutex::default(),
        }
    }

    /// To be held while a build runs.
    pub(super) async fn build(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// Removes what is too much. Failures are for the log: the next build's
    /// end tries again.
    pub(super) async fn tidy(&self, db: &Db, workshop: &Workshop) {
        let Ok(_one) = self.tidying.try_lock() else {
            return;
        };
        let log_bytes_max = i64::try_from(self.log_bytes_max).unwrap_or(i64::MAX);
        let dropped = db.system_drop_old_builds(self.builds_kept_max.into(), log_bytes_max);
        if let Err(error) = dropped.await {
            tracing::warn!(error = chain(&error), "cannot remove old builds");
        }
        if let Err(error) = self.tidy_cache(workshop).await {
            tracing::warn!(error = chain(&error), "cannot shrink the build cache");
        }
    }

    async fn tidy_cache(&self, workshop: &Workshop) -> Result<(), OpError> {
        let Some(bytes_max) = self.cache_bytes_max else {
            return Ok(());
        };
        let read = |error: DbError| OpError::host("read the build cache", &error);
        let stock = workshop.stock().await.map_err(read)?;
        let (bytes, over) = (stock.bytes(), stock.is_over(bytes_max));
        let _no_builds = if bytes > bytes_max / 100 * PATIENCE_PERCENT {
            self.gate.write().await
        } else if let Ok(gate) = self.gate.try_write() {
            gate
        } else {
            return Ok(());
        };
        workshop.expire_cache_mounts().await;
        if !over {
            return Ok(());
        }
        // Again: builds may have ended meanwhile.
        let stock = workshop.stock().await.map_err(read)?;
        match stock.is_over(bytes_max) {
            true => workshop.shrink(&stock, bytes_max).await,
            false => Ok(()),
        }
    }
}

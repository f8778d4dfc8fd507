//! Layers that no image has any more, and that could not go with the last one.
//!
//! The layer store is shared with the builder and has one rule: a layer goes
//! when nobody holds it. The engine's images hold theirs with a pin each (see
//! [`Images`](super::store::Images)), the builder's cache keeps its own, a
//! container's or build step's snapshot stands on them. So a removal may be
//! refused; the table of orphans remembers it, and this module tries again:
//! when the engine opens, when a container goes, and at every prune.

use std::sync::Arc;

use oci::Digest;
use runtime::snapshot::SnapshotError;

use super::kept;
use super::store::layer_name;
use crate::blocking::blocking;
use crate::core::Core;
use crate::db::Origin;
use crate::error::Result;

/// Removes orphans of an origin, or all, as far as nobody holds them.
///
/// # Errors
/// Of the database. A layer that cannot be removed stays an orphan.
pub(crate) async fn sweep(core: &Arc<Core>, origin: Option<Origin>) -> Result<()> {
    // Before the look: one that comes after it is noted again.
    let noted = core.images.take_orphan_note();
    let swept = async {
        for orphan in core.db.orphan_layers(origin).await? {
            remove(core, &orphan).await?;
        }
        Ok(())
    };
    let swept: Result<()> = swept.await;
    if noted && swept.is_err() {
        core.images.note_orphan();
    }
    swept
}

/// After a container is gone: what only it held goes as well.
pub(crate) async fn sweep_after_container(core: &Arc<Core>) {
    // Nearly always there is none; a removal of a container should not pay.
    if core.images.has_orphans()
        && let Err(error) = sweep(core, Some(Origin::Image)).await
    {
        tracing::warn!(%error, "remove layers that no image has");
    }
}

/// Removes one layer unless somebody holds it; `true` when it is gone.
///
/// # Errors
/// Of the database.
pub(crate) async fn remove(core: &Arc<Core>, orphan: &str) -> Result<bool> {
    let Ok(diff_id) = orphan.parse::<Digest>() else {
        core.db.forget_orphan(orphan).await?;
        return Ok(true);
    };
    let name = layer_name(&diff_id);
    let owned = Arc::clone(core);
    let removed = blocking(move || match owned.host.layers.remove_layer(&name) {
        Ok(()) => {
            kept::remove(&owned.config, &diff_id);
            Ok(None)
        }
        Err(
            held @ (SnapshotError::LayerKept(_)
            | SnapshotError::LayerPinned(_)
            | SnapshotError::LayerInUse { .. }),
        ) => Ok(Some(held)),
        Err(error) => Err(error),
    });
    match removed.await {
        Ok(None) => {
            core.db.forget_orphan(orphan).await?;
            Ok(true)
        }
        Ok(Some(held)) => {
            tracing::debug!(layer.diff_id = orphan, %held, "layer stays");
            core.images.note_orphan();
            Ok(false)
        }
        Err(error) => {
            tracing::warn!(layer.diff_id = orphan, %error, "remove a layer");
            core.images.note_orphan();
            Ok(false)
        }
    }
}

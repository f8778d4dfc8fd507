//! What one host gives to the engine and the build solver together.

use std::sync::Arc;

use crate::bridge::Bridge;
use crate::launcher::Launcher;
use crate::snapshot::LayerStore;

/// Layers, launcher and bridge of a host. Clones share them.
#[derive(Clone, Debug)]
pub struct Host {
    pub layers: LayerStore,
    pub launcher: Launcher,
    /// `None` where no bridge network is wanted.
    pub bridge: Option<Arc<Bridge>>,
}

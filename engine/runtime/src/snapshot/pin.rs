//! Layers that are in use without a snapshot on them.
//!
//! Pins live in memory: what they protect, a mount or a running build step's
//! plan, ends with the process as well.

use std::sync::Arc;

use super::{Inner, LayerName, LayerStore};

/// Keeps layers from being removed while it exists. Layers that are renamed
/// meanwhile stay pinned.
#[derive(Debug)]
pub struct LayerPin {
    inner: Arc<Inner>,
    id: u64,
}

impl LayerStore {
    /// Keeps layers from being removed until the pin is dropped. The names need
    /// not exist yet.
    pub fn pin(&self, names: &[LayerName]) -> LayerPin {
        let mut index = self.inner.index();
        let id = index.next_pin;
        index.next_pin += 1;
        index.pins.insert(id, names.to_vec());
        LayerPin {
            inner: self.inner.clone(),
            id,
        }
    }
}

impl Drop for LayerPin {
    fn drop(&mut self) {
        self.inner.index().pins.remove(&self.id);
    }
}

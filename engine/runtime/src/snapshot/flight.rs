//! One unpacking per layer at a time.
//!
//! The first caller does the work, later ones wait. When the first fails, one
//! of those that waited tries with its own stream.

use std::{
    collections::HashSet,
    sync::{Condvar, Mutex, PoisonError},
};

use super::LayerName;

#[derive(Debug, Default)]
pub(super) struct Flights {
    active: Mutex<HashSet<LayerName>>,
    landed: Condvar,
}

/// The right to unpack one layer, given back when dropped.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    name: LayerName,
}

impl Flights {
    /// Waits until nobody else unpacks `name`. The caller must look again
    /// whether the layer is there by now.
    pub(super) fn board(&self, name: &LayerName) -> Flight<'_> {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let mut active = self
            .landed
            .wait_while(active, |active| active.contains(name))
            .unwrap_or_else(PoisonError::into_inner);
        active.insert(name.clone());
        Flight {
            flights: self,
            name: name.clone(),
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights
            .active
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
        self.flights.landed.notify_all();
    }
}

//! One lock per name, for names that come and go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Locks by name. A name that nobody holds takes no memory for long.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    table: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Flights {
    /// Waits until nobody else holds the name, and holds it.
    pub(crate) async fn board(&self, name: &str) -> OwnedMutexGuard<()> {
        let flight = {
            // Each change is a single insertion or removal.
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.retain(|_, flight| Arc::strong_count(flight) > 1);
            Arc::clone(table.entry(name.to_owned()).or_default())
        };
        flight.lock_owned().await
    }
}

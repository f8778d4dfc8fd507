//! Wakes those who follow a build when there is more to read.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

/// Cheap to clone. Holds an entry only for builds that someone follows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live(Arc<Mutex<HashMap<String, watch::Sender<()>>>>);

impl Live {
    /// A receiver that changes whenever more of the build's log is stored.
    pub(crate) fn follow(&self, build_id: &str) -> watch::Receiver<()> {
        let mut builds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        builds.retain(|_, sender| sender.receiver_count() > 0);
        builds
            .entry(build_id.to_owned())
            .or_insert_with(|| watch::channel(()).0)
            .subscribe()
    }

    /// Tells the followers of a build that more is stored.
    pub(crate) fn stored(&self, build_id: &str) {
        let builds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = builds.get(build_id) {
            sender.send_replace(());
        }
    }
}

//! The table of all containers: by id, by name, by the beginning of an id.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Container;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;

/// All containers. Owns the names: a name is taken from its reservation until
/// its container is removed.
#[derive(Debug, Default)]
pub(crate) struct Index {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: BTreeMap<String, Arc<Container>>,
    /// Name to id; the id may not be in `by_id` yet.
    names: HashMap<String, String>,
}

impl Index {
    /// Takes a name for a container that is being made or renamed.
    ///
    /// # Errors
    /// 409 with Docker's text when it is taken.
    pub(crate) fn reserve(&self, name: &str, id: &ContainerId) -> Result<()> {
        let mut inner = self.write();
        if let Some(owner) = inner.names.get(name) {
            return Err(EngineError::Conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \
                 \"{owner}\". You have to remove (or rename) that container to be able to reuse \
                 that name."
            )));
        }
        inner.names.insert(name.to_owned(), id.to_string());
        Ok(())
    }

    pub(crate) fn release(&self, name: &str) {
        self.write().names.remove(name);
    }

    pub(crate) fn insert(&self, container: Arc<Container>) {
        self.write()
            .by_id
            .insert(container.id.to_string(), container);
    }

    pub(crate) fn remove(&self, id: &ContainerId, name: &str) {
        let mut inner = self.write();
        inner.by_id.remove(id.as_str());
        inner.names.remove(name);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.read().by_id.values().cloned().collect()
    }

    /// Finds by full id, then name, then the beginning of an id.
    ///
    /// # Errors
    /// 404 when there is none, 400 when a beginning fits several.
    pub(crate) fn find(&self, name_or_id: &str) -> Result<Arc<Container>> {
        let inner = self.read();
        let bare = name_or_id.strip_prefix('/').unwrap_or(name_or_id);
        if let Some(found) = inner.by_id.get(bare) {
            return Ok(Arc::clone(found));
        }
        if let Some(found) = inner.names.get(bare).and_then(|id| inner.by_id.get(id)) {
            return Ok(Arc::clone(found));
        }
        if bare.is_empty() {
            return Err(EngineError::no_such_container(name_or_id));
        }
        let mut fitting = inner
            .by_id
            .range(bare.to_owned()..)
            .take_while(|(id, _)| id.starts_with(bare));
        match (fitting.next(), fitting.next()) {
            (Some((_, found)), None) => Ok(Arc::clone(found)),
            (Some(_), Some(_)) => Err(EngineError::bad(format!(
                "Multiple IDs found with provided prefix: {bare}"
            ))),
            _ => Err(EngineError::no_such_container(name_or_id)),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        // Each write is one insertion or removal: a panic leaves no half of it.
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

//! A store in memory whose watches are others: for tests of what is made of watches. Everything else is the memory's.

use std::fmt;

use futures::future::BoxFuture;

use super::{Fault, MemoryStore, Scope, Snapshot, Store, Version, Watch};
use crate::{LockName, record::Change};

/// A store in memory, and what opens its watches.
pub struct Rewatched<F> {
    store: MemoryStore,
    open: F,
}

// === impl Rewatched ===

impl<F: Fn(&MemoryStore, Scope) -> Watch + Send + Sync + 'static> Rewatched<F> {
    /// Shares the locks of a store, and opens watches of them in a way of its own.
    pub fn new(store: &MemoryStore, open: F) -> Self {
        Self { store: store.clone(), open }
    }
}

impl<F> fmt::Debug for Rewatched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewatched").field("store", &self.store).finish_non_exhaustive()
    }
}

impl<F: Fn(&MemoryStore, Scope) -> Watch + Send + Sync + 'static> Store for Rewatched<F> {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        self.store.read(name)
    }

    fn apply<'a>(&'a self, name: &'a LockName, change: &'a Change) -> BoxFuture<'a, Result<Snapshot, Fault>> {
        self.store.apply(name, change)
    }

    fn delete<'a>(&'a self, name: &'a LockName, version: &'a Version) -> BoxFuture<'a, Result<(), Fault>> {
        Store::delete(&self.store, name, version)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<(LockName, Snapshot)>, Fault>> {
        self.store.list()
    }

    fn watch(&self, scope: Scope) -> Watch {
        (self.open)(&self.store, scope)
    }
}

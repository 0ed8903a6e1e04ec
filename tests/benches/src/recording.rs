//! A store that notes when it was asked for what, and passes everything on.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use futures::future::BoxFuture;
use msync::{
    LockName,
    clock::{BootClock, Clock, Moment},
    unstable::{
        record::{Change, Refused},
        store::{Fault, KubeStore, Scope, Snapshot, Store, Version, Watch},
    },
};
use tokio::sync::watch;

/// The store on Kubernetes, with a log of its renewals and of who has queued up.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    store: KubeStore,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    renewals: Mutex<Vec<Moment>>,
    others: AtomicU64,
    /// How many acquisitions have joined a queue, or found it full.
    queued: watch::Sender<usize>,
}

// === impl Recording ===

impl Recording {
    pub(crate) fn new(store: KubeStore) -> Self {
        Self { store, log: Arc::default() }
    }

    /// Forgets everything so far.
    pub(crate) fn clear(&self) {
        self.renewals().clear();
        self.log.others.store(0, Ordering::Relaxed);
    }

    /// When renewals were sent.
    pub(crate) fn sent_renewals(&self) -> Vec<Moment> {
        self.renewals().clone()
    }

    /// How many requests besides renewals were sent.
    pub(crate) fn sent_others(&self) -> u64 {
        self.log.others.load(Ordering::Relaxed)
    }

    /// Waits until so many acquisitions have joined a queue, or found it full.
    pub(crate) async fn queued(&self, wanted: usize) {
        let mut queued = self.log.queued.subscribe();
        let _ = queued.wait_for(|queued| *queued >= wanted).await; // the sender is in the log, which is ours
    }

    fn renewals(&self) -> MutexGuard<'_, Vec<Moment>> {
        self.log.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn other(&self) {
        self.log.others.fetch_add(1, Ordering::Relaxed);
    }
}

impl Store for Recording {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        self.other();
        self.store.read(name)
    }

    fn apply<'a>(&'a self, name: &'a LockName, change: &'a Change) -> BoxFuture<'a, Result<Snapshot, Fault>> {
        match change {
            Change::Renew { .. } => self.renewals().push(BootClock.now()),
            _ => self.other(),
        }
        if !matches!(change, Change::Enqueue { .. }) {
            return self.store.apply(name, change);
        }
        Box::pin(async move {
            let answer = self.store.apply(name, change).await;
            if matches!(answer, Ok(_) | Err(Fault::Refused(Refused::Full))) {
                self.log.queued.send_modify(|queued| *queued += 1);
            }
            answer
        })
    }

    fn delete<'a>(&'a self, name: &'a LockName, version: &'a Version) -> BoxFuture<'a, Result<(), Fault>> {
        self.other();
        self.store.delete(name, version)
    }

    fn watch(&self, scope: Scope) -> Watch {
        self.store.watch(scope)
    }
}

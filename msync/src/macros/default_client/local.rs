//! The default client within one runtime only: a test that moves its own time, or was given a client of its own, shares it
//! with no other test of its process.
//!
//! It goes with its runtime.

use std::{
    collections::HashMap,
    future::pending,
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::runtime::{Handle, Id};

use crate::Client;

static CLIENTS: LazyLock<Mutex<HashMap<Id, Client>>> = LazyLock::new(Mutex::default);

/// There has been one; services have none, and do not look.
static ANY: AtomicBool = AtomicBool::new(false);

/// Takes a client away when its runtime ends, which drops the task that has this.
struct Forget(Id);

/// Returns the client of the runtime that this runs on, if it has one of its own.
pub(crate) fn client() -> Option<Client> {
    if !ANY.load(Ordering::Relaxed) {
        return None;
    }
    let runtime = Handle::try_current().ok()?;
    clients().get(&runtime.id()).cloned()
}

/// Gives the runtime that this runs on a client of its own; says whether there is a runtime.
pub(crate) fn set(client: Client) -> bool {
    let Ok(runtime) = Handle::try_current() else { return false };
    ANY.store(true, Ordering::Relaxed);
    let before = clients().insert(runtime.id(), client);
    if before.is_none() {
        let forget = Forget(runtime.id());
        runtime.spawn(async move {
            let _with_the_runtime = forget;
            pending::<()>().await;
        });
    }
    true
}

/// Says whether a runtime has one.
#[cfg(test)]
pub(super) fn has(runtime: Id) -> bool {
    clients().contains_key(&runtime)
}

fn clients() -> MutexGuard<'static, HashMap<Id, Client>> {
    CLIENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Forget {
    fn drop(&mut self) {
        let client = clients().remove(&self.0);
        drop(client); // not under the lock
    }
}

//! A watch that outlives its connections: list, watch from there, go on where the server ended, list again when it forgot.
//!
//! It asks for no time and never waits; so that it cannot spin, a connection that ends without having shown anything is
//! an error, and whoever polls waits after an error. After any error it lists again: that costs one request and needs no
//! trust in a version that the server may no longer know, as after a restored etcd.

use std::{mem, sync::Arc};

use futures::{
    StreamExt,
    stream::{BoxStream, unfold},
};
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
    core::response::Status,
};

use super::fault::{Call, Verb};
use crate::{
    error::told,
    store::kube::crd::Lock,
    store::{Fault, Scope, Sighting, Watch},
};

/// What is asked of the server; below the 295 s after which kube's client gives up reading.
const TIMEOUT_SECONDS: u32 = 290;

/// Opens a watch; nothing is sent before it is polled.
pub(super) fn open(locks: Api<Lock>, namespace: Arc<str>, scope: Scope) -> Watch {
    let watcher = Watcher { locks, namespace, scope, place: Place::Start };
    unfold(watcher, |mut watcher| async move { Some((watcher.next().await, watcher)) }).boxed()
}

struct Watcher {
    locks: Api<Lock>,
    namespace: Arc<str>,
    scope: Scope,
    place: Place,
}

/// Where a watch stands.
enum Place {
    /// It has to list.
    Start,
    /// It knows a version to watch from; `proven` when a watch has shown something since the list.
    At { version: String, proven: bool },
    /// It is connected; `quiet` while this connection has shown nothing.
    Open { events: Events, version: String, proven: bool, quiet: bool },
}

type Events = BoxStream<'static, Result<WatchEvent<Lock>, kube::Error>>;

// === impl Watcher ===

impl Watcher {
    /// Advances until there is something to report. An error leaves the place at the start.
    async fn next(&mut self) -> Result<Sighting, Fault> {
        loop {
            match mem::replace(&mut self.place, Place::Start) {
                Place::Start => return self.list().await,
                Place::At { version, proven } => self.connect(version, proven).await?,
                Place::Open { events, version, proven, quiet } => {
                    if let Some(sighting) = self.receive(events, version, proven, quiet).await? {
                        return Ok(sighting);
                    }
                }
            }
        }
    }

    async fn list(&mut self) -> Result<Sighting, Fault> {
        let how = ListParams { field_selector: self.selector(), ..ListParams::default() };
        let list = self.locks.list(&how).await.map_err(|error| self.call(Verb::List).fault(error))?;
        let version = list.metadata.resource_version.unwrap_or_default();
        let found = super::legible(&list.items)?;
        self.place = Place::At { version, proven: false };
        Ok(Sighting::Listed(found))
    }

    async fn connect(&mut self, version: String, proven: bool) -> Result<(), Fault> {
        let how = WatchParams { field_selector: self.selector(), ..WatchParams::default() }.timeout(TIMEOUT_SECONDS);
        match self.locks.watch(&how, &version).await {
            Ok(events) => self.place = Place::Open { events: events.boxed(), version, proven, quiet: true },
            Err(kube::Error::Api(status)) => return self.refused(&status, proven),
            Err(error) => return Err(self.call(Verb::Watch).fault(error)),
        }
        Ok(())
    }

    /// Takes one event; `None` when the place has changed and nothing is to be reported.
    async fn receive(
        &mut self,
        mut events: Events,
        version: String,
        proven: bool,
        quiet: bool,
    ) -> Result<Option<Sighting>, Fault> {
        let (sighting, version) = match events.next().await {
            None if quiet => return Err(Fault::Unknown(told("the watch ended without an event".to_owned()))),
            None => {
                self.place = Place::At { version, proven };
                return Ok(None);
            }
            Some(Err(kube::Error::Api(status)) | Ok(WatchEvent::Error(status))) => {
                return self.refused(&status, proven).map(|()| None);
            }
            Some(Err(error)) => return Err(self.call(Verb::Watch).fault(error)),
            Some(Ok(WatchEvent::Bookmark(mark))) => (Ok(Sighting::Alive), mark.metadata.resource_version),
            Some(Ok(WatchEvent::Added(lock) | WatchEvent::Modified(lock))) => (changed(&lock), version_of(&lock)),
            Some(Ok(WatchEvent::Deleted(lock))) => (gone(&lock), version_of(&lock)),
        };
        self.place = Place::Open { events, version, proven: true, quiet: false };
        sighting.map(Some)
    }

    /// The server refuses to go on. Lists again without a word if it has forgotten the version (410), except when that
    /// version is fresh from a list: then listing again at once would be spinning.
    fn refused(&self, status: &Status, proven: bool) -> Result<(), Fault> {
        if status.code == 410 && proven { Ok(()) } else { Err(self.call(Verb::Watch).refusal(status)) }
    }

    fn selector(&self) -> Option<String> {
        match &self.scope {
            Scope::Lock(name) => Some(format!("metadata.name={name}")),
            Scope::Engine(engine) => Some(format!("spec.engine={engine}")),
            Scope::Next(engine) => Some(format!("spec.next={engine}")),
            Scope::All => None,
        }
    }

    fn call(&self, verb: Verb) -> Call {
        Call { verb, namespace: Arc::clone(&self.namespace) }
    }
}

fn changed(lock: &Lock) -> Result<Sighting, Fault> {
    let (name, snapshot) = lock.snapshot()?;
    Ok(Sighting::Changed(name, snapshot))
}

/// A deletion carries the old content, which is no news, but the version of what happened.
fn gone(lock: &Lock) -> Result<Sighting, Fault> {
    Ok(Sighting::Gone(lock.lock_name()?, lock.version()?))
}

fn version_of(lock: &Lock) -> String {
    lock.metadata.resource_version.clone().unwrap_or_default()
}

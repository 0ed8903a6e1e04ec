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

use super::{
    fault::{Call, Verb},
    form::{Form, Selector},
};
use crate::{
    error::told,
    store::{Fault, Scope, Sighting, Watch},
};

/// What is asked of the server; below the 295 s after which kube's client gives up reading.
const TIMEOUT_SECONDS: u32 = 290;

/// Opens a watch; nothing is sent before it is polled.
///
/// Each object is handed to `seen` before it is reported.
pub(super) fn open<F: Form>(
    locks: Api<F>,
    namespace: Arc<str>,
    scope: Scope,
    seen: impl Fn(&F) + Send + Sync + 'static,
) -> Watch {
    let watcher = Watcher { locks, namespace, scope, seen: Box::new(seen), place: Place::Start };
    unfold(watcher, |mut watcher| async move { Some((watcher.next().await, watcher)) }).boxed()
}

struct Watcher<F> {
    locks: Api<F>,
    namespace: Arc<str>,
    scope: Scope,
    seen: Box<dyn Fn(&F) + Send + Sync>,
    place: Place<F>,
}

/// Where a watch stands.
enum Place<F> {
    /// It has to list.
    Start,
    /// It knows a version to watch from; `proven` when a watch has shown something since the list.
    At { version: String, proven: bool },
    /// It is connected; `quiet` while this connection has shown nothing.
    Open { events: Events<F>, version: String, proven: bool, quiet: bool },
}

type Events<F> = BoxStream<'static, Result<WatchEvent<F>, kube::Error>>;

// === impl Watcher ===

impl<F: Form> Watcher<F> {
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
        let (field_selector, label_selector) = self.selectors();
        let how = ListParams { field_selector, label_selector, ..ListParams::default() };
        let list = self.locks.list(&how).await.map_err(|error| self.call(Verb::List).fault(error))?;
        let version = list.metadata.resource_version.unwrap_or_default();
        list.items.iter().for_each(|object| (self.seen)(object));
        let found = super::legible(&list.items)?;
        self.place = Place::At { version, proven: false };
        Ok(Sighting::Listed(found))
    }

    async fn connect(&mut self, version: String, proven: bool) -> Result<(), Fault> {
        let (field_selector, label_selector) = self.selectors();
        let how = WatchParams { field_selector, label_selector, ..WatchParams::default() }.timeout(TIMEOUT_SECONDS);
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
        mut events: Events<F>,
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
            Some(Ok(WatchEvent::Added(lock) | WatchEvent::Modified(lock))) => {
                (self.seen)(&lock);
                (lock.sighting(&self.scope), lock.version_text())
            }
            Some(Ok(WatchEvent::Deleted(lock))) => (gone(&lock), lock.version_text()),
        };
        self.place = Place::Open { events, version, proven: true, quiet: false };
        sighting.map(Some)
    }

    /// The server refuses to go on. Lists again without a word if it has forgotten the version (410), except when that
    /// version is fresh from a list: then listing again at once would be spinning.
    fn refused(&self, status: &Status, proven: bool) -> Result<(), Fault> {
        if status.code == 410 && proven { Ok(()) } else { Err(self.call(Verb::Watch).refusal(status)) }
    }

    /// By which fields, and by which labels.
    fn selectors(&self) -> (Option<String>, Option<String>) {
        match F::selector(&self.scope) {
            Selector::Field(field) => (Some(field), None),
            Selector::Label(label) => (None, Some(label)),
            Selector::Everything => (None, None),
        }
    }

    fn call(&self, verb: Verb) -> Call {
        Call { verb, namespace: Arc::clone(&self.namespace), resource: F::RESOURCE }
    }
}

/// A deletion carries the old content, which is no news, but the version of what happened.
fn gone(lock: &impl Form) -> Result<Sighting, Fault> {
    Ok(Sighting::Gone(lock.lock_name()?, lock.version()?))
}

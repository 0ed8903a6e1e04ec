//! A store that wraps another and breaks single calls: the faults of a network and of an overloaded API server, in
//! paused time.
//!
//! What becomes of a call is decided by the test, by its kind and its number. The wrapped store stays reachable beside
//! it, so that a test can look at the truth.
//!
//! Unlike [`crate::tamper`] it needs neither sockets nor a cluster; it knows nothing of HTTP.
#![allow(clippy::missing_panics_doc, reason = "a poisoned mutex means that a test has failed already")]

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream};
use msync::{
    LockName,
    unstable::{
        record::Change,
        store::{Fatal, Fault, Scope, Sighting, Snapshot, Store, Version, Watch},
    },
};
use tokio::time::sleep;

pub use crate::lock_request::Kind;

/// One call, as the test's rule sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// How many calls of this kind there were before.
    pub nth: usize,
    /// What it asks for.
    pub kind: Kind,
    /// Of which lock.
    pub name: LockName,
}

/// What becomes of a call.
#[derive(Clone, Debug, Default)]
pub enum Fate {
    /// It is answered at once.
    #[default]
    Pass,
    /// It fails and is not applied.
    Fail(Fault),
    /// It is applied; the caller learns that something went wrong.
    DropReply,
    /// It is applied at once and answered later.
    AnswerLate(Duration),
    /// It is applied later and answered then.
    Delay(Duration),
    /// The caller is told at once that the outcome is unknown; it is applied later, whatever the caller does.
    Zombie(Duration),
    /// It is applied twice, as retries hidden in a client do; the answer of the second is returned.
    Twice,
    /// It is applied and never answered.
    Swallow,
    /// It is neither applied nor answered.
    Hang,
}

/// What becomes of the events of a watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// Each is shown at once.
    #[default]
    Clear,
    /// None is ever shown.
    Blind,
    /// Each is shown late.
    Late(Duration),
    /// Each is shown twice.
    Double,
    /// Each is followed by the one before it.
    Stale,
    /// Each is replaced by an error.
    Broken,
}

/// The rule of a test.
type Rule = Arc<dyn Fn(&Request) -> Fate + Send + Sync>;

/// A store that breaks. Its clones share their rules.
#[derive(Clone)]
pub struct Faulty(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rule: Option<Rule>,
    sight: Sight,
    log: Vec<Request>,
}

/// Makes a fault whose call may or may not have been applied.
pub fn unknown() -> Fault {
    Fault::Unknown(told("the connection was lost"))
}

/// Makes a fault that trying again will not heal.
pub fn forbidden() -> Fault {
    Fault::Fatal(Fatal::Forbidden("user web may not create locks.metaparticle.io".to_owned()))
}

fn told(why: &str) -> Arc<dyn std::error::Error + Send + Sync> {
    let error: Box<dyn std::error::Error + Send + Sync> = why.into();
    error.into()
}

// === impl Faulty ===

impl Faulty {
    /// Wraps a store. Nothing is broken yet.
    pub fn new(store: impl Store) -> Self {
        Self(Arc::new(Inner { store: Arc::new(store), state: Mutex::default() }))
    }

    /// Sets the rule by which calls fail from now on.
    pub fn on(&self, rule: impl Fn(&Request) -> Fate + Send + Sync + 'static) {
        self.state(|state| state.rule = Some(Arc::new(rule)));
    }

    /// Breaks every call alike.
    pub fn every(&self, fate: Fate) {
        self.on(move |_| fate.clone());
    }

    /// Breaks the first call of a kind from now on.
    pub fn once(&self, kind: Kind, fate: Fate) {
        let first = self.count(kind);
        self.on(move |request| {
            let hit = request.kind == kind && request.nth == first;
            if hit { fate.clone() } else { Fate::Pass }
        });
    }

    /// Mends everything.
    pub fn heal(&self) {
        self.state(|state| (state.rule, state.sight) = (None, Sight::Clear));
    }

    /// Sets what watches show of events that they reach from now on.
    pub fn watches(&self, sight: Sight) {
        self.state(|state| state.sight = sight);
    }

    /// Returns how many calls of a kind there were, whatever became of them.
    pub fn count(&self, kind: Kind) -> usize {
        self.state(|state| state.log.iter().filter(|request| request.kind == kind).count())
    }

    /// Returns how many calls there were, whatever became of them.
    pub fn total(&self) -> usize {
        self.state(|state| state.log.len())
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.state.lock().expect("no test has panicked inside"))
    }

    fn fate(&self, kind: Kind, name: &LockName) -> Fate {
        let nth = self.count(kind);
        let request = Request { nth, kind, name: name.clone() };
        let rule = self.state(|state| {
            state.log.push(request.clone());
            state.rule.clone()
        });
        rule.map_or(Fate::Pass, |rule| rule(&request))
    }

    /// Sends a call to its fate.
    async fn send<T, F>(&self, kind: Kind, name: &LockName, call: impl Fn(Arc<Inner>) -> F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let deliver = || call(Arc::clone(&self.0));
        match self.fate(kind, name) {
            Fate::Pass => deliver().await,
            Fate::Fail(fault) => Err(fault),
            Fate::DropReply => deliver().await.and(Err(unknown())),
            Fate::AnswerLate(by) => {
                let answer = deliver().await;
                sleep(by).await;
                answer
            }
            Fate::Delay(by) => {
                sleep(by).await;
                deliver().await
            }
            Fate::Zombie(by) => {
                let zombie = deliver();
                tokio::spawn(async move {
                    sleep(by).await;
                    let _ = zombie.await;
                });
                Err(unknown())
            }
            Fate::Twice => {
                let _ = deliver().await;
                deliver().await
            }
            Fate::Swallow => {
                let _ = deliver().await;
                std::future::pending().await
            }
            Fate::Hang => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faulty").field(&self.0.store).finish()
    }
}

impl Store for Faulty {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        Box::pin(self.send(Kind::Read, name, |inner| {
            let name = name.clone();
            async move { inner.store.read(&name).await }
        }))
    }

    fn apply<'a>(&'a self, name: &'a LockName, change: &'a Change) -> BoxFuture<'a, Result<Snapshot, Fault>> {
        Box::pin(self.send(Kind::of_change(change), name, |inner| {
            let (name, change) = (name.clone(), change.clone());
            async move { inner.store.apply(&name, &change).await }
        }))
    }

    fn delete<'a>(&'a self, name: &'a LockName, version: &'a Version) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.send(Kind::Delete, name, |inner| {
            let (name, version) = (name.clone(), version.clone());
            async move { inner.store.delete(&name, &version).await }
        }))
    }

    fn watch(&self, scope: Scope) -> Watch {
        let lens = Lens { store: self.clone(), inner: self.0.store.watch(scope), ready: VecDeque::new(), last: None };
        stream::unfold(lens, |mut lens| async { lens.next().await.map(|sighting| (sighting, lens)) }).boxed()
    }
}

/// A watch seen through the faults of the moment.
struct Lens {
    store: Faulty,
    inner: Watch,
    ready: VecDeque<Result<Sighting, Fault>>,
    last: Option<Result<Sighting, Fault>>,
}

// === impl Lens ===

impl Lens {
    async fn next(&mut self) -> Option<Result<Sighting, Fault>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            let seen = self.inner.next().await?;
            let before = self.last.replace(seen.clone());
            match self.store.state(|state| state.sight) {
                Sight::Clear => return Some(seen),
                Sight::Blind => {}
                Sight::Late(by) => {
                    sleep(by).await;
                    return Some(seen);
                }
                Sight::Double => self.ready.extend([seen.clone(), seen]),
                Sight::Stale => self.ready.extend([Some(seen), before].into_iter().flatten()),
                Sight::Broken => return Some(Err(unknown())),
            }
        }
    }
}

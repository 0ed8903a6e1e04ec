//! Throw-away stand-in for the engine, dropped when the engine is merged: locks of one process, no ttl, no renewal.
//! It exists only so that `private`, the macros and their cases compile and run before the engine is there.

#![allow(missing_docs, dead_code, unreachable_pub, clippy::pedantic, clippy::disallowed_methods)]

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard, watch};

use crate::scope::ScopeKey;

#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("lock {name} is held by another")]
    Busy { name: String },
    #[error("lock {name} was not free within {after:?}")]
    Timeout { name: String, after: Duration },
    #[error("lock {name} is lost: {reason}")]
    Lost { name: String, reason: LossReason },
    #[error("invalid lock name {name:?}: {reason}")]
    InvalidName { name: String, reason: &'static str },
    #[error("invalid timing: {reason}")]
    InvalidTiming { reason: &'static str },
    #[error("lock {name} is already held by this task: waiting for it would never end")]
    WouldDeadlock { name: String },
    #[error("the client was shut down")]
    ShutDown,
    #[error("{context}: {source}")]
    Store { context: String, source: Arc<dyn std::error::Error + Send + Sync> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LossReason {
    #[error("it was released")]
    Released,
    #[error("its object was deleted")]
    Deleted,
    #[error("it was held for max_hold")]
    MaxHold,
}

impl Error {
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Timeout { .. })
    }
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

#[derive(Clone, Debug)]
pub struct LockName(Arc<str>);

impl AsRef<str> for LockName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for LockName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FencingToken(u64);

#[derive(Clone, Copy, Debug)]
pub struct Timing(#[allow(dead_code)] Duration);

impl Timing {
    pub fn with_ttl(ttl: Duration) -> Result<Self, Error> {
        if ttl < Duration::from_secs(1) {
            return Err(Error::InvalidTiming { reason: "the ttl is shorter than one second" });
        }
        Ok(Self(ttl))
    }
}

#[derive(Default)]
struct Slot {
    gate: Arc<tokio::sync::Mutex<()>>,
    current: Mutex<Option<watch::Sender<Option<LossReason>>>>,
}

#[derive(Default)]
struct Locks {
    slots: HashMap<String, Arc<Slot>>,
    tokens: u64,
}

#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Locks>>);

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }
    /// As if somebody deleted the object by hand.
    pub fn delete(&self, name: &str) {
        if let Some(current) = &*self.slot(name).current.lock().unwrap() {
            current.send_replace(Some(LossReason::Deleted));
        }
    }
    fn slot(&self, name: &str) -> Arc<Slot> {
        self.0.lock().unwrap().slots.entry(name.to_owned()).or_default().clone()
    }
    fn token(&self) -> FencingToken {
        let mut locks = self.0.lock().unwrap();
        locks.tokens += 1;
        FencingToken(locks.tokens)
    }
}

struct Inner {
    id: u64,
    identity: String,
    store: MemoryStore,
    down: AtomicBool,
    closing: Notify,
}

#[derive(Clone)]
pub struct Client(Arc<Inner>);

pub struct ClientBuilder(Option<MemoryStore>);

impl ClientBuilder {
    pub fn memory(mut self, store: &MemoryStore) -> Self {
        self.0 = Some(store.clone());
        self
    }
    pub fn build(self) -> Client {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Client(Arc::new(Inner {
            id,
            identity: format!("stub.{id:016x}"),
            store: self.0.unwrap_or_default(),
            down: AtomicBool::new(false),
            closing: Notify::new(),
        }))
    }
}

impl Client {
    pub fn builder() -> ClientBuilder {
        ClientBuilder(None)
    }
    pub async fn try_default() -> Result<Self, Error> {
        let source: Box<dyn std::error::Error + Send + Sync> = "no kube config in the stub".into();
        Err(Error::Store { context: "connecting".into(), source: source.into() })
    }
    pub fn lock(&self, name: impl AsRef<str>) -> Result<Lock, Error> {
        let name = name.as_ref();
        if let Some(reason) = name::fault(name) {
            return Err(Error::InvalidName { name: name.to_owned(), reason });
        }
        Ok(Lock { client: self.clone(), name: LockName(name.into()), max_hold: None })
    }
    pub fn lock_all<I>(&self, names: I) -> Result<LockSet, Error>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let names: BTreeSet<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        names.iter().map(|name| self.lock(name)).collect::<Result<_, _>>().map(LockSet)
    }
    pub fn election(&self, name: impl AsRef<str>) -> Result<Election, Error> {
        self.lock(name).map(Election)
    }
    pub async fn shutdown(&self) {
        self.0.down.store(true, Ordering::Relaxed);
        self.0.closing.notify_waiters();
    }
    pub fn identity(&self) -> &str {
        &self.0.identity
    }
}

#[derive(Clone)]
pub struct Lock {
    client: Client,
    name: LockName,
    max_hold: Option<Duration>,
}

impl Lock {
    pub fn timing(self, _: Timing) -> Self {
        self
    }
    pub fn at_least(self, _: Duration) -> Self {
        self
    }
    pub fn max_hold(mut self, most: Duration) -> Self {
        self.max_hold = Some(most);
        self
    }
    pub async fn acquire(&self) -> Result<LockGuard, Error> {
        let slot = self.client.0.store.slot(self.name.as_ref());
        let held = slot.gate.clone().lock_owned().await;
        Ok(self.guard(slot, held))
    }
    pub async fn try_acquire(&self) -> Result<Option<LockGuard>, Error> {
        let slot = self.client.0.store.slot(self.name.as_ref());
        let held = slot.gate.clone().try_lock_owned().ok();
        Ok(held.map(|held| self.guard(slot, held)))
    }
    pub async fn acquire_timeout(&self, after: Duration) -> Result<LockGuard, Error> {
        let name = self.name.to_string();
        tokio::time::timeout(after, self.acquire()).await.map_err(|_| Error::Timeout { name, after })?
    }
    pub(crate) fn scope_key(&self) -> ScopeKey {
        ScopeKey::new(self.client.0.id, self.name.0.clone())
    }
    fn guard(&self, slot: Arc<Slot>, held: OwnedMutexGuard<()>) -> LockGuard {
        let (sender, lost) = watch::channel(None);
        if let Some(most) = self.max_hold {
            let sender = sender.clone();
            tokio::spawn(async move {
                tokio::time::sleep(most).await;
                sender.send_replace(Some(LossReason::MaxHold));
            });
        }
        *slot.current.lock().unwrap() = Some(sender);
        let lease = View { name: self.name.clone(), token: self.client.0.store.token(), lost };
        LockGuard { lease, _held: held }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct View {
    name: LockName,
    token: FencingToken,
    lost: watch::Receiver<Option<LossReason>>,
}

impl View {
    pub fn token(&self) -> FencingToken {
        self.token
    }
    pub fn check(&self) -> Result<(), Error> {
        match *self.lost.borrow() {
            None => Ok(()),
            Some(reason) => Err(Error::Lost { name: self.name.to_string(), reason }),
        }
    }
    pub fn ensure(&self, _: Duration) -> Result<(), Error> {
        self.check()
    }
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let mut lost = self.lost.clone();
        async move {
            let reason = lost.wait_for(Option::is_some).await.map(|reason| *reason);
            match reason {
                Ok(Some(reason)) => reason,
                _ => std::future::pending().await,
            }
        }
    }
}

#[must_use = "the lock is released when the guard is dropped"]
#[derive(Debug)]
pub struct LockGuard {
    lease: View,
    _held: OwnedMutexGuard<()>,
}

impl LockGuard {
    pub fn token(&self) -> FencingToken {
        self.lease.token()
    }
    pub fn check(&self) -> Result<(), Error> {
        self.lease.check()
    }
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        self.lease.lost()
    }
    pub fn name(&self) -> &LockName {
        &self.lease.name
    }
    pub fn ensure(&self, _: Duration) -> Result<(), Error> {
        self.check()
    }
    pub async fn release(self) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Clone)]
pub struct LockSet(Vec<Lock>);

impl LockSet {
    pub fn locks(&self) -> &[Lock] {
        &self.0
    }
    pub fn map(self, change: impl FnMut(Lock) -> Lock) -> Self {
        Self(self.0.into_iter().map(change).collect())
    }
    pub async fn acquire(&self) -> Result<LockSetGuard, Error> {
        let mut guards = Vec::new();
        for lock in &self.0 {
            guards.push(lock.acquire().await?);
        }
        Ok(LockSetGuard(guards))
    }
    pub async fn try_acquire(&self) -> Result<Option<LockSetGuard>, Error> {
        let mut guards = Vec::new();
        for lock in &self.0 {
            let Some(guard) = lock.try_acquire().await? else { return Ok(None) };
            guards.push(guard);
        }
        Ok(Some(LockSetGuard(guards)))
    }
    pub async fn acquire_timeout(&self, after: Duration) -> Result<LockSetGuard, Error> {
        let name = self.0[0].name.to_string();
        tokio::time::timeout(after, self.acquire()).await.map_err(|_| Error::Timeout { name, after })?
    }
}

#[derive(Debug)]
pub struct LockSetGuard(Vec<LockGuard>);

impl LockSetGuard {
    pub fn guards(&self) -> &[LockGuard] {
        &self.0
    }
    pub fn check(&self) -> Result<(), Error> {
        self.0.iter().try_for_each(LockGuard::check)
    }
    pub fn ensure(&self, _: Duration) -> Result<(), Error> {
        self.check()
    }
    pub async fn release(self) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Clone)]
pub struct Election(Lock);

impl Election {
    pub async fn campaign(&self) -> Result<Leadership, Error> {
        let inner = &self.0.client.0;
        let closing = inner.closing.notified();
        if inner.down.load(Ordering::Relaxed) {
            return Err(Error::ShutDown);
        }
        tokio::select! {
            guard = self.0.acquire() => Ok(Leadership(guard?)),
            () = closing => Err(Error::ShutDown),
        }
    }
}

#[derive(Debug)]
pub struct Leadership(LockGuard);

impl Leadership {
    pub fn token(&self) -> FencingToken {
        self.0.token()
    }
    pub fn check(&self) -> Result<(), Error> {
        self.0.check()
    }
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        self.0.lost()
    }
    pub fn name(&self) -> &LockName {
        self.0.name()
    }
    pub fn ensure(&self, _: Duration) -> Result<(), Error> {
        self.check()
    }
    pub async fn resign(self) -> Result<(), Error> {
        Ok(())
    }
}

#[doc(hidden)]
pub mod name {
    pub fn fault(name: &str) -> Option<&'static str> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let edge = |part: &str| part.is_empty() || part.starts_with('-') || part.ends_with('-');
        if name.is_empty() || name.len() > 253 || !name.chars().all(allowed) || name.split('.').any(edge) {
            return Some("it is not an RFC 1123 subdomain");
        }
        None
    }
    pub fn sanitize(text: &str, max_len: usize) -> String {
        let lower = text.to_ascii_lowercase();
        let clean: String = lower
            .chars()
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' { c } else { '-' })
            .take(max_len)
            .collect();
        let parts: Vec<_> = clean.split('.').map(|p| p.trim_matches('-')).filter(|p| !p.is_empty()).collect();
        if parts.is_empty() { "unnamed".to_owned() } else { parts.join(".") }
    }
}

impl Lock {
    pub fn name(&self) -> &LockName {
        &self.name
    }
}

//! A stand-in for the engine over a shared store, on a clock that the test moves. Never shipped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::Stream;
use jiff::Timestamp;
use msync_compat_sidecar::api::{Client, Name};
use msync_compat_sidecar::clock::{Moment, shifted};
use msync_compat_sidecar::session::{Attempt, Backend, Hold, Identity, Mode, Now, Record, Sessions, Trouble};

/// What a hold lasts after the last renewal, and how often it is renewed.
const DEADLINE: Duration = Duration::from_secs(30);
const RENEW: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct World(Arc<Inside>);

struct Inside {
    start: Moment,
    elapsed: Mutex<Duration>,
    records: Mutex<HashMap<Name, Entry>>,
    versions: AtomicU64,
    frozen: AtomicBool,
    requests: AtomicU64,
}

#[derive(Clone)]
struct Entry {
    record: Record,
    term: u64,
    ends: Duration,
}

impl World {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inside {
            start: Moment::now(),
            elapsed: Mutex::default(),
            records: Mutex::default(),
            versions: AtomicU64::new(100),
            frozen: AtomicBool::new(false),
            requests: AtomicU64::new(0),
        }))
    }

    pub(crate) fn sessions(&self, owner: &str) -> Sessions<Engine> {
        let identity = Identity { owner: owner.into(), namespace: "default".into() };
        let world = self.clone();
        let now: Now = Arc::new(move || world.now());
        Sessions::new(self.engine(owner), identity, now)
    }

    pub(crate) fn engine(&self, owner: &str) -> Engine {
        Engine { world: self.clone(), owner: owner.into() }
    }

    pub(crate) fn now(&self) -> Moment {
        self.0.start.after(*self.0.elapsed.lock().unwrap())
    }

    pub(crate) fn set(&self, elapsed: Duration) {
        *self.0.elapsed.lock().unwrap() = elapsed;
    }

    /// Whether the API server answers nothing any more.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.0.frozen.store(frozen, Ordering::SeqCst);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// What a Rust peer's release leaves: nothing.
    pub(crate) fn delete(&self, name: &str) {
        self.records().remove(&Name::new(name).unwrap());
    }

    /// How many records name this owner as their holder.
    pub(crate) fn owned(&self, owner: &str) -> usize {
        self.records().values().filter(|entry| entry.record.owner == owner).count()
    }

    async fn request(&self) {
        self.0.requests.fetch_add(1, Ordering::SeqCst);
        while self.frozen() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn frozen(&self) -> bool {
        self.0.frozen.load(Ordering::SeqCst)
    }

    fn records(&self) -> MutexGuard<'_, HashMap<Name, Entry>> {
        self.0.records.lock().unwrap()
    }

    fn version(&self) -> String {
        self.0.versions.fetch_add(1, Ordering::SeqCst).to_string()
    }
}

pub(crate) struct Engine {
    world: World,
    owner: String,
}

pub(crate) struct Held {
    world: World,
    name: Name,
    term: u64,
    renewed: Mutex<Duration>,
}

impl Backend for Engine {
    type Hold = Held;

    async fn read(&self, name: &Name) -> Result<Option<Record>, Trouble> {
        self.world.request().await;
        Ok(self.world.records().get(name).map(|entry| entry.record.clone()))
    }

    async fn attempt(&self, name: &Name, _client: Option<&Client>, mode: Mode) -> Result<Attempt<Held>, Trouble> {
        self.world.request().await;
        let now = self.world.now();
        let mut records = self.world.records();
        if let Some(entry) = records.get(name)
            && (mode == Mode::Create || (!entry.record.owner.is_empty() && now.since_boot < entry.ends))
        {
            return Ok(Attempt::Busy(entry.record.clone()));
        }
        let version = self.world.version();
        let term = version.parse().unwrap();
        let expiry = Some(shifted(now.wall, DEADLINE));
        let record = Record { version, created: None, owner: self.owner.clone(), expiry, term, queue: Vec::new() };
        records.insert(name.clone(), Entry { record, term, ends: now.since_boot + DEADLINE });
        let renewed = Mutex::new(now.since_boot);
        Ok(Attempt::Held(Held { world: self.world.clone(), name: name.clone(), term, renewed }))
    }

    /// Polls, so its queue has no order: what needs one is tested on the engine itself.
    async fn acquire(&self, name: &Name, client: Option<&Client>) -> Result<Held, Trouble> {
        loop {
            match self.attempt(name, client, Mode::Take).await? {
                Attempt::Held(held) => return Ok(held),
                Attempt::Busy(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn newest(&self, name: &Name, _client: Option<&Client>) -> Option<Record> {
        self.world.records().get(name).map(|entry| entry.record.clone())
    }

    fn sightings(&self, name: &Name) -> impl Stream<Item = Option<Record>> + Send + 'static {
        futures::stream::unfold((self.world.clone(), name.clone()), |(world, name)| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let seen = world.records().get(&name).map(|entry| entry.record.clone());
            Some((seen, (world, name)))
        })
    }

    async fn ready(&self) -> Result<(), Trouble> {
        self.world.request().await;
        Ok(())
    }
}

impl Held {
    /// The background renewals of the engine, made up for when somebody looks.
    fn renew(&self, every: Duration) {
        let now = self.world.now();
        let mut renewed = self.renewed.lock().unwrap();
        if self.world.frozen() || now.since_boot < *renewed + every || now.since_boot >= *renewed + DEADLINE {
            return;
        }
        let mut records = self.world.records();
        let Some(entry) = records.get_mut(&self.name).filter(|entry| entry.term == self.term) else { return };
        entry.record.version = self.world.version();
        entry.ends = now.since_boot + DEADLINE;
        *renewed = now.since_boot;
    }
}

impl Hold for Held {
    fn remaining(&self) -> Duration {
        self.renew(RENEW);
        let ours = self.world.records().get(&self.name).is_some_and(|entry| entry.term == self.term);
        let ends = *self.renewed.lock().unwrap() + DEADLINE;
        if ours { ends.saturating_sub(self.world.now().since_boot) } else { Duration::ZERO }
    }

    fn version(&self) -> String {
        self.world.records().get(&self.name).map(|entry| entry.record.version.clone()).unwrap_or_default()
    }

    fn token(&self) -> u64 {
        self.term
    }

    fn created(&self) -> Option<Timestamp> {
        None
    }

    async fn fresh(&self, remaining: Duration) {
        while (Duration::from_nanos(1)..remaining).contains(&self.remaining()) {
            self.renew(Duration::ZERO);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn release(&self) -> Result<(), Trouble> {
        self.world.request().await;
        let now = self.world.now();
        let version = self.world.version();
        let mut records = self.world.records();
        if let Some(entry) = records.get_mut(&self.name).filter(|entry| entry.term == self.term) {
            let freed = Record { version, owner: String::new(), term: 0, ..entry.record.clone() };
            (entry.record, entry.term) = (Record { expiry: Some(now.wall), ..freed }, 0);
        }
        Ok(())
    }
}

//! Sessions of several sidecars over one store in memory, in paused time: what clients are told, to the second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use msync::{
    Client, LockName, MemoryStore,
    clock::{Clock, TokioClock},
    unstable::{
        record::Change,
        store::{Fault, Scope, Snapshot, Store, Version, Watch},
    },
};
use msync_compat_sidecar::{
    api::{self, Call, Lock, Name, Outcome, Request, Verb},
    clock::Moment,
    engine::{Engine, timing},
    server::Locks,
    session::{Identity, Part, Sessions},
};
use tokio::time::sleep;

/// The store in memory, whose API server can freeze.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    pub(crate) store: MemoryStore,
    frozen: Arc<AtomicBool>,
}

impl Shared {
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::SeqCst);
    }

    /// A call that reaches a frozen server is never answered.
    fn unless_frozen<'a, T: 'a>(&'a self, answer: BoxFuture<'a, T>) -> BoxFuture<'a, T> {
        if self.frozen.load(Ordering::SeqCst) { Box::pin(std::future::pending()) } else { answer }
    }

    pub(crate) fn sidecar(&self, owner: &str, pod: Option<&str>) -> Sidecar {
        self.started(owner, pod, Part::default())
    }

    /// A sidecar that takes part in the election `e`.
    pub(crate) fn candidate(&self, owner: &str) -> Sidecar {
        let elections = vec![Name::new("e").unwrap()];
        self.started(owner, None, Part { elections, ..Part::default() })
    }

    fn started(&self, owner: &str, pod: Option<&str>, part: Part) -> Sidecar {
        let clock = TokioClock::default();
        // As the sidecar itself makes its own.
        let builder = Client::builder().owner(owner).timing(timing().unwrap()).sessions(false);
        let mut builder = builder.clock(clock.clone());
        let named = builder.clone().store(Arc::new(self.clone())).build();
        if let Some(uid) = pod {
            builder = builder.pod_uid(uid);
        }
        let engine = Engine::new(builder.store(Arc::new(self.clone())).build(), named);
        let identity = Identity { owner: owner.into(), namespace: "default".into() };
        let sessions = Sessions::with(engine, identity, Arc::new(move || moment(&clock)), part);
        tokio::spawn(sessions.clone().run());
        Sidecar(sessions)
    }
}

fn moment(clock: &TokioClock) -> Moment {
    let wall = jiff::Timestamp::from_millisecond(clock.wall().as_millis()).unwrap();
    Moment { since_boot: Duration::from_nanos(clock.now().as_nanos()), wall }
}

impl Store for Shared {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        self.unless_frozen(self.store.read(name))
    }

    fn apply<'a>(&'a self, name: &'a LockName, change: &'a Change) -> BoxFuture<'a, Result<Snapshot, Fault>> {
        self.unless_frozen(self.store.apply(name, change))
    }

    fn delete<'a>(&'a self, name: &'a LockName, version: &'a Version) -> BoxFuture<'a, Result<(), Fault>> {
        self.unless_frozen(Store::delete(&self.store, name, version))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<(LockName, Snapshot)>, Fault>> {
        self.unless_frozen(self.store.list())
    }

    fn watch(&self, scope: Scope) -> Watch {
        self.store.watch(scope)
    }
}

pub(crate) struct Sidecar(pub(crate) Sessions<Engine>);

impl Sidecar {
    pub(crate) async fn ask(&self, verb: Verb) -> Outcome {
        self.ask_as(None, verb).await
    }

    pub(crate) async fn ask_as(&self, client: Option<&str>, verb: Verb) -> Outcome {
        let client = client.map(|id| api::Client::new(id).unwrap());
        self.0.call(Request::Lock(Call { verb, name: Name::new("x").unwrap(), client })).await
    }

    pub(crate) async fn put(&self) -> Result<Lock, String> {
        match self.ask(Verb::PUT).await {
            Outcome::Good(lock) => Ok(lock),
            other => Err(format!("{other:?}")),
        }
    }

    /// Whom a refused PUT names.
    pub(crate) async fn refused(&self) -> String {
        match self.ask(Verb::PUT).await {
            Outcome::Taken(lock) => lock.owner,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn wait(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_gives_way_when_its_thirty_seconds_are_over() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    a.put().await.unwrap();
    wait(29.9).await;
    assert_eq!(b.refused().await, "a");
    wait(0.2).await;
    b.put().await.unwrap();
    assert_eq!(a.refused().await, "b");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_beats_every_ten_seconds_keeps_its_lock() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    for _ in 0..30 {
        a.put().await.unwrap();
        assert_eq!(b.refused().await, "a");
        wait(10.0).await;
    }
    let before = shared.store.calls();
    for _ in 0..100 {
        a.put().await.unwrap();
    }
    let calls = shared.store.calls();
    assert!(calls.reads == before.reads && calls.writes() <= before.writes() + 1, "beats cost no request: {calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_sidecar_costs_its_ttl_to_whoever_polls() {
    let shared = Shared::default();
    let name = LockName::new("x").unwrap();
    shared.sidecar("dead", None).put().await.unwrap();
    let last = shared.store.snapshot(&name).unwrap().record;
    let b = shared.sidecar("b", None);
    for _ in 0..3 {
        shared.store.edit(&name, |record| *record = last.clone());
        assert_eq!(b.refused().await, "dead");
        wait(10.0).await;
    }
    wait(1.2).await;
    shared.store.edit(&name, |record| *record = last.clone());
    b.put().await.expect("31 s after the first look, over four polls");
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_same_pod_keeps_the_lock() {
    let shared = Shared::default();
    shared.sidecar("a", Some("uid")).put().await.unwrap();
    assert_eq!(shared.sidecar("a", Some("another")).refused().await, "a");
    assert_eq!(shared.sidecar("a", None).refused().await, "a");
    shared.sidecar("a", Some("uid")).put().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_library_waits_in_the_queue_and_sidecars_poll() {
    let shared = Shared::default();
    let a = shared.sidecar("a", None);
    let library =
        Client::builder().owner("library").clock(TokioClock::default()).store(Arc::new(shared.clone())).build();
    a.put().await.unwrap();
    let guard = library.lock("x").unwrap().acquire_timeout(Duration::from_secs(31)).await.unwrap();
    assert_eq!(a.refused().await, "library");
    guard.release().await.unwrap();
    assert!(shared.store.names().is_empty(), "the library deletes what it held");
    assert!(matches!(a.ask(Verb::Get).await, Outcome::Good(_)), "but the name stays known");
    a.put().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_lives_by_a_session_shows_the_sessions_expiry() {
    let shared = Shared::default();
    let clock = TokioClock::default();
    let library = Client::builder().owner("library").clock(clock.clone()).sessions(true);
    let library = library.store(Arc::new(shared.clone())).build();
    let mut guards = Vec::new();
    for name in ["x", "y"] {
        guards.push(library.lock(name).unwrap().acquire().await.unwrap());
    }
    let a = shared.sidecar("a", None);
    for _ in 0..4 {
        wait(61.0).await;
        assert!(!shared.store.snapshot(&LockName::new("x").unwrap()).unwrap().record.under.is_none());
        let now = moment(&clock).wall;
        let shown = [a.ask(Verb::Get).await, a.ask(Verb::PUT).await];
        for (outcome, ask) in shown.into_iter().zip(["GET", "PUT"]) {
            let (Outcome::Good(lock) | Outcome::Taken(lock)) = outcome else { panic!("{ask}: {outcome:?}") };
            assert_eq!(lock.owner, "library", "{ask}");
            assert!(lock.expiry.is_some_and(|expiry| expiry > now), "{ask}: {:?} at {now}", lock.expiry);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_good_answer_while_less_than_twelve_seconds_remain() {
    let shared = Shared::default();
    let a = shared.sidecar("a", None);
    let started = tokio::time::Instant::now();
    a.put().await.unwrap();
    // A hold's first renewal is sent at a random moment, after a quarter of its interval of 5 s at the earliest.
    wait(1.0).await;
    shared.freeze(true);
    while a.put().await.is_ok() {
        assert!(started.elapsed() <= Duration::from_secs(18), "the only confirmed write was sent at 0");
        wait(0.5).await;
    }
    let ended = started.elapsed();
    assert!(ended > Duration::from_secs(18) && ended < Duration::from_secs(24), "{ended:?}");
    assert_eq!(a.refused().await, "a", "remembered as it was");
    shared.freeze(false);
    wait(40.0).await;
    a.put().await.unwrap();
}

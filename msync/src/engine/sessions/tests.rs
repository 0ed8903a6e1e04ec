//! Sessions as clients have them: on a store in memory, by a clock that is moved by hand.

use std::sync::atomic::AtomicBool;

use futures::{future::BoxFuture, poll};

use super::*;
use crate::{
    Client, LockGuard, MemoryStore,
    clock::{Clock, TokioClock, Wall},
    record::{Beat, Change, Claim, EngineId},
    store::{Fatal, Fault, Scope, Snapshot, Store, Version, Watch},
};

/// The wire of one client: it can be cut, and the right to have sessions be missing.
#[derive(Clone, Debug, Default)]
struct Wire {
    store: MemoryStore,
    /// Looks at all sessions.
    looks: Arc<AtomicU64>,
    cut: Arc<AtomicBool>,
    forbids: bool,
}

impl Wire {
    async fn pass(&self, name: &LockName) -> Result<(), Fault> {
        if self.cut.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let forbidden = self.forbids && name.is_session();
        if forbidden { Err(Fault::Fatal(Fatal::Forbidden("no right to sessions".to_owned()))) } else { Ok(()) }
    }
}

impl Store for Wire {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        Box::pin(async move {
            self.pass(name).await?;
            self.store.read(name).await
        })
    }

    fn apply<'a>(&'a self, name: &'a LockName, change: &'a Change) -> BoxFuture<'a, Result<Snapshot, Fault>> {
        Box::pin(async move {
            self.pass(name).await?;
            self.store.apply(name, change).await
        })
    }

    fn delete<'a>(&'a self, name: &'a LockName, version: &'a Version) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            self.pass(name).await?;
            Store::delete(&self.store, name, version).await
        })
    }

    fn watch(&self, scope: Scope) -> Watch {
        self.looks.fetch_add(u64::from(scope == Scope::Sessions), Ordering::Relaxed);
        self.store.watch(scope)
    }
}

fn client(wire: &Wire, owner: &str) -> Client {
    let builder = Client::builder().owner(owner).clock(TokioClock::default()).sessions(true);
    builder.store(Arc::new(wire.clone())).build()
}

async fn pass(client: &Client, seconds: u64) {
    let clock = Arc::clone(&client.engine().clock);
    clock.sleep_until(clock.now() + Duration::from_secs(seconds)).await;
}

async fn hold(client: &Client, count: usize) -> Vec<LockGuard> {
    let mut guards = Vec::new();
    for number in 0..count {
        guards.push(client.lock(format!("x{number}")).unwrap().acquire().await.unwrap());
    }
    guards
}

fn under(store: &MemoryStore, name: &str) -> Option<Term> {
    store.snapshot(&LockName::new(name).unwrap()).map(|snapshot| snapshot.record.under)
}

async fn sessions(store: &MemoryStore) -> Vec<LockName> {
    let all = store.list().await.unwrap();
    all.into_iter().map(|(name, _)| name).filter(LockName::is_session).collect()
}

#[tokio::test(start_paused = true)]
async fn one_heartbeat_keeps_a_hundred_locks() {
    let wire = Wire::default();
    let client = client(&wire, "a");
    let guards = hold(&client, 100).await;
    pass(&client, 30).await;
    let (session, before) = (sessions(&wire.store).await, wire.store.calls());
    pass(&client, 150).await;
    let calls = wire.store.calls() - before;
    assert!((29..=33).contains(&calls.writes()), "one in five seconds: {calls:?}");
    assert!(guards.iter().all(|guard| guard.check().is_ok()));
    assert_eq!(session.len(), 1);
    assert!((0..100).all(|number| under(&wire.store, &format!("x{number}")).is_some_and(|under| !under.is_none())));
    assert_eq!(client.engine().held().len(), 100, "the session is nobody's lock");
}

#[tokio::test(start_paused = true)]
async fn r3_one_lock_alone_renews_by_itself() {
    let wire = Wire::default();
    let client = client(&wire, "a");
    let guards = hold(&client, 1).await;
    pass(&client, 60).await;
    assert!(guards[0].check().is_ok() && sessions(&wire.store).await.is_empty());
    assert_eq!(under(&wire.store, "x0"), Some(Term::NONE));
}

#[tokio::test(start_paused = true)]
async fn r12_a_session_that_nothing_needs_is_removed_after_a_ttl_and_a_new_one_has_a_new_name() {
    let wire = Wire::default();
    let client = client(&wire, "a");
    let guards = hold(&client, 3).await;
    pass(&client, 20).await;
    let first = sessions(&wire.store).await;
    drop(guards);
    pass(&client, 14).await;
    assert_eq!(sessions(&wire.store).await, first, "the next lock may come soon");
    pass(&client, 3).await;
    assert!(wire.store.list().await.unwrap().is_empty());
    let _guards = hold(&client, 3).await;
    pass(&client, 20).await;
    let second = sessions(&wire.store).await;
    assert!(second.len() == 1 && second != first);
}

#[tokio::test(start_paused = true)]
async fn r12_a_shutdown_leaves_nothing() {
    let wire = Wire::default();
    let client = client(&wire, "a");
    let guards = hold(&client, 5).await;
    pass(&client, 20).await;
    assert_eq!(sessions(&wire.store).await.len(), 1);
    let ends = async {
        pass(&client, 1).await;
        assert_eq!(sessions(&wire.store).await.len(), 1, "it is needed as long as a guard is there");
        drop(guards);
    };
    tokio::join!(client.shutdown(), ends);
    assert!(wire.store.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn l1_who_waits_has_each_lock_of_a_dead_session_soon_after_its_ttl() {
    let dead = Wire::default();
    let alive = Wire { store: dead.store.clone(), ..Wire::default() };
    let (a, b) = (client(&dead, "a"), client(&alive, "b"));
    let guards = hold(&a, 20).await;
    pass(&a, 20).await;
    let locks: Vec<_> = (0..20).map(|number| b.lock(format!("x{number}")).unwrap()).collect();
    let mut waiting: Vec<_> = locks.iter().map(|lock| Box::pin(lock.acquire())).collect();
    for acquiring in &mut waiting {
        assert!(poll!(acquiring).is_pending());
    }
    pass(&a, 60).await;
    for acquiring in &mut waiting {
        assert!(poll!(acquiring).is_pending(), "it lives");
    }
    dead.cut.store(true, Ordering::Relaxed);
    let (before, since) = (alive.store.calls(), b.engine().clock.now());
    let had = futures::future::join_all(waiting).await;
    let took = b.engine().clock.now().since(since);
    assert!(had.iter().all(Result::is_ok) && guards.iter().all(|guard| guard.check().is_err()));
    assert!(took <= Duration::from_millis(15_000 * 103 / 100 + 500), "{took:?}");
    let calls = alive.store.calls() - before;
    assert_eq!((calls.claims, calls.deletes), (20, 1), "one is killed: {calls:?}");
}

#[tokio::test(start_paused = true)]
async fn l1_who_waits_is_served_though_others_come_and_go_all_the_time() {
    let dead = Wire::default();
    let alive = Wire { store: dead.store.clone(), ..Wire::default() };
    let (a, b) = (client(&dead, "a"), client(&alive, "b"));
    let _guards = hold(&a, 3).await;
    pass(&a, 20).await;
    dead.cut.store(true, Ordering::Relaxed);
    let (lock, other) = (b.lock("x0").unwrap(), b.lock("x1").unwrap());
    let mut waiting = Box::pin(lock.acquire());
    for _ in 0..200 {
        let mut short = Box::pin(other.acquire());
        if poll!(&mut waiting).is_ready() {
            return;
        }
        assert!(poll!(&mut short).is_pending());
        b.engine().clock.sleep_until(b.engine().clock.now() + Duration::from_millis(200)).await;
    }
    panic!("nobody has looked at the session for 40 s");
}

#[tokio::test(start_paused = true)]
async fn who_tries_is_told_that_a_lock_under_a_session_is_busy_without_waiting() {
    let wire = Wire::default();
    let (a, b) = (client(&wire, "a"), client(&wire, "b"));
    let _guards = hold(&a, 3).await;
    pass(&a, 20).await;
    let since = b.engine().clock.now();
    assert!(b.lock("x1").unwrap().try_acquire().await.unwrap().is_none());
    assert!(b.engine().clock.now().since(since) < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn r3_first_acquire_hand_off_and_release_cost_one_write_however_many_are_held() {
    for held in [2, 10, 1_000] {
        let wire = Wire::default();
        let (a, b) = (client(&wire, "a"), client(&wire, "b"));
        let _guards = hold(&a, held).await;
        pass(&a, 20).await;
        let lock = a.lock("y").unwrap();
        let before = wire.store.calls();
        let guard = lock.acquire().await.unwrap();
        let calls = wire.store.calls() - before;
        assert_eq!((calls.creates, calls.total()), (1, 1), "{held}: {calls:?}");
        assert!(under(&wire.store, "y").is_some_and(|under| !under.is_none()));
        let waits = b.lock("y").unwrap();
        let mut waiting = Box::pin(waits.acquire());
        assert!(poll!(&mut waiting).is_pending());
        pass(&a, 1).await;
        let before = wire.store.calls();
        guard.release().await.unwrap();
        let guard = waiting.await.unwrap();
        let calls = wire.store.calls() - before;
        assert_eq!((calls.grants, calls.writes()), (1, 1), "{held}: {calls:?}");
        let before = wire.store.calls();
        guard.release().await.unwrap();
        let calls = wire.store.calls() - before;
        assert_eq!((calls.deletes, calls.total()), (1, 1), "{held}: {calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn r14_where_sessions_are_forbidden_locks_renew_by_themselves() {
    let wire = Wire { forbids: true, ..Wire::default() };
    let client = client(&wire, "a");
    let guards = hold(&client, 5).await;
    pass(&client, 120).await;
    assert!(guards.iter().all(|guard| guard.check().is_ok()));
    assert!(sessions(&wire.store).await.is_empty());
    assert!(client.engine().sessions.read().warned);
}

#[tokio::test(start_paused = true)]
async fn r2_a_session_that_is_deleted_ends_all_that_stood_under_it_and_the_next_is_another() {
    let wire = Wire::default();
    let client = client(&wire, "a");
    let guards = hold(&client, 3).await;
    pass(&client, 20).await;
    let session = sessions(&wire.store).await.remove(0);
    let version = wire.store.snapshot(&session).unwrap().version;
    Store::delete(&wire.store, &session, &version).await.unwrap();
    pass(&client, 1).await;
    assert!(guards.iter().all(|guard| guard.check().is_err()));
    drop(guards);
    pass(&client, 15).await;
    assert!(wire.store.list().await.unwrap().is_empty());
    let guards = hold(&client, 3).await;
    pass(&client, 60).await;
    assert!(guards.iter().all(|guard| guard.check().is_ok()));
    assert!(!sessions(&wire.store).await.contains(&session));
}

#[tokio::test(start_paused = true)]
async fn r14_turned_off_nothing_is_opened() {
    let store = MemoryStore::new();
    let client = Client::builder().clock(TokioClock::default()).sessions(false).memory(&store).build();
    let _guards = hold(&client, 3).await;
    pass(&client, 60).await;
    assert!(sessions(&store).await.is_empty());
}

/// The session of a process that is no more, as it was left.
async fn left_behind(store: &MemoryStore, wall: Wall) -> LockName {
    let term = Term(0xdead);
    let claim = Claim { engine: EngineId::new("gone", 1), term, ttl: Duration::from_secs(15), instant: true };
    let change = Change::Create { claim, beat: Beat(1), under: Term::NONE, wall };
    let name = LockName::session(term);
    store.apply(&name, &change).await.unwrap();
    name
}

#[tokio::test(start_paused = true)]
async fn what_a_crashed_process_has_left_of_a_session_is_collected_seldom_and_by_few() {
    let wire = Wire::default();
    let (looker, plain) = (client(&wire, "a"), Wire { store: wire.store.clone(), ..Wire::default() });
    let plain_client = client(&plain, "b");
    let wall = looker.engine().clock.read().wall;
    let dead = left_behind(&wire.store, wall).await;
    let (_locks, _one) = (hold(&looker, 2).await, plain_client.lock("alone").unwrap().acquire().await.unwrap());
    pass(&looker, 5 * 3600).await;
    assert_eq!(wire.looks.load(Ordering::Relaxed), 0, "it costs a place and no more");
    pass(&looker, 14 * 3600).await;
    let left = sessions(&wire.store).await;
    assert!(!left.contains(&dead) && left.len() == 1, "its own lives: {left:?}");
    assert!(wire.looks.load(Ordering::Relaxed) <= 4, "{wire:?}");
    assert_eq!(plain.looks.load(Ordering::Relaxed), 0, "who has no session looks at none");
}

/// The clock of its process is two hours slow.
#[tokio::test(start_paused = true)]
async fn a_session_that_lives_is_not_collected_whatever_its_date_is_and_costs_few_looks() {
    let wire = Wire::default();
    let client = client(&wire, "a");
    let locks = hold(&client, 2).await;
    let store = wire.store.clone();
    let clock = Arc::clone(&client.engine().clock);
    let name = left_behind(&store, Wall::default()).await;
    let beats = tokio::spawn(async move {
        for beat in 1.. {
            clock.sleep_until(clock.now() + Duration::from_secs(5)).await;
            let (term, ttl) = (Term(0xdead), Duration::from_secs(15));
            let (previous, beat) = (Beat(beat), Beat(beat + 1));
            let change = Change::Renew {
                term,
                previous,
                beat,
                renewals: 2,
                ttl,
                next_owner: None,
                under: Term::NONE,
                wall: Wall::default(),
            };
            store.apply(&name, &change).await.expect("it is there");
        }
    });
    pass(&client, 40 * 3600).await;
    assert!(!beats.is_finished(), "it was collected");
    assert!((2..=14).contains(&wire.looks.load(Ordering::Relaxed)), "{:?}", wire.looks);
    assert!(locks.iter().all(|lock| lock.check().is_ok()));
    beats.abort();
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_after_the_end_of_the_last_handle() {
    let wire = Wire::default();
    let client = client(&wire, "a");
    let clock = Arc::clone(&client.engine().clock);
    let locks = hold(&client, 2).await;
    pass(&client, 60).await;
    assert_eq!(sessions(&wire.store).await.len(), 1);
    drop(locks);
    let engine = Arc::downgrade(client.engine());
    drop(client);
    clock.sleep_until(clock.now() + Duration::from_secs(60)).await;
    assert_eq!(engine.strong_count(), 0, "a task keeps it");
}

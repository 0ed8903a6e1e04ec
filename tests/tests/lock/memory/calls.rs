//! Calls that are not answered, or have to wait for their turn: what they cost, and whom.

use std::time::Duration;

use msync::{Client, LockGuard, MemoryStore, Timing};
use tests::{
    faulty::{Fate, Faulty, Kind, Sight},
    memory::{client, client_of, is_untouched, pass, queue, ttl, until, within},
};
use tokio::time::Instant;

/// The longest time-out of a call, and a little more for the pause after it.
const LOST_ANSWER: Duration = Duration::from_secs(13);

/// A client of a store that can break.
fn breakable(owner: &str) -> (MemoryStore, Faulty, Client) {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let client = client_of(faulty.clone(), owner);
    (store, faulty, client)
}

async fn hold(client: &Client, prefix: &str, locks: usize, timing: Timing) -> Vec<LockGuard> {
    let mut guards = Vec::new();
    for n in 0..locks {
        let lock = client.lock(format!("{prefix}-{n}")).unwrap().timing(timing);
        guards.push(lock.acquire().await.unwrap());
    }
    guards
}

#[tokio::test(start_paused = true)]
async fn calls_of_other_locks_do_not_cost_a_held_lock_its_lease() {
    for others in [15, 600, 24 * 3600] {
        let (_, faulty, a) = breakable("a");
        let guard = a.lock("short").unwrap().acquire().await.unwrap();
        // A second in which connections are swallowed, and in which a hundred tasks happen to ask for other locks.
        faulty.every(Fate::Hang);
        for n in 0..100 {
            let lock = a.lock(format!("long-{n}")).unwrap().timing(ttl(others));
            tokio::spawn(async move { lock.acquire().await });
        }
        pass(Duration::from_secs(1)).await;
        faulty.heal();
        let before = faulty.count(Kind::Renew);
        pass(Duration::from_secs(60)).await;
        guard.check().unwrap();
        assert!(faulty.count(Kind::Renew) - before >= 10, "others with a ttl of {others} s");
    }
}

#[tokio::test(start_paused = true)]
async fn renewals_of_locks_with_a_long_ttl_do_not_cost_one_with_a_short_ttl_its_lease() {
    let (_, faulty, a) = breakable("a");
    let often = ttl(600).renew_every(Duration::from_secs(6)).unwrap();
    let long = hold(&a, "long", 100, often).await;
    let short = hold(&a, "short", 10, ttl(15)).await;
    pass(Duration::from_secs(60)).await;
    faulty.on(|request| if request.name.as_str().starts_with("long") { Fate::Hang } else { Fate::Pass });
    pass(Duration::from_secs(120)).await;
    for guard in &short {
        guard.check().unwrap();
    }
    faulty.heal();
    pass(Duration::from_secs(60)).await;
    long.iter().chain(&short).for_each(|guard| guard.check().unwrap());
}

/// More renewals than can be answered: what they leave undone must not be what others wait for.
#[tokio::test(start_paused = true)]
async fn a_release_is_not_starved_by_renewals() {
    let (_, faulty, a) = breakable("a");
    let _guards = hold(&a, "kept", 300, ttl(15)).await;
    let last = a.lock("released").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Delay(Duration::from_millis(700)));
    pass(Duration::from_secs(30)).await;
    within(Duration::from_secs(2), "released", last.release()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_release_does_not_wait_for_acquisitions_that_wait_for_their_turn() {
    let (_, faulty, a) = breakable("a");
    let held = a.lock("released").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Delay(Duration::from_millis(500)));
    for n in 0..1000 {
        let lock = a.lock(format!("wanted-{n}")).unwrap();
        tokio::spawn(async move { lock.acquire().await });
    }
    pass(Duration::from_millis(100)).await;
    within(Duration::from_secs(2), "released", held.release()).await.unwrap();
}

/// Each of them takes its turn, although most wait for it for longer than a call may.
#[tokio::test(start_paused = true)]
async fn who_waits_for_its_turn_for_long_has_it_in_the_end() {
    let (_, faulty, a) = breakable("a");
    faulty.every(Fate::Delay(Duration::from_millis(500)));
    let tasks: Vec<_> = (0..1000)
        .map(|n| {
            let lock = a.lock(format!("wanted-{n}")).unwrap();
            tokio::spawn(async move { lock.acquire().await })
        })
        .collect();
    let start = Instant::now();
    for task in tasks {
        within(Duration::from_secs(60), "its turn", task).await.unwrap().unwrap().check().unwrap();
    }
    assert!(start.elapsed() > Duration::from_secs(10), "they did wait: {:?}", start.elapsed());
    let session = 1;
    assert_eq!(faulty.count(Kind::Create), 1000 + session, "who was sent away unsent has sent nothing");
    assert_eq!(faulty.count(Kind::Read), 0, "so nobody looks what became of it");
}

#[tokio::test(start_paused = true)]
async fn one_lost_answer_costs_ten_seconds_at_most_however_long_the_ttl() {
    for seconds in [15, 60, 3600, 24 * 3600] {
        let (store, faulty, a) = breakable("a");
        let (b, lock) = (client(&store, "b"), a.lock("x").unwrap().timing(ttl(seconds)));
        faulty.once(Kind::Create, Fate::Hang);
        let guard = within(LOST_ANSWER, "a Create", lock.acquire()).await.unwrap();
        faulty.once(Kind::Delete, Fate::Hang);
        drop(guard);
        let guard = within(LOST_ANSWER, "a Delete", b.lock("x").unwrap().acquire()).await.unwrap();
        faulty.once(Kind::Enqueue, Fate::Hang);
        let waiting = tokio::spawn(async move { lock.acquire().await.unwrap() });
        pass(Duration::from_secs(1)).await;
        within(LOST_ANSWER, "an Enqueue", until("a waits", || queue(&store, "x") == 1)).await;
        drop(guard);
        drop(within(LOST_ANSWER, "handed on", waiting).await.unwrap());
        within(LOST_ANSWER, "released", until("it is", || is_untouched(&store, "x"))).await;
        faulty.watches(Sight::Blind);
        let (creates, reads) = (faulty.count(Kind::Create), faulty.count(Kind::Read));
        faulty.on(move |request| match request.kind {
            Kind::Create if request.nth == creates => Fate::DropReply,
            Kind::Read if request.nth == reads => Fate::Hang,
            _ => Fate::Pass,
        });
        let _guard = within(LOST_ANSWER, "a Read", a.lock("x").unwrap().timing(ttl(seconds)).acquire()).await.unwrap();
        assert!(faulty.count(Kind::Read) > reads);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_silent_is_opened_anew_after_ninety_seconds_whatever_the_ttl() {
    let store = MemoryStore::new();
    let timing = ttl(24 * 3600);
    let a = tests::memory::builder("a", msync::clock::TokioClock::default()).timing(timing).memory(&store).build();
    let _guard = a.lock("x").unwrap().acquire().await.unwrap();
    let before = store.calls().watches;
    pass(Duration::from_secs(100)).await;
    assert!(store.calls().watches > before);
}

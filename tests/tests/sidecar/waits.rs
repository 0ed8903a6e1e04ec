//! What new clients are offered, on sidecars in paused time: queues, times of their own, releases, watches.

use std::time::Duration;

use msync::{Client, LockName, clock::TokioClock};
use msync_compat_sidecar::{
    api::{Listing, Outcome, Request, Verb, Version},
    server::Locks,
};
use tokio::{task::JoinHandle, time::Instant};

use crate::memory::{Shared, Sidecar, wait};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn put_waiting(seconds: u64) -> Verb {
    Verb::Put { wait: secs(seconds), ttl: None }
}

/// Asks in the background, and gives the request time to arrive.
pub(crate) async fn asked(sidecar: &Sidecar, client: Option<&'static str>, verb: Verb) -> JoinHandle<Outcome> {
    let sidecar = Sidecar(sidecar.0.clone());
    let task = tokio::spawn(async move { sidecar.ask_as(client, verb).await });
    wait(0.1).await;
    task
}

pub(crate) async fn outcome(task: JoinHandle<Outcome>) -> Outcome {
    tokio::time::timeout(secs(600), task).await.expect("an answer").unwrap()
}

pub(crate) fn token(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Good(lock) => lock.grant.expect("a grant").token,
        other => panic!("{other:?}"),
    }
}

fn version(outcome: &Outcome) -> Version {
    match outcome {
        Outcome::Good(lock) | Outcome::Taken(lock) => lock.watch.expect("a version"),
        Outcome::Absent(version) => version.expect("a version"),
        other => panic!("{other:?}"),
    }
}

async fn listing(sidecar: &Sidecar) -> Listing {
    match sidecar.0.call(Request::List).await {
        Outcome::Listed(listing) => listing,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_hands_the_lock_to_whoever_waits_longest() {
    let shared = Shared::default();
    let (a, b, c) = (shared.sidecar("a", None), shared.sidecar("b", None), shared.sidecar("c", None));
    let first = token(&a.ask(Verb::PUT).await);
    let (in_b, in_c) = (asked(&b, None, put_waiting(300)).await, asked(&c, None, put_waiting(300)).await);
    assert_eq!(a.ask(Verb::Delete).await, Outcome::Released);
    let second = token(&outcome(in_b).await);
    assert!(second > first);
    assert!(!in_c.is_finished());
    assert_eq!(b.ask(Verb::Delete).await, Outcome::Released);
    assert!(token(&outcome(in_c).await) > second);
    assert_eq!(a.refused().await, "c");
    assert_eq!(c.ask(Verb::Delete).await, Outcome::Released);
    assert_eq!(c.ask(Verb::Delete).await, Outcome::NotHeld, "a repetition changes nothing");
    a.put().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_in_time_with_the_lock_as_it_is_held() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    for _ in 0..4 {
        a.put().await.unwrap();
        let start = Instant::now();
        match b.ask(put_waiting(10)).await {
            Outcome::Taken(lock) => assert_eq!(lock.owner, "a"),
            other => panic!("{other:?}"),
        }
        assert!((secs(10)..secs(11)).contains(&start.elapsed()), "{:?}", start.elapsed());
    }
    assert_eq!(b.0.waiting(), 0);
    let record = shared.store.snapshot(&LockName::new("x").unwrap()).unwrap().record;
    assert!(record.waiters.is_empty(), "nobody waits any more: {record:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_holder_gives_way_to_whoever_waits() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    let start = Instant::now();
    a.put().await.unwrap();
    assert!(matches!(b.ask(put_waiting(60)).await, Outcome::Good(_)));
    assert!((secs(30)..secs(31)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_leaves_the_queue() {
    let shared = Shared::default();
    let (a, b, c) = (shared.sidecar("a", None), shared.sidecar("b", None), shared.sidecar("c", None));
    a.put().await.unwrap();
    let (gone, stays) = (asked(&b, None, put_waiting(300)).await, asked(&c, None, put_waiting(300)).await);
    gone.abort();
    wait(0.5).await;
    assert_eq!(b.0.waiting(), 0);
    assert_eq!(a.ask(Verb::Delete).await, Outcome::Released);
    assert!(matches!(outcome(stays).await, Outcome::Good(_)));
    assert_eq!(b.refused().await, "c");
}

#[tokio::test(start_paused = true)]
async fn clients_of_one_sidecar_exclude_each_other_by_their_ids() {
    let shared = Shared::default();
    let a = shared.sidecar("a", None);
    let one = a.ask_as(Some("one"), Verb::PUT).await;
    assert!(token(&a.ask_as(Some("one"), Verb::PUT).await) == token(&one), "a beat");
    for other in [None, Some("two")] {
        match a.ask_as(other, Verb::PUT).await {
            Outcome::Taken(lock) => assert!(lock.owner == "a" && lock.grant.is_none(), "{lock:?}"),
            other => panic!("{other:?}"),
        }
        match a.ask_as(other, Verb::Get).await {
            Outcome::Good(lock) => assert!(lock.grant.is_none(), "the token is the holder's"),
            other => panic!("{other:?}"),
        }
        assert_eq!(a.ask_as(other, Verb::Delete).await, Outcome::Foreign("the client one".into()));
    }
    let two = asked(&a, Some("two"), put_waiting(60)).await;
    let nameless = asked(&a, None, put_waiting(60)).await;
    assert_eq!(a.ask_as(Some("one"), Verb::Delete).await, Outcome::Released);
    assert!(token(&outcome(two).await) > token(&one));
    assert!(!nameless.is_finished());
    assert_eq!(a.ask_as(Some("two"), Verb::Delete).await, Outcome::Released);
    assert!(matches!(outcome(nameless).await, Outcome::Good(_)));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_goes_before_whoever_asks_once() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    a.put().await.unwrap();
    let waiting = asked(&b, Some("one"), put_waiting(60)).await;
    let start = Instant::now();
    assert_eq!(b.refused().await, "a", "an old client of the same sidecar hears at once");
    assert!(start.elapsed() < secs(1), "{:?}", start.elapsed());
    assert_eq!(a.ask(Verb::Delete).await, Outcome::Released);
    assert!(matches!(outcome(waiting).await, Outcome::Good(_)));
}

#[tokio::test(start_paused = true)]
async fn all_requests_of_one_client_get_the_lock_together() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    a.put().await.unwrap();
    let both = [asked(&b, None, put_waiting(60)).await, asked(&b, None, put_waiting(60)).await];
    assert_eq!(a.ask(Verb::Delete).await, Outcome::Released);
    let [one, other] = both;
    assert_eq!(token(&outcome(one).await), token(&outcome(other).await));
}

#[tokio::test(start_paused = true)]
async fn a_client_may_choose_its_time() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    for ttl in [5, 120] {
        let start = Instant::now();
        let held = a.ask(Verb::Put { wait: secs(0), ttl: Some(secs(ttl)) }).await;
        let Outcome::Good(lock) = held else { panic!("{held:?}") };
        let remaining = lock.grant.unwrap().remaining;
        assert!(remaining <= secs(ttl.min(30)) && remaining > secs(ttl.min(29) - 1), "{remaining:?}");
        assert!(matches!(b.ask(put_waiting(300)).await, Outcome::Good(_)));
        assert!((secs(ttl)..secs(ttl + 1)).contains(&start.elapsed()), "{ttl}: {:?}", start.elapsed());
        assert_eq!(b.ask(Verb::Delete).await, Outcome::Released);
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_frees_what_others_hold_never() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    assert_eq!(b.ask(Verb::Delete).await, Outcome::NotHeld, "nobody ever had it");
    a.put().await.unwrap();
    assert_eq!(b.ask(Verb::Delete).await, Outcome::Foreign("a".into()));
    assert_eq!(b.refused().await, "a");
}

#[tokio::test(start_paused = true)]
async fn only_the_nameless_client_gets_its_lock_back_after_a_restart() {
    let shared = Shared::default();
    let before = shared.sidecar("a", Some("uid"));
    before.put().await.unwrap();
    assert_eq!(shared.sidecar("a", Some("uid")).ask(Verb::Delete).await, Outcome::Released, "the predecessor's");
    before.0.sweep();
    before.ask_as(Some("one"), Verb::PUT).await;
    let after = shared.sidecar("a", Some("uid"));
    for client in [None, Some("two"), Some("one")] {
        assert!(matches!(after.ask_as(client, Verb::PUT).await, Outcome::Taken(_)), "{client:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_answered_when_the_lock_changes_hands_and_not_by_renewals() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    let absent = version(&b.ask(Verb::Get).await);
    let watch = |version| Verb::Watch { version, wait: secs(300) };
    let taken = asked(&b, None, watch(absent)).await;
    assert!(!taken.is_finished());
    a.ask(Verb::Put { wait: secs(0), ttl: Some(secs(40)) }).await;
    let held = outcome(taken).await;
    let before = shared.store.calls();
    let freed = asked(&b, None, watch(version(&held))).await;
    wait(39.0).await;
    assert!(!freed.is_finished(), "seven renewals are no change");
    assert!(shared.store.calls().reads <= before.reads + 1, "and cost no read");
    wait(2.0).await;
    let free = outcome(freed).await;
    match &free {
        Outcome::Good(lock) => assert_eq!(lock.owner, "a", "as its last holder left it"),
        other => panic!("{other:?}"),
    }
    let deleted = asked(&b, None, watch(version(&free))).await;
    shared.store.delete("x");
    assert_ne!(version(&outcome(deleted).await), version(&free));
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_the_lock_pass_between_clients_of_its_own_sidecar() {
    let shared = Shared::default();
    let a = shared.sidecar("a", None);
    let held = a.ask_as(Some("one"), Verb::PUT).await;
    let watch = asked(&a, None, Verb::Watch { version: version(&held), wait: secs(300) }).await;
    let next = asked(&a, Some("two"), put_waiting(60)).await;
    assert!(!watch.is_finished());
    assert_eq!(a.ask_as(Some("one"), Verb::Delete).await, Outcome::Released);
    assert!(matches!(outcome(next).await, Outcome::Good(_)));
    assert_ne!(version(&outcome(watch).await), version(&held));
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_what_is_past_is_answered_at_once_and_one_of_nothing_known_refused() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    let absent = version(&b.ask(Verb::Get).await);
    a.put().await.unwrap();
    let start = Instant::now();
    let seen = b.ask(Verb::Watch { version: absent, wait: secs(300) }).await;
    assert!(matches!(seen, Outcome::Good(_)) && start.elapsed() < secs(1));
    let other_run = Version { run: !absent.run, ..absent };
    let future = Version { number: 1000, ..absent };
    for stale in [other_run, future] {
        assert_eq!(b.ask(Verb::Watch { version: stale, wait: secs(300) }).await, Outcome::Stale);
    }
    let unchanged = b.ask(Verb::Watch { version: version(&seen), wait: secs(7) }).await;
    assert_eq!(version(&unchanged), version(&seen));
    assert!((secs(7)..secs(8)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_is_about_to_end_says_so_to_whoever_waits() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    a.put().await.unwrap();
    let waiting = asked(&b, None, put_waiting(300)).await;
    let seen = version(&b.ask(Verb::Get).await);
    let watching = asked(&b, None, Verb::Watch { version: seen, wait: secs(300) }).await;
    b.0.drain().await;
    assert_eq!(outcome(waiting).await, Outcome::Ending);
    assert_eq!(outcome(watching).await, Outcome::Ending);
    assert_eq!(b.ask(put_waiting(9)).await, Outcome::Ending);
    assert_eq!(b.0.call(Request::Ready).await, Outcome::Ending);
}

#[tokio::test(start_paused = true)]
async fn the_listing_shows_holders_queues_and_waits_without_a_request() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    a.ask_as(Some("one"), Verb::Put { wait: secs(0), ttl: Some(secs(60)) }).await;
    let _in_b = asked(&b, None, put_waiting(50)).await;
    let _here = asked(&a, Some("two"), put_waiting(50)).await;
    wait(5.0).await;
    let calls = shared.store.calls();
    let held = listing(&a).await.locks.remove(0);
    assert_eq!((held.held, held.owner.as_str(), held.ttl_seconds), (true, "a", Some(60)));
    assert_eq!(held.client.unwrap().as_str(), "one");
    assert_eq!(held.queue, ["b"]);
    let left = held.waiting[0].left_seconds;
    assert!(held.waiting.len() == 1 && (44.0..45.0).contains(&left), "{left}");
    let awaited = listing(&b).await.locks.remove(0);
    assert_eq!((awaited.held, awaited.owner.as_str(), awaited.waiting.len()), (false, "a", 1));
    assert!(awaited.remaining_seconds.is_some_and(|left| (20.0..31.0).contains(&left)), "{awaited:?}");
    assert_eq!(shared.store.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_api_server_makes_nobody_wait_longer_than_asked() {
    let shared = Shared::default();
    let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
    a.put().await.unwrap();
    assert_eq!(b.refused().await, "a");
    shared.freeze(true);
    let start = Instant::now();
    assert!(matches!(b.ask(put_waiting(10)).await, Outcome::Taken(_)), "remembered as it was");
    assert!(start.elapsed() < secs(18), "{:?}", start.elapsed());
    let start = Instant::now();
    assert!(matches!(a.ask(Verb::Delete).await, Outcome::Unavailable(_)));
    assert!(start.elapsed() < secs(8), "{:?}", start.elapsed());
    assert!(matches!(a.0.call(Request::Ready).await, Outcome::Unavailable(_)));
    shared.freeze(false);
    wait(40.0).await;
    assert!(matches!(b.ask(put_waiting(10)).await, Outcome::Good(_)));
    assert_eq!(b.0.call(Request::Ready).await, Outcome::Well);
}

#[tokio::test(start_paused = true)]
async fn the_library_and_sidecars_stand_in_one_queue() {
    let shared = Shared::default();
    let a = shared.sidecar("a", None);
    let client = || Client::builder().owner("library").clock(TokioClock::default()).memory(&shared.store).build();
    let (library, other) = (client(), client());
    let guard = library.lock("x").unwrap().acquire().await.unwrap();
    let first = guard.token().get();
    let waiting = asked(&a, None, put_waiting(60)).await;
    let behind = tokio::spawn(async move { other.lock("x").unwrap().acquire().await.unwrap().token().get() });
    wait(0.1).await;
    guard.release().await.unwrap();
    let second = token(&outcome(waiting).await);
    assert_eq!(a.ask(Verb::Delete).await, Outcome::Released);
    let third = behind.await.unwrap();
    assert!(first < second && second < third, "{first} {second} {third}");
}

//! A store that fails: storms, outages, silence, refusals, lost and late answers.

use std::time::Duration;

use msync::{Error, MemoryStore};
use tests::{
    faulty::{Fate, Faulty, Kind, Sight, forbidden, unknown},
    memory::{TTL, client, client_of, is_untouched, pass, queue, record, ttl, until, waiter, within},
};

#[tokio::test(start_paused = true)]
async fn bug_04_a_write_whose_reply_was_lost_is_recognised_as_ones_own() {
    for kind in [Kind::Create, Kind::Enqueue, Kind::Renew, Kind::Delete, Kind::Grant] {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
        faulty.once(kind, Fate::DropReply);
        if kind == Kind::Enqueue {
            let held = b.lock("x").unwrap().acquire().await.unwrap();
            let waiting = waiter(&a, "x");
            until("a waits", || queue(&store, "x") >= 1).await;
            pass(Duration::from_secs(1)).await;
            assert_eq!(queue(&store, "x"), 1, "once in the queue, not twice");
            drop(held);
            within(Duration::from_secs(1), "granted", waiting).await.unwrap().check().unwrap();
            continue;
        }
        let guard = within(Duration::from_secs(1), "acquired", waiter(&a, "x")).await.unwrap();
        let term = record(&store, "x").unwrap().term;
        pass(Duration::from_secs(20)).await;
        guard.check().unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(record(&store, "x").unwrap().term, term, "{kind:?}: the term goes on");
        let next = (kind == Kind::Grant).then(|| waiter(&b, "x"));
        pass(Duration::from_secs(1)).await;
        within(Duration::from_secs(5), "released", guard.release()).await.unwrap();
        match next {
            Some(next) => next.await.unwrap().check().unwrap(),
            None => assert!(is_untouched(&store, "x"), "{kind:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bug_04_a_lost_reply_of_a_take_over_or_an_acceptance_is_recognised() {
    for kind in [Kind::Claim, Kind::Renew] {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
        let term = b.election("e").unwrap().campaign().await.unwrap();
        if kind == Kind::Claim {
            term.resign().await.unwrap();
            faulty.once(kind, Fate::DropReply);
            let _term = within(Duration::from_secs(2), "elected", a.election("e").unwrap().campaign()).await.unwrap();
            continue;
        }
        let campaign = tokio::spawn(async move { a.election("e").unwrap().campaign().await.unwrap() });
        until("a waits", || queue(&store, "e") == 1).await;
        faulty.once(kind, Fate::DropReply);
        term.resign().await.unwrap();
        within(Duration::from_secs(2), "elected", campaign).await.unwrap().check().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_hidden_retries_deliver_twice_does_no_harm() {
    let store = MemoryStore::new();
    let (one, two) = (Faulty::new(store.clone()), Faulty::new(store.clone()));
    one.every(Fate::Twice);
    two.every(Fate::Twice);
    let (a, b) = (client_of(one, "a"), client_of(two, "b"));
    for _ in 0..5 {
        let held = within(Duration::from_secs(1), "a", a.lock("x").unwrap().acquire()).await.unwrap();
        let waiting = waiter(&b, "x");
        pass(Duration::from_secs(20)).await;
        held.check().unwrap();
        within(Duration::from_secs(1), "released", held.release()).await.unwrap();
        let held = within(Duration::from_secs(1), "b", waiting).await.unwrap();
        within(Duration::from_secs(1), "released", held.release()).await.unwrap();
    }
    pass(Duration::from_secs(1)).await;
    assert!(is_untouched(&store, "x"), "{:?}", record(&store, "x"));
}

#[tokio::test(start_paused = true)]
async fn bug_16_a_storm_of_503_loses_the_lock_at_the_deadline_and_not_later() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let start = tokio::time::Instant::now();
    faulty.every(Fate::Fail(unknown()));
    guard.lost().await;
    let took = start.elapsed();
    assert!(took <= Duration::from_millis(13_502) && took >= Duration::from_secs(13), "{took:?}");
    let calls = faulty.total();
    assert!((3..100).contains(&calls), "{calls} calls in a storm of {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_storm_shorter_than_the_deadline_is_survived() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    for fate in [Fate::Fail(unknown()), Fate::Hang, Fate::DropReply] {
        pass(Duration::from_secs(10)).await;
        faulty.every(fate.clone());
        pass(Duration::from_secs(5)).await;
        faulty.heal();
        pass(Duration::from_secs(10)).await;
        guard.check().unwrap_or_else(|error| panic!("{fate:?}: {error}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_again_after_the_time_it_names() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    let wait = Duration::from_secs(3);
    faulty.once(Kind::Create, Fate::Fail(msync::unstable::store::Fault::Busy(Some(wait))));
    let start = tokio::time::Instant::now();
    let _guard = a.lock("x").unwrap().acquire().await.unwrap();
    assert!(start.elapsed() >= wait && start.elapsed() < wait * 2, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn bug_12_all_members_recover_from_an_outage_of_a_minute() {
    for fate in [Fate::Fail(unknown()), Fate::Hang] {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        let clients: Vec<_> = (0..4).map(|n| client_of(faulty.clone(), &format!("c{n}"))).collect();
        let first = clients[0].election("e").unwrap().campaign().await.unwrap();
        let mut campaigns = Vec::new();
        for client in &clients[1..] {
            let election = client.election("e").unwrap();
            campaigns.push(tokio::spawn(async move { election.campaign().await.unwrap() }));
            pass(Duration::from_millis(100)).await;
        }
        faulty.every(fate.clone());
        pass(Duration::from_secs(60)).await;
        assert!(first.check().is_err());
        faulty.heal();
        drop(first);
        for _ in 0..3 {
            let (leader, _, rest) = within(5 * TTL, &format!("{fate:?}"), futures::future::select_all(campaigns)).await;
            leader.unwrap().resign().await.unwrap();
            campaigns = rest;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_acquire_waits_for_a_store_that_is_down() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    faulty.every(Fate::Hang);
    let waiting = waiter(&a, "x");
    pass(Duration::from_secs(600)).await;
    let calls = faulty.total();
    assert!((50..600).contains(&calls), "{calls} calls in 600 s");
    faulty.heal();
    // The longest that a call may take with this ttl, and a pause.
    let _guard = within(Duration::from_secs(10), "acquired", waiting).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_try_fails_on_a_store_that_never_answers() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    faulty.every(Fate::Hang);
    let tried = within(TTL * 2 / 3, "answered", a.lock("x").unwrap().try_acquire()).await;
    assert!(matches!(tried, Err(Error::Store { .. })), "{tried:?}");
    println!("{}", tried.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_release_that_cannot_be_made_known_says_so_within_a_ttl_or_two() {
    for fate in [Fate::Hang, Fate::Fail(unknown())] {
        let faulty = Faulty::new(MemoryStore::new());
        let a = client_of(faulty.clone(), "a");
        let guard = a.lock("x").unwrap().acquire().await.unwrap();
        faulty.every(fate);
        let released = within(3 * TTL, "answered", guard.release()).await;
        assert!(matches!(released, Err(Error::Store { .. })), "{released:?}");
        println!("{}", released.unwrap_err());
        let calls = faulty.total();
        pass(3 * TTL).await;
        assert_eq!(faulty.total(), calls, "given up");
    }
}

#[tokio::test(start_paused = true)]
async fn bug_42_a_missing_right_fails_within_seconds_and_is_named() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    faulty.every(Fate::Fail(forbidden()));
    let lock = a.lock("x").unwrap();
    for _ in 0..2 {
        let soon = Duration::from_millis(10_100);
        let error = within(soon, "fails soon", lock.acquire()).await.unwrap_err();
        assert!(matches!(&error, Error::Forbidden(message) if message.contains("may not create locks")), "{error:?}");
        assert!(matches!(within(soon, "a try", lock.try_acquire()).await, Err(Error::Forbidden(_))));
        let campaigned = within(soon, "a campaign", a.election("x").unwrap().campaign()).await;
        assert!(matches!(campaigned, Err(Error::Forbidden(_))));
    }
    faulty.heal();
    let _guard = within(Duration::from_secs(6), "heals", lock.acquire()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_taken_away_loses_the_lock_at_the_deadline() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Fail(forbidden()));
    pass(Duration::from_secs(13)).await;
    guard.check().unwrap();
    guard.lost().await;
}

#[tokio::test(start_paused = true)]
async fn bug_03_one_failed_renewal_harms_neither_this_hold_nor_the_next() {
    for fate in [Fate::Fail(unknown()), Fate::Hang, Fate::DropReply, Fate::Fail(forbidden())] {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        let lock = client_of(faulty.clone(), "a").lock("x").unwrap().timing(ttl(6));
        for _ in 0..3 {
            faulty.once(Kind::Renew, fate.clone());
            let guard = lock.acquire().await.unwrap();
            pass(Duration::from_secs(30)).await;
            guard.check().unwrap_or_else(|error| panic!("{fate:?}: {error}"));
            guard.release().await.unwrap();
        }
    }
}

/// Slow answers that succeed do not make the hold longer than its sends allow.
#[tokio::test(start_paused = true)]
async fn bug_15_the_deadline_counts_from_the_send_not_from_the_answer() {
    let faulty = Faulty::new(MemoryStore::new());
    faulty.every(Fate::AnswerLate(Duration::from_secs(2)));
    faulty.watches(Sight::Blind);
    let a = client_of(faulty.clone(), "a");
    let sent = tokio::time::Instant::now();
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    assert_eq!(sent.elapsed().as_secs(), 2);
    assert!(guard.remaining() <= Duration::from_millis(11_501), "{:?}", guard.remaining());
    faulty.every(Fate::Hang);
    guard.lost().await;
    assert!(sent.elapsed() <= Duration::from_millis(13_502), "{:?}", sent.elapsed());
}

/// So for renewals: one is confirmed two seconds after it was sent, and is the last that is.
#[tokio::test(start_paused = true)]
async fn bug_15_a_slow_renewal_that_succeeds_counts_from_its_send() {
    let faulty = Faulty::new(MemoryStore::new());
    faulty.watches(Sight::Blind);
    let a = client_of(faulty.clone(), "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    faulty.every(Fate::AnswerLate(Duration::from_secs(2)));
    until("a renewal is sent", || faulty.count(Kind::Renew) == 1).await;
    let sent = tokio::time::Instant::now();
    faulty.every(Fate::Hang);
    pass(Duration::from_millis(2_010)).await;
    assert!(guard.remaining() > Duration::from_secs(11), "confirmed: {:?}", guard.remaining());
    guard.lost().await;
    assert!(sent.elapsed() <= Duration::from_millis(13_502), "{:?}", sent.elapsed());
}

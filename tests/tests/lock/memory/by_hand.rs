//! Locks that somebody edits by hand, in every absurd way: never a panic, never two holders, always a way out.

use std::time::Duration;

use msync::{
    Error, LossReason, MemoryStore,
    clock::Wall,
    unstable::record::{Beat, EngineId, Entry, FALLBACK_TTL, Record, Term},
};
use tests::memory::{TTL, client, is_untouched, name, pass, queue, record, until, waiter, within};

/// One way to spoil a record.
type Edit = (&'static str, fn(&mut Record));

const EDITS: [Edit; 17] = [
    ("no engine", |record| record.engine = EngineId::default()),
    ("another engine", |record| record.engine = EngineId::from_text("???")),
    ("no term", |record| record.term = Term::NONE),
    ("another term", |record| record.term = Term(1)),
    ("no beat", |record| record.beat = Beat::NONE),
    ("another beat", |record| record.beat = Beat(1)),
    ("no renewals", |record| record.renewals = 0),
    ("all renewals", |record| record.renewals = u64::MAX),
    ("not instant", |record| record.instant = !record.instant),
    ("no ttl", |record| record.ttl = Duration::ZERO),
    ("endless ttl", |record| record.ttl = Duration::from_millis(u64::MAX)),
    ("short ttl", |record| record.ttl = Duration::from_millis(1)),
    ("no dates", |record| (record.acquired, record.expiry) = (None, None)),
    ("end of time", |record| record.expiry = Some(Wall::from_millis(i64::MAX))),
    ("before time", |record| record.expiry = Some(Wall::from_millis(i64::MIN))),
    ("rubbish in the queue", |record| {
        let texts = ["", " ", "rubbish", "ffffffffffffffff x 15000 perhaps", "0000000000000001 x -5 instant"];
        record.waiters = texts.into_iter().map(Entry::from_text).collect();
    }),
    ("nothing at all", |record| *record = Record::default()),
];

/// After any edit of a held lock: within the fallback ttl another has it, and the first never says held meanwhile.
#[tokio::test(start_paused = true)]
async fn bug_36_any_edit_of_a_held_lock_ends_in_at_most_one_holder_and_progress() {
    for (what, edit) in EDITS {
        for with_waiter in [false, true] {
            let store = MemoryStore::new();
            let (a, b) = (client(&store, "a"), client(&store, "b"));
            let guard = a.lock("x").unwrap().acquire().await.unwrap();
            pass(Duration::from_secs(2)).await;
            let early = with_waiter.then(|| waiter(&b, "x"));
            pass(Duration::from_secs(1)).await;
            store.edit(&name("x"), edit);
            pass(Duration::from_secs(1)).await;
            let next = early.unwrap_or_else(|| waiter(&b, "x"));
            pass(Duration::from_secs(30)).await;
            assert!(!(next.is_finished() && guard.check().is_ok()), "{what}: two holders");
            drop(guard);
            let next = within(FALLBACK_TTL + 2 * TTL, what, next).await.unwrap();
            next.check().unwrap();
            pass(Duration::from_secs(20)).await;
            next.check().unwrap_or_else(|error| panic!("{what}: {error}"));
            next.release().await.unwrap();
            pass(Duration::from_secs(1)).await;
            assert!(is_untouched(&store, "x"), "{what}: {:?}", record(&store, "x"));
        }
    }
}

/// A lock that only its queue or its dates were edited of is still held.
#[tokio::test(start_paused = true)]
async fn an_edit_of_what_is_informative_loses_nothing() {
    for (what, edit) in EDITS {
        let harmless =
            ["renewals", "instant", "dates", "time", "queue", "ttl", "engine"].iter().any(|word| what.contains(word));
        if !harmless {
            continue;
        }
        let store = MemoryStore::new();
        let guard = client(&store, "a").lock("x").unwrap().acquire().await.unwrap();
        store.edit(&name("x"), edit);
        pass(Duration::from_secs(60)).await;
        guard.check().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(record(&store, "x").unwrap().ttl, TTL, "{what}: the next renewal mends the ttl");
    }
}

#[tokio::test(start_paused = true)]
async fn bug_36_any_edit_of_a_free_lock_leaves_it_to_be_had() {
    for (what, edit) in EDITS {
        let store = MemoryStore::new();
        store.edit(&name("x"), |_| ());
        store.edit(&name("x"), edit);
        let guard = within(FALLBACK_TTL + TTL, what, waiter(&client(&store, "a"), "x")).await.unwrap();
        pass(Duration::from_secs(20)).await;
        guard.check().unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

#[tokio::test(start_paused = true)]
async fn any_edit_of_an_election_ends_in_at_most_one_leader_and_progress() {
    for (what, edit) in EDITS {
        let store = MemoryStore::new();
        let (a, b) = (client(&store, "a"), client(&store, "b"));
        let term = a.election("x").unwrap().campaign().await.unwrap();
        let election = b.election("x").unwrap();
        let next = tokio::spawn(async move { election.campaign().await.unwrap() });
        pass(Duration::from_secs(3)).await;
        store.edit(&name("x"), edit);
        pass(Duration::from_secs(30)).await;
        assert!(!(next.is_finished() && term.check().is_ok()), "{what}: two leaders");
        drop(term);
        within(FALLBACK_TTL + 2 * TTL, what, next).await.unwrap().check().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn bug_35_a_deletion_by_hand_is_a_loss_at_once() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    pass(Duration::from_secs(1)).await;
    store.delete("x");
    let reason = within(Duration::from_millis(10), "told at once", guard.lost()).await;
    assert_eq!(reason, LossReason::Deleted);
    assert!(matches!(guard.check(), Err(Error::Lost { .. })));
    drop(guard);
    a.lock("x").unwrap().acquire().await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lock_deleted_and_made_anew_by_hand_is_a_loss_at_once() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let kept = record(&store, "x").unwrap();
    pass(Duration::from_secs(1)).await;
    store.delete("x");
    store.edit(&name("x"), |record| *record = Record { term: Term(9), ..kept });
    let reason = within(Duration::from_millis(10), "told at once", guard.lost()).await;
    assert!(matches!(reason, LossReason::TakenOver | LossReason::Deleted), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_entry_is_removed_by_hand_joins_again() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let held = a.lock("x").unwrap().acquire().await.unwrap();
    let waiting = waiter(&b, "x");
    for _ in 0..5 {
        until("b waits", || queue(&store, "x") == 1).await;
        pass(Duration::from_secs(1)).await;
        store.edit(&name("x"), |record| record.waiters.clear());
    }
    until("b waits again", || queue(&store, "x") == 1).await;
    drop(held);
    within(Duration::from_secs(1), "granted", waiting).await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_waiter_survives_the_deletion_of_the_lock_it_waits_for() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let held = a.lock("x").unwrap().acquire().await.unwrap();
    let waiting = waiter(&b, "x");
    until("b waits", || queue(&store, "x") == 1).await;
    store.delete("x");
    let next = within(Duration::from_secs(1), "at once", waiting).await.unwrap();
    next.check().unwrap();
    pass(Duration::from_millis(1)).await;
    assert!(held.check().unwrap_err().is_lost());
}

#[tokio::test(start_paused = true)]
async fn entries_that_do_not_parse_are_removed_by_whoever_would_grant_to_them() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let held = a.lock("x").unwrap().acquire().await.unwrap();
    let rubbish = ["", "rubbish", "zz web.1 15000 instant", "00000000000000aa web.1 5 instant", "1 2 3 4 5"];
    store.edit(&name("x"), |record| record.waiters = rubbish.into_iter().map(Entry::from_text).collect());
    let waiting = waiter(&b, "x");
    until("b waits", || queue(&store, "x") == 6).await;
    held.release().await.unwrap();
    within(Duration::from_secs(1), "granted", waiting).await.unwrap().check().unwrap();
    assert_eq!(queue(&store, "x"), 0);
}

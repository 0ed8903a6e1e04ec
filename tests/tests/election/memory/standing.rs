//! Standing by: `lead`, and candidates in the background, through losses, outages and shutdowns.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use msync::{Error, LossReason, MemoryStore};
use tests::{
    faulty::{Fate, Faulty, Sight},
    memory::{DEADLINE, TTL, client, client_of, pass, queue, record, until, within, yields},
};

const SECOND: Duration = Duration::from_secs(1);

/// Notes whether the term was still kept when it was dropped.
struct Witness {
    store: MemoryStore,
    kept: Arc<Mutex<Vec<bool>>>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.kept.lock().unwrap().push(record(&self.store, "e").is_some_and(|record| !record.is_free()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_gives_its_value_and_resigns() {
    let store = MemoryStore::new();
    let kept: Arc<Mutex<Vec<bool>>> = Arc::default();
    let election = client(&store, "a").election("e").unwrap();
    let value = election.lead(async |term| {
        let _witness = Witness { store: store.clone(), kept: Arc::clone(&kept) };
        term.check().unwrap();
        pass(100 * SECOND).await;
        term.token()
    });
    let token = value.await.unwrap();
    assert!(token.get() > 0 && record(&store, "e").unwrap().is_free(), "resigned before it returns");
    assert_eq!(*kept.lock().unwrap(), [true], "and after the body was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_lost_body_is_dropped_and_made_again_under_the_next_term() {
    let store = MemoryStore::new();
    let election = client(&store, "a").election("e").unwrap();
    let terms = Arc::new(Mutex::new(Vec::new()));
    let (noted, removed) = (Arc::clone(&terms), store.clone());
    // Spawned: what it returns can be sent to another thread.
    let leading = tokio::spawn(async move {
        let body = async |term: msync::Lease| {
            let turn = {
                let mut all = noted.lock().unwrap();
                all.push(term.token());
                all.len()
            };
            if turn < 3 {
                removed.delete("e");
                pending::<()>().await;
            }
            turn
        };
        election.lead(body).await
    });
    assert_eq!(within(60 * SECOND, "led three times", leading).await.unwrap().unwrap(), 3);
    assert!(terms.lock().unwrap().is_sorted());
}

#[tokio::test(start_paused = true)]
async fn who_stands_by_leads_when_the_leader_is_gone_and_not_before() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let term = a.election("e").unwrap().campaign().await.unwrap();
    let election = b.election("e").unwrap();
    let runs = AtomicU32::new(0);
    let mut leading = Box::pin(election.lead(async |_| {
        runs.fetch_add(1, Ordering::Relaxed);
        pending::<()>().await;
    }));
    assert!(tokio::time::timeout(100 * SECOND, &mut leading).await.is_err());
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    term.resign().await.unwrap();
    assert!(tokio::time::timeout(SECOND, &mut leading).await.is_err());
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    drop(leading);
    until("resigned", || record(&store, "e").is_some_and(|record| record.is_free())).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_who_leads_and_who_stands_by() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let kept: Arc<Mutex<Vec<bool>>> = Arc::default();
    let (one, two) = (a.election("e").unwrap(), b.election("e").unwrap());
    let leads = one.lead(async |_| {
        let _witness = Witness { store: store.clone(), kept: Arc::clone(&kept) };
        pending::<()>().await;
    });
    let ended = within(200 * SECOND, "ended", async {
        let stands_by = async {
            yields(20).await;
            two.lead(async |_| pending::<()>().await).await
        };
        tokio::join!(leads, stands_by, async {
            pass(30 * SECOND).await;
            b.shutdown().await;
            a.shutdown().await;
        })
    });
    let (one, two, ()) = ended.await;
    assert!(matches!((one, two), (Err(Error::ShutDown), Err(Error::ShutDown))));
    assert_eq!(*kept.lock().unwrap(), [true], "dropped before its term was given back");
    assert!(record(&store, "e").unwrap().is_free() && queue(&store, "e") == 0);
    assert!(a.is_shut_down() && matches!(a.election("e").unwrap().lead(async |_| ()).await, Err(Error::ShutDown)));
}

#[tokio::test(start_paused = true)]
async fn an_outage_drops_the_body_at_the_deadline_and_leads_on_afterwards() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let election = client_of(faulty.clone(), "a").election("e").unwrap();
    let (runs, ends) = (AtomicU32::new(0), AtomicU32::new(0));
    let mut leading = Box::pin(election.lead(async |_| {
        runs.fetch_add(1, Ordering::Relaxed);
        scopeguard(&ends).await;
    }));
    assert!(tokio::time::timeout(100 * SECOND, &mut leading).await.is_err());
    faulty.every(Fate::Hang);
    faulty.watches(Sight::Blind);
    assert!(tokio::time::timeout(DEADLINE + SECOND, &mut leading).await.is_err());
    assert_eq!((runs.load(Ordering::Relaxed), ends.load(Ordering::Relaxed)), (1, 1), "dropped at the deadline");
    assert!(tokio::time::timeout(600 * SECOND, &mut leading).await.is_err(), "waits for the store");
    faulty.every(Fate::Pass);
    faulty.watches(Sight::Clear);
    assert!(tokio::time::timeout(60 * SECOND, &mut leading).await.is_err());
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

/// Waits for ever, and counts when it is dropped.
async fn scopeguard(ends: &AtomicU32) {
    struct Count<'a>(&'a AtomicU32);
    impl Drop for Count<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let _count = Count(ends);
    pending::<()>().await;
}

#[tokio::test(start_paused = true)]
async fn a_try_leads_at_once_or_not_at_all() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a").election("e").unwrap(), client(&store, "b").election("e").unwrap());
    for _ in 0..3 {
        let term = a.try_campaign().await.unwrap().expect("nobody leads");
        assert!(within(SECOND, "told at once", b.try_campaign()).await.unwrap().is_none());
        let late = within(SECOND, "one try", b.campaign_timeout(Duration::ZERO)).await.unwrap_err();
        assert!(matches!(&late, Error::Timeout { name, .. } if name == "e") && late.is_busy());
        let late = within(6 * SECOND, "over", b.campaign_timeout(5 * SECOND)).await.unwrap_err();
        assert!(matches!(late, Error::Timeout { after, .. } if after == 5 * SECOND));
        until("nobody waits", || queue(&store, "e") == 0).await;
        term.resign().await.unwrap();
        b.campaign_timeout(Duration::ZERO).await.expect("nobody leads").resign().await.unwrap();
        b.campaign_timeout(Duration::MAX).await.unwrap().resign().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn candidates_are_asked_and_told_of_each_change() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let mut one = a.election("e").unwrap().candidate();
    assert!(!one.is_leading() && one.term().is_none(), "nobody waits for the answer");
    within(SECOND, "told", one.changed()).await.unwrap();
    let first = one.term().expect("it leads");
    let mut two = b.election("e").unwrap().candidate();
    assert!(tokio::time::timeout(1000 * SECOND, two.changed()).await.is_err(), "renewals are no change");
    assert!(one.is_leading() && !two.is_leading() && one.changed().now_or_never().is_none());
    store.delete("e");
    within(SECOND, "told", one.changed()).await.unwrap();
    assert!(first.check().is_err() && one.term().is_none_or(|term| term.token() > first.token()));
    within(60 * SECOND, "somebody leads", async {
        while !one.is_leading() && !two.is_leading() {
            tokio::select! { told = one.changed() => told.unwrap(), told = two.changed() => told.unwrap() }
        }
    })
    .await;
    assert!(one.is_leading() != two.is_leading(), "one of them");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_dropped_or_resigns_makes_room_for_the_next() {
    let store = MemoryStore::new();
    for resigns in [true, false] {
        let mut one = client(&store, "a").election("e").unwrap().candidate();
        let mut clone = one.clone();
        one.changed().await.unwrap();
        clone.changed().await.unwrap();
        let mut two = client(&store, "b").election("e").unwrap().candidate();
        until("in the queue", || queue(&store, "e") == 1).await;
        drop(one);
        yields(50).await;
        assert!(clone.is_leading(), "a clone is left");
        let last = clone.term().unwrap();
        if resigns {
            clone.resign().await.unwrap();
            assert!(matches!(last.check(), Err(Error::Lost { reason: LossReason::Released, .. })));
        } else {
            drop(clone);
        }
        within(SECOND, "the next leads", two.changed()).await.unwrap();
        assert!(two.is_leading() && last.check().is_err());
        two.resign().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_waits_leaves_nothing_when_it_is_dropped() {
    for turns in 0..40 {
        let store = MemoryStore::new();
        let term = client(&store, "a").election("e").unwrap().campaign().await.unwrap();
        let candidate = client(&store, "b").election("e").unwrap().candidate();
        yields(turns).await;
        drop(candidate);
        pass(SECOND).await;
        assert_eq!(queue(&store, "e"), 0, "{turns} turns");
        term.resign().await.unwrap();
        assert!(record(&store, "e").unwrap().is_free(), "{turns} turns");
    }
}

#[tokio::test(start_paused = true)]
async fn a_candidate_in_an_outage_stops_leading_at_the_deadline_and_leads_again() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let mut candidate = client_of(faulty.clone(), "a").election("e").unwrap().candidate();
    candidate.changed().await.unwrap();
    pass(100 * SECOND).await;
    faulty.every(Fate::Hang);
    faulty.watches(Sight::Blind);
    pass(DEADLINE).await;
    assert!(!candidate.is_leading(), "by the clock");
    within(SECOND, "told", candidate.changed()).await.unwrap();
    pass(600 * SECOND).await;
    assert!(!candidate.is_leading());
    faulty.every(Fate::Pass);
    faulty.watches(Sight::Clear);
    within(2 * TTL, "told", candidate.changed()).await.unwrap();
    assert!(candidate.is_leading() && candidate.fault().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_candidate_that_leads_and_one_that_waits() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let mut one = a.election("e").unwrap().candidate();
    one.changed().await.unwrap();
    let mut two = b.election("e").unwrap().candidate();
    until("in the queue", || queue(&store, "e") == 1).await;
    within(SECOND, "nothing is left", async { (b.shutdown().await, a.shutdown().await) }).await;
    assert!(record(&store, "e").unwrap().is_free());
    for candidate in [&mut one, &mut two] {
        let told = async { while candidate.changed().await.is_ok() {} };
        within(SECOND, "told of the end", told).await;
        assert!(!candidate.is_leading() && candidate.fault().is_some_and(|fault| fault.is_shut_down()));
    }
    one.resign().await.expect("an orderly end is no error");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_whose_campaigns_fail_says_why_and_tries_again() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    faulty.every(Fate::Fail(msync::unstable::store::Fault::Fatal(msync::unstable::store::Fatal::Forbidden(
        "no right".to_owned(),
    ))));
    let mut candidate = client_of(faulty.clone(), "a").election("e").unwrap().candidate();
    until("told", || candidate.fault().is_some()).await;
    assert!(matches!(candidate.fault(), Some(Error::Forbidden(_))));
    faulty.every(Fate::Pass);
    within(20 * SECOND, "leads", candidate.changed()).await.unwrap();
    assert!(candidate.is_leading() && candidate.fault().is_none());
}

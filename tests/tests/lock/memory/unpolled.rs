//! Acquisitions that are alive and not polled, whichever way they were asked for and whatever else happens meanwhile.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use msync::{Client, Error, Leadership, LockGuard, LockSetGuard, MemoryStore};
use tests::memory::{DEADLINE, TTL, client, is_untouched, pass, queue, record, touch, until, waiter, within};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// What an acquisition of any kind gives.
#[derive(Debug)]
enum Had {
    Lock(LockGuard),
    Set(LockSetGuard),
    Term(Leadership),
}

impl Had {
    fn check(&self) -> Result<(), Error> {
        match self {
            Self::Lock(guard) => guard.check(),
            Self::Set(guards) => guards.check(),
            Self::Term(term) => term.check(),
        }
    }
}

/// What an acquisition through a door comes to; nothing where one that does not wait finds another.
type Asked = BoxFuture<'static, Result<Option<Had>, Error>>;

/// Every door to the lock `x`, by its name.
fn doors(client: &Client) -> Vec<(&'static str, Asked)> {
    let (lock, election) = (client.lock("x").unwrap(), client.election("x").unwrap());
    let set = client.lock_all(["x", "y"]).unwrap();
    let mut doors: Vec<(&'static str, Asked)> = Vec::new();
    for limit in [HOUR, Duration::ZERO] {
        let (lock, set, election) = (lock.clone(), set.clone(), election.clone());
        let term = async move { election.campaign_timeout(limit).await.map(Had::Term).map(Some) };
        doors.push((
            "a lock, limited",
            async move { lock.acquire_timeout(limit).await.map(Had::Lock).map(Some) }.boxed(),
        ));
        doors.push(("a set, limited", async move { set.acquire_timeout(limit).await.map(Had::Set).map(Some) }.boxed()));
        doors.push(("a term, limited", term.boxed()));
    }
    let (tried, set_tried, term_tried) = (lock.clone(), set.clone(), election.clone());
    doors.push(("a lock, tried", async move { Ok(tried.try_acquire().await?.map(Had::Lock)) }.boxed()));
    doors.push(("a set, tried", async move { Ok(set_tried.try_acquire().await?.map(Had::Set)) }.boxed()));
    doors.push(("a term, tried", async move { Ok(term_tried.try_campaign().await?.map(Had::Term)) }.boxed()));
    doors.push(("a lock", async move { lock.acquire().await.map(Had::Lock).map(Some) }.boxed()));
    doors.push(("a set", async move { set.acquire().await.map(Had::Set).map(Some) }.boxed()));
    doors.push(("a term", async move { election.campaign().await.map(Had::Term).map(Some) }.boxed()));
    doors
}

/// Returns how many calls there were; a watch in which nothing happens is opened anew now and then.
fn calls(store: &MemoryStore) -> u64 {
    store.calls().total() - store.calls().watches
}

/// How many doors there are.
const DOORS: usize = 12;

#[tokio::test(start_paused = true)]
async fn s6_whichever_way_it_was_asked_for_what_nobody_polls_is_given_back() {
    for door in 0..DOORS {
        for polled_again in [false, true] {
            let store = MemoryStore::new();
            let (a, b) = (client(&store, "a"), client(&store, "b"));
            let (what, mut forgotten) = doors(&a).swap_remove(door);
            touch(&mut forgotten);
            until("it has it", || record(&store, "x").is_some()).await;
            drop(within(TTL, what, waiter(&b, "x")).await.unwrap());
            pass(SECOND).await;
            assert!(is_untouched(&store, "x"), "{what}");
            if polled_again {
                let had = within(SECOND, what, forgotten).await.unwrap();
                had.expect("it is free").check().unwrap();
            } else {
                drop(forgotten);
            }
            pass(SECOND).await;
            assert!(is_untouched(&store, "x") && is_untouched(&store, "y"), "{what}");
        }
    }
}

/// What is offered to a future that is not polled goes as it may go from any holder; the future notices when it is polled.
#[tokio::test(start_paused = true)]
async fn what_happens_to_a_lock_that_nobody_took_is_no_loss_to_whoever_is_polled_late() {
    for door in 0..DOORS {
        for event in ["nothing", "a deletion", "another holder, soon dead", "an outage"] {
            for late in [Duration::from_millis(2), TTL / 2, 3 * TTL, HOUR] {
                let store = MemoryStore::new();
                let a = client(&store, "a");
                let (what, mut forgotten) = doors(&a).swap_remove(door);
                touch(&mut forgotten);
                until("it has it", || record(&store, "x").is_some()).await;
                pass(Duration::from_millis(1)).await;
                match event {
                    "a deletion" => assert!(store.delete("x")),
                    "another holder, soon dead" => store.take_over("x"),
                    "an outage" => store.outage(4 * TTL),
                    _ => {}
                }
                pass(late).await;
                let said = format!("{what}, {event}, polled after {late:?}");
                match within(8 * TTL, &said, forgotten).await {
                    Ok(Some(had)) => had.check().unwrap_or_else(|error| panic!("{said}: {error}")),
                    // Whoever does not wait may find the other one, or the store out of order; it is told which.
                    Ok(None) => assert!(event.starts_with("another"), "{said}"),
                    // Or its limit is over: then it was the holder itself.
                    Err(error @ Error::Timeout { .. }) => {
                        let is_over = what.ends_with("limited") && late >= HOUR;
                        assert!(is_over || event.starts_with("another"), "{said}: {error}");
                    }
                    Err(error @ Error::Store { .. }) => assert!(event == "an outage", "{said}: {error}"),
                    // What a set has already may be lost while it waits for the rest.
                    Err(error @ Error::Lost { .. }) => assert!(what.starts_with("a set"), "{said}: {error}"),
                    Err(error) => panic!("{said}: {error}"),
                }
            }
        }
    }
}

/// The limit passes while nobody looks: that is told at once to whoever does, and leaves nothing in the queue.
#[tokio::test(start_paused = true)]
async fn a_limit_that_is_over_while_nobody_polls_is_told_to_whoever_does() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let _held = b.lock("x").unwrap().acquire().await.unwrap();
    let (lock, set) = (a.lock("x").unwrap(), a.lock_all(["w", "x"]).unwrap());
    let limit = 10 * SECOND;
    let mut waits: [BoxFuture<'_, Result<(), Error>>; 2] = [
        async { lock.acquire_timeout(limit).await.map(drop) }.boxed(),
        async { set.acquire_timeout(limit).await.map(drop) }.boxed(),
    ];
    waits.iter_mut().for_each(touch);
    pass(HOUR).await;
    for forgotten in waits {
        let ended = within(SECOND, "told at once", forgotten).await;
        assert!(matches!(&ended, Err(Error::Timeout { .. })), "{ended:?}");
    }
    pass(SECOND).await;
    assert_eq!(queue(&store, "x"), 0);
    assert!(is_untouched(&store, "w"));
}

#[tokio::test(start_paused = true)]
async fn s6_what_is_dropped_after_it_was_not_polled_leaves_nothing_whenever_that_is() {
    for door in 0..DOORS {
        for late in [Duration::ZERO, Duration::from_millis(1), TTL / 2, DEADLINE, TTL, HOUR] {
            let store = MemoryStore::new();
            let a = client(&store, "a");
            let (what, mut forgotten) = doors(&a).swap_remove(door);
            touch(&mut forgotten);
            pass(late).await;
            drop(forgotten);
            pass(SECOND).await;
            assert!(is_untouched(&store, "x") && is_untouched(&store, "y"), "{what} after {late:?}");
            let before = calls(&store);
            pass(HOUR).await;
            assert_eq!(calls(&store), before, "{what} after {late:?}: silence");
        }
    }
}

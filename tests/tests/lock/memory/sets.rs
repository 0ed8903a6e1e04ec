//! Several locks at once: sorted, each once, all or nothing, without deadlock.

use std::time::Duration;

use msync::{Error, LossReason, MemoryStore};
use tests::memory::{client, is_untouched, name, pass, queue, record, until, within};

#[tokio::test(start_paused = true)]
async fn a_set_is_sorted_and_has_each_name_once() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let set = a.lock_all(["c", "a", "b", "a", "c"]).unwrap();
    let names: Vec<_> = set.locks().iter().map(|lock| lock.name().to_string()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let guard = set.acquire().await.unwrap();
    assert_eq!((guard.guards().len(), guard.tokens().count(), store.names().len()), (3, 3, 3));
    guard.check().unwrap();
    guard.ensure(Duration::from_secs(13)).unwrap();
    guard.release().await.unwrap();
    assert!(store.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_sets_in_opposite_order_do_not_deadlock() {
    let store = MemoryStore::new();
    let mut tasks = Vec::new();
    for (owner, names) in [("p", ["x", "y", "z"]), ("q", ["z", "y", "x"]), ("r", ["y", "x", "z"])] {
        let set = client(&store, owner).lock_all(names).unwrap();
        tasks.push(tokio::spawn(async move {
            for _ in 0..20 {
                set.run(async |_| pass(Duration::from_millis(50)).await).await.unwrap();
            }
        }));
    }
    for task in tasks {
        within(Duration::from_secs(60), "no deadlock", task).await.unwrap();
    }
    until("released", || store.names().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_try_or_a_limit_that_fails_gives_all_back() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let _held = b.lock("m").unwrap().acquire().await.unwrap();
    let set = a.lock_all(["k", "l", "m", "n"]).unwrap();
    assert!(set.try_acquire().await.unwrap().is_none());
    let error = set.acquire_timeout(Duration::from_secs(30)).await.unwrap_err();
    println!("{error}");
    assert!(matches!(error, Error::Timeout { .. }));
    pass(Duration::from_secs(1)).await;
    assert_eq!((store.names(), queue(&store, "m")), (vec![name("m")], 0));
}

#[tokio::test(start_paused = true)]
async fn while_a_set_waits_for_one_it_keeps_those_before() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let held = b.lock("y").unwrap().acquire().await.unwrap();
    let set = a.lock_all(["x", "y"]).unwrap();
    let waiting = tokio::spawn(async move { set.acquire().await });
    pass(Duration::from_secs(100)).await;
    assert_eq!(record(&store, "x").unwrap().engine.owner(), "a");
    drop(held);
    waiting.await.unwrap().unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_set_that_lost_one_while_it_waited_for_another_is_lost() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let held = b.lock("y").unwrap().acquire().await.unwrap();
    let set = a.lock_all(["x", "y"]).unwrap();
    let waiting = tokio::spawn(async move { set.acquire().await.map(drop) });
    pass(Duration::from_secs(10)).await;
    store.delete("x");
    pass(Duration::from_secs(1)).await;
    drop(held);
    let ended = waiting.await.unwrap();
    assert!(matches!(ended, Err(Error::Lost { reason: LossReason::Deleted, .. })), "{ended:?}");
    pass(Duration::from_secs(1)).await;
    assert!(is_untouched(&store, "y"));
}

#[tokio::test(start_paused = true)]
async fn a_body_under_a_set_ends_with_the_first_loss() {
    for lost in ["x", "y", "z"] {
        let store = MemoryStore::new();
        let set = client(&store, "a").lock_all(["x", "y", "z"]).unwrap();
        let body = async |_: &msync::LockSetGuard| {
            pass(Duration::from_secs(7)).await;
            store.delete(name(lost));
            std::future::pending::<()>().await;
        };
        let error = within(Duration::from_secs(8), "ended", set.run(body)).await.unwrap_err();
        assert!(matches!(&error, Error::Lost { name, .. } if name == lost), "{error}");
        until("released", || store.names().is_empty()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn options_are_set_on_each_lock() {
    let store = MemoryStore::new();
    let set = client(&store, "a").lock_all(["x", "y"]).unwrap().map(|lock| lock.max_hold(Duration::from_secs(5)));
    let ended = set.run(async |_| std::future::pending::<()>().await).await;
    assert!(matches!(ended, Err(Error::Lost { reason: LossReason::MaxHold, .. })));
}

//! Tasks of one process: they share a term, in order, and are fair to other processes.

use std::time::Duration;

use msync::MemoryStore;
use tests::memory::{TTL, client, pass, queue, record, ttl, until, waiter, within, yields};

#[tokio::test(start_paused = true)]
async fn a_thousand_local_tasks_cost_as_many_requests_as_one() {
    let store = MemoryStore::new();
    let lock = client(&store, "a").lock("x").unwrap();
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let lock = lock.clone();
            tokio::spawn(async move { lock.acquire().await.unwrap().token() })
        })
        .collect();
    let mut tokens = Vec::new();
    for task in tasks {
        tokens.push(task.await.unwrap());
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "first come, first served, each with a greater token");
    until("released", || store.names().is_empty()).await;
    let calls = store.calls();
    assert_eq!((calls.creates, calls.deletes), (1, 1), "{calls:?}");
    assert_eq!((calls.reads, calls.writes()), (0, 2), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn after_sixteen_local_hand_overs_another_process_has_its_turn() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let mut held = a.lock("x").unwrap().acquire().await.unwrap();
    let remote = waiter(&b, "x");
    until("b waits", || queue(&store, "x") == 1).await;
    let mut local: std::collections::VecDeque<_> = (0..40).map(|_| waiter(&a, "x")).collect();
    yields(5).await;
    let mut handovers = 0;
    while !remote.is_finished() {
        drop(held);
        let next = local.front_mut().unwrap();
        tokio::select! {
            biased;
            guard = next => held = guard.unwrap(),
            () = pass(Duration::from_millis(10)) => break,
        }
        local.pop_front();
        handovers += 1;
    }
    assert_eq!(handovers, 16);
    drop(remote.await.unwrap());
    for next in local {
        drop(within(Duration::from_secs(1), "the others follow", next).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn after_one_ttl_of_local_holds_another_process_has_its_turn() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    for _ in 0..20 {
        let lock = a.lock("x").unwrap();
        tokio::spawn(async move { lock.run(async |_| pass(Duration::from_secs(5)).await).await });
    }
    pass(Duration::from_secs(1)).await;
    let guard = within(TTL + Duration::from_secs(5), "its turn", waiter(&b, "x")).await.unwrap();
    drop(guard);
    let _guard = within(2 * TTL, "its turn again", waiter(&b, "x")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_remote_waiters_local_tasks_keep_the_lock() {
    let store = MemoryStore::new();
    let lock = client(&store, "a").lock("x").unwrap();
    let tasks: Vec<_> = (0..60)
        .map(|_| {
            let lock = lock.clone();
            tokio::spawn(async move { lock.run(async |_| pass(Duration::from_secs(2)).await).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let calls = store.calls();
    assert_eq!(calls.creates, 1);
    assert!(calls.writes() < 35, "120 s cost renewals, not hand-overs: {calls:?}");
}

#[tokio::test(start_paused = true)]
async fn local_tasks_with_different_timings_each_have_their_own() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let seconds = [15, 2, 60, 1, 30];
    let tasks: Vec<_> = seconds
        .into_iter()
        .map(|seconds| {
            let lock = a.lock("x").unwrap().timing(ttl(seconds));
            let store = store.clone();
            tokio::spawn(async move {
                let guard = lock.acquire().await.unwrap();
                pass(Duration::from_millis(100)).await;
                assert_eq!(record(&store, "x").unwrap().ttl, Duration::from_secs(seconds));
                assert!(guard.remaining() <= Duration::from_secs(seconds) * 9 / 10, "{:?}", guard.remaining());
                pass(Duration::from_secs(2 * seconds)).await;
                guard.check().unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// The short ttl is in the record before its holder counts on it, the long one only after: nobody takes over meanwhile.
#[tokio::test(start_paused = true)]
async fn a_waiter_elsewhere_takes_nothing_over_while_local_timings_change() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let mut held = a.lock("x").unwrap().timing(ttl(2)).acquire().await.unwrap();
    let _remote = waiter(&b, "x");
    until("b waits", || queue(&store, "x") == 1).await;
    for seconds in [30, 1, 60, 2, 15] {
        let lock = a.lock("x").unwrap().timing(ttl(seconds));
        let next = tokio::spawn(async move { lock.acquire().await.unwrap() });
        yields(3).await;
        drop(held);
        held = next.await.unwrap();
        pass(Duration::from_millis(200)).await;
        held.check().unwrap();
        assert_eq!(store.calls().claims, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_guard_that_is_not_dropped_blocks_its_own_process_only() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let lost = a.lock("x").unwrap().max_hold(Duration::from_secs(5)).acquire().await.unwrap();
    lost.lost().await;
    let local = waiter(&a, "x");
    let other = within(2 * TTL, "taken over", waiter(&b, "x")).await.unwrap();
    drop(other);
    pass(Duration::from_secs(30)).await;
    assert!(!local.is_finished(), "its process may still be inside the body");
    drop(lost);
    within(TTL, "then it is free", local).await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_local_task_that_does_not_wait_is_told_at_once() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let _held = a.lock("x").unwrap().acquire().await.unwrap();
    let calls = store.calls();
    assert!(a.lock("x").unwrap().try_acquire().await.unwrap().is_none());
    assert_eq!(store.calls(), calls);
}

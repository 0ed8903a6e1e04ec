//! Tasks and runtimes: nothing is left running, and a client survives the runtime it was first used on.

use std::{
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use msync::{Client, Error, LossReason, MemoryStore, clock::BootClock};
use tests::{
    faulty::{Fate, Faulty},
    memory::{TTL, client, client_of, pass, ttl, until, waiter},
};
use tokio::runtime::{Builder, Handle, Runtime};

fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

fn real(store: &MemoryStore, owner: &str) -> Client {
    Client::builder().owner(owner).clock(BootClock).memory(store).build()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn when_everything_is_dropped_no_task_is_left() {
    let store = MemoryStore::new();
    let before = alive();
    {
        let (a, b) = (client(&store, "a"), client(&store, "b"));
        let held = a.lock("x").unwrap().acquire().await.unwrap();
        let waiting = waiter(&b, "x");
        let leader = a.election("e").unwrap().campaign().await.unwrap();
        let token = held.cancellation_token();
        let _set = b.lock_all(["k", "l"]).unwrap().acquire().await.unwrap();
        pass(Duration::from_secs(20)).await;
        drop(held);
        drop(waiting.await.unwrap());
        drop((leader, token));
    }
    pass(Duration::from_secs(1)).await;
    assert_eq!(alive(), before);
}

#[tokio::test(start_paused = true)]
async fn an_orderly_release_ends_what_watched_for_a_loss_without_firing_it() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let before = alive();
    let (token, lost) = (guard.cancellation_token(), tokio::spawn(guard.lost()));
    pass(Duration::from_secs(1)).await;
    guard.release().await.unwrap();
    pass(Duration::from_secs(100)).await;
    assert!(!token.is_cancelled(), "an orderly release is no loss");
    assert!(!lost.is_finished(), "an orderly release is no loss");
    lost.abort();
    pass(Duration::from_secs(1)).await;
    assert!(alive() < before, "the token's task has ended, and the keeper's");
}

#[tokio::test(start_paused = true)]
async fn with_a_dead_store_no_task_is_left_after_a_while() {
    let store = MemoryStore::new();
    let before = alive();
    let faulty = Faulty::new(store);
    let a = client_of(faulty.clone(), "a");
    let held = a.lock("x").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Hang);
    let waiting = waiter(&a, "y");
    pass(Duration::from_secs(20)).await;
    waiting.abort();
    drop((held, a));
    pass(20 * TTL).await;
    assert_eq!(alive(), before);
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_asks_nothing() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    a.lock("x").unwrap().run(async |_| ()).await.unwrap();
    pass(Duration::from_secs(1)).await;
    let calls = store.calls();
    pass(Duration::from_secs(80)).await;
    assert_eq!(store.calls(), calls);
}

#[test]
fn guards_and_clients_may_be_dropped_outside_a_runtime() {
    let (store, runtime) = (MemoryStore::new(), current_thread());
    let (a, guard) = runtime.block_on(async {
        let a = real(&store, "a");
        let guard = a.lock("x").unwrap().acquire().await.unwrap();
        (a, guard)
    });
    guard.check().unwrap();
    drop(guard);
    runtime.block_on(until("released", || store.names().is_empty()));
    let guard = runtime.block_on(a.lock("x").unwrap().acquire()).unwrap();
    drop(runtime);
    drop(a);
    drop(guard);
}

/// With a clock that the caller's runtime moves, the hold lives on that runtime; `own_runtime` has the others.
#[test]
fn when_its_runtime_ends_a_guard_says_lost_and_the_client_works_on_another() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = {
        let runtime = current_thread();
        runtime.block_on(a.lock("x").unwrap().acquire()).unwrap()
    };
    let lost = guard.check();
    assert!(matches!(lost, Err(Error::Lost { reason: LossReason::RuntimeEnded, .. })), "{lost:?}");
    let second = current_thread();
    second.block_on(async {
        let again = tests::memory::within(Duration::from_secs(5), "acquired", a.lock("x").unwrap().acquire()).await;
        let again = again.unwrap();
        again.check().unwrap();
        assert!(again.token() > guard.token());
        assert!(matches!(guard.release().await, Err(Error::Lost { .. })));
        again.check().unwrap();
        tests::memory::within(Duration::from_secs(5), "shut down", async {
            drop(again);
            a.shutdown().await;
        })
        .await;
    });
}

#[test]
fn on_the_next_runtime_the_inbox_is_open_again() {
    let store = MemoryStore::new();
    let a = real(&store, "a");
    current_thread().block_on(async { a.lock("x").unwrap().acquire().await.unwrap().release().await.unwrap() });
    current_thread().block_on(async {
        let b = real(&store, "b");
        let held = b.lock("x").unwrap().acquire().await.unwrap();
        let lock = a.lock("x").unwrap();
        let waiting = tokio::spawn(async move { lock.acquire().await.unwrap() });
        until("a waits", || tests::memory::queue(&store, "x") == 1).await;
        drop(held);
        let _guard = tests::memory::within(Duration::from_secs(1), "granted at once", waiting).await.unwrap();
    });
}

/// A body that blocks its thread for longer than the lease lives: others renew (bug 40 of `tests/bugs`).
#[test]
fn bug_40_a_body_that_blocks_its_thread_is_renewed_on_another() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = MemoryStore::new();
    runtime.block_on(async {
        let a = real(&store, "a");
        let lock = a.lock("x").unwrap().timing(ttl(4));
        let body = async |guard: &msync::LockGuard| {
            std::thread::sleep(Duration::from_secs(5)); // a busy machine may well stop everything for half a second
            guard.check().is_ok()
        };
        let held = tokio::spawn(async move { lock.run(body).await }).await.unwrap();
        assert!(held.unwrap(), "renewed meanwhile");
    });
}

#[test]
fn many_threads_exclude_each_other() {
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let store = MemoryStore::new();
    let (counter, inside) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for process in 0..4 {
            let client = real(&store, &format!("p{process}"));
            for _ in 0..4 {
                let (lock, counter, inside) = (client.lock("x").unwrap(), Arc::clone(&counter), Arc::clone(&inside));
                tasks.push(tokio::spawn(async move {
                    for _ in 0..50 {
                        let _guard = lock.acquire().await.unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "alone");
                        tokio::task::yield_now().await;
                        counter.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                }));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(counter.load(Ordering::SeqCst), 800);
}

//! `#[locked]` on the memory store, in paused time: every option, and what happens in which order.

use std::{
    future::pending,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use msync::{Client, Error, FencingToken, LockName, LossReason, MemoryStore, Outcome, clock::TokioClock, locked};
use tokio::time::{Instant, sleep, timeout};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn client(store: &MemoryStore, owner: &str) -> Client {
    Client::builder().memory(store).owner(owner).clock(TokioClock::default()).build()
}

/// Two clients of one store, as two processes would be.
pub(crate) fn pair() -> (MemoryStore, Client, Client) {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    (store, a, b)
}

pub(crate) fn name(text: &str) -> LockName {
    LockName::new(text).unwrap()
}

/// Notes in drop whether the lock is held still.
struct Witness {
    store: MemoryStore,
    held: Arc<Mutex<Vec<bool>>>,
}

impl Witness {
    fn of(store: &MemoryStore) -> (Self, Arc<Mutex<Vec<bool>>>) {
        let held = Arc::default();
        (Self { store: store.clone(), held: Arc::clone(&held) }, held)
    }

    fn again(&self) -> Self {
        Self { store: self.store.clone(), held: Arc::clone(&self.held) }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.held.lock().unwrap().push(self.store.snapshot(&name("job")).is_some());
    }
}

fn is_free(store: &MemoryStore) -> bool {
    store.snapshot(&name("job")).is_none()
}

#[locked("job", via = client, guard = lease)]
async fn plain(client: &Client, time: Duration) -> Result<FencingToken, Error> {
    let inside = client.lock("job")?.try_acquire().await;
    assert!(matches!(inside, Err(Error::WouldDeadlock { .. })));
    sleep(time).await;
    Ok(lease.token())
}

#[tokio::test(start_paused = true)]
async fn calls_of_two_processes_exclude_each_other_in_order() {
    #[locked("job", via = client, guard = lease)]
    async fn work(client: &Client, log: &Mutex<Vec<(&'static str, FencingToken)>>) -> Result<(), Error> {
        log.lock().unwrap().push(("begin", lease.token()));
        sleep(SECOND).await;
        lease.check()?;
        log.lock().unwrap().push(("end", lease.token()));
        Ok(())
    }
    let (_store, a, b) = pair();
    let log = Mutex::default();
    let calls: Vec<_> = [&a, &b, &a, &b].into_iter().map(|client| work(client, &log)).collect();
    for ended in futures::future::join_all(calls).await {
        ended.unwrap();
    }
    let log = log.into_inner().unwrap();
    assert_eq!(log.len(), 8);
    for call in log.chunks(2) {
        assert_eq!((call[0].0, call[1].0, call[0].1), ("begin", "end", call[1].1));
    }
    assert!(log.chunks(2).map(|call| call[0].1).is_sorted_by(|a, b| a < b), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn s7_body_and_arguments_are_dropped_before_the_release() {
    #[locked("job", via = client)]
    async fn work(client: &Client, used: Witness, _: Witness, (_first, second): (Witness, u8)) -> Result<u8, Error> {
        let _local = used.again();
        sleep(SECOND).await;
        Ok(second)
    }
    let (store, a, _) = pair();
    let (witness, held) = Witness::of(&store);
    let (other, pattern) = (witness.again(), witness.again());
    assert_eq!(work(&a, witness, other, (pattern, 7)).await.unwrap(), 7);
    assert_eq!(*held.lock().unwrap(), [true; 4]);
    assert!(is_free(&store), "released when the call returns");
}

#[tokio::test(start_paused = true)]
async fn a_panic_releases_and_then_goes_on() {
    #[locked("job", via = client)]
    async fn work(client: &Client, _witness: Witness) -> Result<(), Error> {
        sleep(SECOND).await;
        panic!("on purpose");
    }
    let (store, a, _) = pair();
    let (witness, held) = Witness::of(&store);
    let panic = AssertUnwindSafe(work(&a, witness)).catch_unwind().await.unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    assert_eq!(*held.lock().unwrap(), [true]);
    assert!(is_free(&store), "released before the panic goes on");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_drops_its_body_and_then_releases() {
    #[locked("job", via = client)]
    async fn work(client: &Client, _witness: Witness) -> Result<(), Error> {
        pending().await
    }
    let (store, a, b) = pair();
    let (witness, held) = Witness::of(&store);
    assert!(timeout(SECOND, work(&a, witness)).await.is_err());
    assert_eq!(*held.lock().unwrap(), [true]);
    timeout(SECOND, plain(&b, Duration::ZERO)).await.expect("the lock is free").unwrap();
}

#[tokio::test(start_paused = true)]
async fn s6_a_dropped_call_that_waited_leaves_the_queue() {
    let (store, a, b) = pair();
    let guard = a.lock("job").unwrap().acquire().await.unwrap();
    assert!(timeout(SECOND, plain(&b, SECOND)).await.is_err());
    sleep(SECOND).await;
    assert!(store.snapshot(&name("job")).unwrap().record.waiters.is_empty());
    guard.release().await.unwrap();
    assert!(is_free(&store));
}

#[tokio::test(start_paused = true)]
async fn bug_19_a_busy_lock_runs_no_body_and_says_so_by_the_return_type() {
    #[locked("job", via = client, wait = none)]
    async fn error(client: &Client) -> Result<(), Error> {
        Ok(())
    }
    #[locked("job", via = client, wait = none, on_busy = skip)]
    async fn unit(client: &Client, ran: &mut bool) {
        *ran = true;
    }
    #[locked("job", via = client, wait = none, on_busy = skip)]
    async fn outcome(client: &Client) -> Result<Outcome<u8>, Error> {
        Ok(Outcome::Ran(1))
    }
    let (_store, a, b) = pair();
    let guard = a.lock("job").unwrap().acquire().await.unwrap();
    let mut ran = false;
    assert!(matches!(error(&b).await, Err(Error::Busy { name, .. }) if name == "job"));
    unit(&b, &mut ran).await;
    assert_eq!(outcome(&b).await.unwrap(), Outcome::Skipped);
    guard.release().await.unwrap();
    assert!(!ran, "the lock was busy");
    error(&b).await.unwrap();
    unit(&b, &mut ran).await;
    assert_eq!(outcome(&b).await.unwrap(), Outcome::Ran(1));
    assert!(ran);
}

#[tokio::test(start_paused = true)]
async fn wait_is_how_long_a_call_waits() {
    #[locked("job", via = client, wait = limit)]
    async fn work(client: &Client, limit: Duration) -> Result<(), Error> {
        Ok(())
    }
    #[locked("job", via = client, wait = "3s", on_busy = skip)]
    async fn skip(client: &Client) -> Option<()> {
        Some(())
    }
    let (_store, a, b) = pair();
    let guard = a.lock("job").unwrap().acquire().await.unwrap();
    let start = Instant::now();
    assert!(matches!(work(&b, 3 * SECOND).await, Err(Error::Timeout { after, .. }) if after == 3 * SECOND));
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!(skip(&b).await, None);
    assert_eq!(start.elapsed().as_secs(), 6);
    let waiting = tokio::spawn(async move { work(&b, 3 * SECOND).await });
    sleep(SECOND).await;
    guard.release().await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn on_lost_cancel_drops_the_body_and_signal_lets_it_end() {
    #[locked("job", via = client)]
    async fn cancel(client: &Client, store: &MemoryStore, _witness: Witness) -> Result<(), Error> {
        store.delete("job");
        pending().await
    }
    #[locked("job", via = client, on_lost = signal, guard = lease)]
    async fn signal(client: &Client, store: &MemoryStore) -> Result<LossReason, Error> {
        store.delete("job");
        let reason = lease.lost().await;
        sleep(SECOND).await;
        assert!(lease.check().is_err());
        Ok(reason)
    }
    let (store, a, _) = pair();
    let (witness, held) = Witness::of(&store);
    let lost = timeout(SECOND, cancel(&a, &store, witness)).await.expect("told at once");
    assert!(matches!(lost, Err(Error::Lost { reason: LossReason::Deleted, .. })));
    assert_eq!(held.lock().unwrap().len(), 1);
    assert_eq!(signal(&a, &store).await.unwrap(), LossReason::Deleted);
}

#[tokio::test(start_paused = true)]
async fn at_least_keeps_the_lock_beyond_the_body() {
    #[locked("job", via = client, at_least = "60s")]
    async fn quick(client: &Client) -> Result<(), Error> {
        Ok(())
    }
    let (_store, a, b) = pair();
    let start = Instant::now();
    let call = tokio::spawn({
        let a = a.clone(); // the end of a client's last handle leaves the lock to its time, which is another promise
        async move { quick(&a).await }
    });
    sleep(30 * SECOND).await;
    let early = b.lock("job").unwrap().try_acquire().await.unwrap();
    assert!(early.is_none(), "the body has ended, the lock has not");
    plain(&b, Duration::ZERO).await.unwrap();
    assert!((60..62).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn max_hold_ends_a_stuck_body() {
    #[locked("job", via = client, max_hold = "20s")]
    async fn stuck(client: &Client) -> Result<(), Error> {
        pending().await
    }
    let (_store, a, b) = pair();
    let start = Instant::now();
    let (stuck, next) = tokio::join!(stuck(&a), async {
        sleep(SECOND).await;
        plain(&b, Duration::ZERO).await
    });
    assert!(matches!(stuck, Err(Error::Lost { reason: LossReason::MaxHold, .. })));
    next.unwrap();
    assert!((20..22).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn ttl_is_the_records() {
    #[locked("job", via = client, ttl = "1m")]
    async fn work(client: &Client, store: &MemoryStore) -> Result<Duration, Error> {
        Ok(store.snapshot(&name("job")).unwrap().record.ttl)
    }
    let (store, a, _) = pair();
    assert_eq!(work(&a, &store).await.unwrap(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_list_is_all_or_nothing_and_never_deadlocks() {
    #[locked(["account-{from}", "account-{to}"], via = client, guard = leases)]
    async fn transfer(client: &Client, from: u8, to: u8) -> Result<usize, Error> {
        sleep(SECOND).await;
        leases.check()?;
        Ok(leases.tokens().count())
    }
    let (store, a, b) = pair();
    let ended = tokio::join!(transfer(&a, 1, 2), transfer(&b, 2, 1), transfer(&a, 2, 3), transfer(&b, 3, 3));
    let held: Vec<usize> = [ended.0, ended.1, ended.2, ended.3].map(Result::unwrap).into();
    assert_eq!(held, [2, 2, 2, 1]);
    assert!(store.names().is_empty(), "all are released");
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_body_and_releases() {
    #[locked("job", via = client)]
    async fn work(client: &Client, _witness: Witness) -> Result<(), Error> {
        pending().await
    }
    let (store, a, _) = pair();
    let (witness, held) = Witness::of(&store);
    let (ended, ()) = tokio::join!(work(&a, witness), async {
        sleep(SECOND).await;
        a.shutdown().await;
    });
    assert!(matches!(ended, Err(Error::Lost { reason: LossReason::ShutDown, .. })));
    assert_eq!(*held.lock().unwrap(), [true]);
    assert!(is_free(&store));
    assert!(matches!(plain(&a, SECOND).await, Err(Error::ShutDown)));
}

#[tokio::test(start_paused = true)]
async fn invalid_dynamic_names_are_escaped_and_stay_apart() {
    #[locked("mail-{address}", via = client, guard = lease)]
    async fn send(client: &Client, address: &str) -> Result<String, Error> {
        Ok(lease.name().to_string())
    }
    let (_store, a, _) = pair();
    let (ada, other) = (send(&a, "Ada@x.org").await.unwrap(), send(&a, "ada@x.org").await.unwrap());
    assert!(ada.starts_with("mail-ada-x.org-") && ada != other, "{ada} {other}");
    assert_eq!(send(&a, "17").await.unwrap(), "mail-17");
}

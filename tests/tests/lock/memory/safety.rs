//! Promises S1 to S5: tokens, exclusion, loss.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use msync::{Client, Error, FencingToken, LockGuard, LossReason, MemoryStore, clock::TokioClock};
use tests::{
    faulty::{Fate, Faulty, Kind, unknown},
    memory::{
        DEADLINE, SuspendClock, TTL, builder, client, client_of, pass, queue, random_of, record, until, waiter, within,
    },
};

#[tokio::test(start_paused = true)]
async fn s1_tokens_grow_over_every_way_to_the_lock() {
    let store = MemoryStore::new();
    let (a, b, c) = (client(&store, "a"), client(&store, "b"), client(&store, "c"));
    let mut tokens: Vec<FencingToken> = Vec::new();
    let created = a.lock("x").unwrap().acquire().await.unwrap();
    tokens.push(created.token());
    let local = waiter(&a, "x");
    pass(Duration::from_secs(1)).await;
    drop(created);
    let local = local.await.unwrap();
    tokens.push(local.token());
    let granted = waiter(&b, "x");
    until("b waits", || queue(&store, "x") == 1).await;
    drop(local);
    let granted = granted.await.unwrap();
    tokens.push(granted.token());
    store.edit(&tests::memory::name("x"), |record| record.term = msync::unstable::record::Term(77));
    let taken_over = waiter(&c, "x").await.unwrap();
    tokens.push(taken_over.token());
    taken_over.release().await.unwrap();
    tokens.push(a.lock("x").unwrap().acquire().await.unwrap().token());
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

#[tokio::test(start_paused = true)]
async fn s1_tokens_grow_even_when_the_local_numbers_are_used_up() {
    let store = MemoryStore::new();
    let lock = client(&store, "a").lock("x").unwrap();
    let mut guard = lock.acquire().await.unwrap();
    let mut last = guard.token();
    for _ in 0..70_000 {
        let next = lock.acquire();
        tokio::pin!(next);
        assert!(futures::poll!(&mut next).is_pending());
        drop(guard);
        guard = next.await.unwrap();
        assert!(guard.token() > last);
        last = guard.token();
    }
    let calls = store.calls();
    assert!(calls.creates == 1 && calls.renews <= 3, "{calls:?}");
}

/// A few engines with clocks of different rates, calls that fail and suspended machines; somebody looks every 20 ms.
#[tokio::test(start_paused = true)]
async fn s2_two_guards_of_one_lock_never_both_say_held() {
    for seed in 0..12_u32 {
        let store = MemoryStore::new();
        let guards: Arc<Mutex<Vec<LockGuard>>> = Arc::default();
        let mut tasks = Vec::new();
        for (index, rate) in [990_000, 1_000_000, 1_010_000].into_iter().enumerate() {
            let owner = format!("seed-{seed}-{index}");
            let (faulty, clock) = (Faulty::new(store.clone()), TokioClock::with_rate(rate));
            fail_at_random(&faulty, &owner);
            let client = builder(&owner, clock.clone()).store(Arc::new(faulty)).build();
            tasks.push(tokio::spawn(contend(client, clock, owner, Arc::clone(&guards))));
        }
        for _ in 0..15_000 {
            pass(Duration::from_millis(20)).await;
            let mut guards = guards.lock().unwrap();
            let held = guards.iter().filter(|guard| guard.check().is_ok()).count();
            assert!(held <= 1, "seed {seed}: {guards:?}");
            guards.retain(|guard| guard.check().is_ok());
        }
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Acquires, and leaves the guard where the test sees it: it is released by hand, or lost because its calls fail.
async fn contend(client: Client, clock: TokioClock, owner: String, guards: Arc<Mutex<Vec<LockGuard>>>) {
    let (lock, random) = (client.lock("x").unwrap(), random_of(&format!("body-{owner}")));
    loop {
        let Ok(guard) = lock.acquire_timeout(Duration::from_secs(1 + random() % 60)).await else { continue };
        let token = guard.token();
        guards.lock().unwrap().push(guard);
        clock.jump_wall([3_600_000, -3_600_000, 0][usize::try_from(random() % 3).unwrap()]);
        pass(Duration::from_millis(random() % 20_000)).await;
        guards.lock().unwrap().retain(|guard| guard.token() != token);
    }
}

fn fail_at_random(faulty: &Faulty, owner: &str) {
    let random = random_of(&format!("fault-{owner}"));
    faulty.on(move |_| match random() % 20 {
        0 => Fate::Fail(unknown()),
        1 => Fate::DropReply,
        2 => Fate::Zombie(Duration::from_millis(random() % 30_000)),
        3 => Fate::AnswerLate(Duration::from_millis(random() % 30_000)),
        4 => Fate::Twice,
        5..12 => Fate::Delay(Duration::from_millis(random() % 2_000)),
        _ => Fate::Pass,
    });
}

#[tokio::test(start_paused = true)]
async fn s3_loss_is_signalled_by_the_deadline_even_if_no_call_ever_returns() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let (lost, token) = (guard.lost(), guard.cancellation_token());
    faulty.every(Fate::Hang);
    pass(Duration::from_millis(13_490)).await;
    guard.check().unwrap();
    assert_eq!(within(Duration::from_millis(12), "lost", lost).await, LossReason::Deadline);
    within(Duration::from_millis(2), "the token", token.cancelled()).await;
    assert!(matches!(guard.check(), Err(Error::Lost { reason: LossReason::Deadline, .. })));
    assert_eq!(guard.remaining(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn s3_a_body_is_dropped_at_the_deadline_even_if_no_call_ever_returns() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    let start = tokio::time::Instant::now();
    let lock = a.lock("x").unwrap();
    let ended = lock.run(async |_| {
        faulty.every(Fate::Hang);
        std::future::pending::<()>().await;
    });
    assert!(matches!(ended.await, Err(Error::Lost { reason: LossReason::Deadline, .. })));
    assert!(start.elapsed() <= DEADLINE + Duration::from_millis(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn s3_after_a_suspend_the_first_check_and_the_first_poll_say_lost() {
    let (store, clock) = (MemoryStore::new(), SuspendClock::default());
    let a = builder("a", clock.clone()).memory(&store).build();
    let guard = a.lock("by-hand").unwrap().acquire().await.unwrap();
    let mut polls = 0;
    let lock = a.lock("body").unwrap();
    let ended = lock.run(async |_| {
        // No timer and no event is near: nothing but a look at the clock can tell.
        pass(Duration::from_millis(1300)).await;
        clock.suspend(Duration::from_secs(14));
        std::future::poll_fn(|cx| {
            polls += 1;
            assert_eq!(polls, 1, "not polled again after the suspend");
            cx.waker().wake_by_ref();
            std::task::Poll::<()>::Pending
        })
        .await;
    });
    assert!(ended.await.unwrap_err().is_lost());
    assert!(guard.check().unwrap_err().is_lost(), "the first check says lost");
    assert_eq!(futures::poll!(Box::pin(guard.lost())), std::task::Poll::Ready(LossReason::Deadline));
}

#[tokio::test(start_paused = true)]
async fn s3_a_sleeper_learns_of_a_suspend_within_a_second() {
    let (store, clock) = (MemoryStore::new(), SuspendClock::default());
    let a = builder("a", clock.clone()).memory(&store).build();
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let lost = tokio::spawn(guard.lost());
    pass(Duration::from_millis(300)).await;
    clock.suspend(Duration::from_secs(3600));
    let reason = within(Duration::from_millis(1002), "told", lost).await.unwrap();
    assert_eq!(reason, LossReason::Deadline);
}

#[tokio::test(start_paused = true)]
async fn s4_lost_is_final() {
    let (store, clock) = (MemoryStore::new(), SuspendClock::default());
    let a = builder("a", clock.clone()).memory(&store).build();
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let term = record(&store, "x").unwrap().term;
    clock.suspend(TTL);
    assert!(guard.check().is_err());
    let renews = store.calls().renews;
    for _ in 0..1000 {
        pass(Duration::from_millis(100)).await;
        assert!(guard.check().unwrap_err().is_lost());
    }
    assert_eq!(record(&store, "x").unwrap().term, term, "nobody else wanted it");
    assert_eq!(store.calls().renews, renews, "a lost term sends no renewal");
}

#[tokio::test(start_paused = true)]
async fn s4_a_renewal_that_is_confirmed_after_the_deadline_revives_nothing() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    faulty.on(|request| match request.kind {
        Kind::Renew => Fate::AnswerLate(Duration::from_secs(14)),
        _ => Fate::Hang,
    });
    faulty.watches(tests::faulty::Sight::Late(Duration::from_secs(14)));
    assert_eq!(guard.lost().await, LossReason::Deadline);
    faulty.heal();
    for _ in 0..300 {
        pass(Duration::from_millis(100)).await;
        assert!(guard.check().unwrap_err().is_lost());
    }
}

#[tokio::test(start_paused = true)]
async fn s5_a_release_after_a_take_over_leaves_the_new_holder_alone() {
    let (store, clock) = (MemoryStore::new(), SuspendClock::default());
    let a = builder("a", clock.clone()).memory(&store).build();
    let b = client(&store, "b");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    clock.suspend(TTL);
    assert!(guard.check().is_err());
    let taken = within(2 * TTL, "taken over", waiter(&b, "x")).await.unwrap();
    let (before, state) = (store.calls(), record(&store, "x"));
    assert!(matches!(guard.release().await, Err(Error::Lost { .. })));
    pass(Duration::from_secs(1)).await;
    let after = store.calls();
    assert_eq!(record(&store, "x"), state);
    assert_eq!((after.deletes, after.frees, after.grants), (before.deletes, before.frees, before.grants));
    taken.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn s5_a_late_release_of_either_kind_leaves_the_next_holder_alone() {
    for retained in [false, true] {
        let (store, zombie) = (MemoryStore::new(), Duration::from_secs(20));
        let faulty = Faulty::new(store.clone());
        let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
        let lock = a.lock("x").unwrap();
        let guard = if retained { lock.retained() } else { lock }.acquire().await.unwrap();
        faulty.on(move |request| match request.kind {
            Kind::Delete | Kind::Free | Kind::Grant if request.nth == 0 => Fate::Zombie(zombie),
            _ => Fate::Pass,
        });
        drop(guard);
        let next = within(Duration::from_secs(5), "released by a second attempt", waiter(&b, "x")).await.unwrap();
        pass(2 * zombie).await;
        next.check().unwrap();
        assert_eq!(record(&store, "x").unwrap().engine.owner(), "b", "retained: {retained}");
    }
}

//! Bugs of clocks.

use std::time::Duration;

use msync::{
    MemoryStore,
    clock::{BootClock, Clock, TokioClock},
};
use tests::memory::{SuspendClock, builder, pass, waiter, within};

const HOUR: i64 = 3_600_000;

/// Holder and challenger, an hour apart either way, before and during the hold: nothing is lost, nothing taken early.
#[tokio::test(start_paused = true)]
async fn bug_30_wall_clocks_an_hour_apart_have_no_effect_on_safety() {
    for (holder, challenger) in [(HOUR, 0), (-HOUR, 0), (0, HOUR), (0, -HOUR), (HOUR, -HOUR), (-HOUR, HOUR)] {
        let store = MemoryStore::new();
        let clocks = [TokioClock::default(), TokioClock::default()];
        let (a, b) = (
            builder("a", clocks[0].clone()).memory(&store).build(),
            builder("b", clocks[1].clone()).memory(&store).build(),
        );
        clocks[1].jump_wall(challenger / 2);
        let guard = a.lock("x").unwrap().acquire().await.unwrap();
        let waiting = waiter(&b, "x");
        pass(Duration::from_secs(20)).await;
        clocks[0].jump_wall(holder);
        clocks[1].jump_wall(challenger);
        pass(Duration::from_secs(40)).await;
        assert!(b.lock("x").unwrap().try_acquire().await.unwrap().is_none(), "a try is not deceived either");
        assert!(!waiting.is_finished(), "{holder} {challenger}");
        guard.check().unwrap();
        drop(guard);
        within(Duration::from_secs(1), "handed over", waiting).await.unwrap().check().unwrap();
    }
}

#[test]
fn bug_31_the_clock_of_production_goes_on_in_suspend() {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = BootClock.now().as_nanos() / 1_000_000_000;
    assert!(now.abs_diff(u64::try_from(boot.tv_sec).unwrap()) <= 1, "it is CLOCK_BOOTTIME");
}

#[tokio::test(start_paused = true)]
async fn bug_32_after_a_pause_not_one_line_of_the_body_runs() {
    let (store, clock) = (MemoryStore::new(), SuspendClock::default());
    let a = builder("a", clock.clone()).memory(&store).build();
    let lock = a.lock("x").unwrap();
    let mut lines = 0;
    let ended = lock.run(async |_| {
        lines += 1;
        pass(Duration::from_millis(1300)).await;
        lines += 1;
        clock.suspend(Duration::from_secs(3600));
        tokio::task::yield_now().await;
        lines += 1;
    });
    assert!(ended.await.unwrap_err().is_lost());
    assert_eq!(lines, 2);
}

//! What was acquired and never reached its user: not renewed, not kept, given back in time (promise S6).

use super::*;

impl Bench {
    /// A bench whose users take nothing: their futures are not polled.
    fn unpolled() -> Self {
        Self { collects: false, ..Self::new() }
    }

    fn acquired(&self) -> Vec<u64> {
        let acquired = |notice: &Notice| if let Notice::Acquired(Ticket(t), _) = notice { Some(*t) } else { None };
        self.notices.iter().filter_map(acquired).collect()
    }
}

impl Want {
    /// Goes on with an acquisition that had the lock in vain, and was not polled for so long after that.
    fn after(self, place: u64, unpolled: Duration) -> Self {
        Self { again: Some(Again { place: Ticket(place), unpolled }), ..self }
    }
}

#[test]
fn s6_what_nobody_collects_is_not_renewed_and_given_back_within_a_ttl() {
    for ask in [want(1), campaign(1), Want { at_least: ms(3_600_000), ..want(1) }] {
        let mut bench = Bench::unpolled();
        bench.want(ask);
        bench.settle();
        bench.pass(TTL - 1);
        assert_eq!(bench.renewals(), 0);
        assert!(bench.stored.as_ref().is_none_or(|stored| stored.record.is_free()), "{:?}", bench.stored);
        assert!(bench.told(&Notice::Recall(Ticket(1))) && bench.keeper.is_idle());
    }
}

/// Given back while it is still held: others need not wait for its ttl.
#[test]
fn what_nobody_collects_goes_to_the_next_in_the_queue() {
    let mut bench = Bench::unpolled();
    bench.want(want(1));
    bench.settle();
    bench.rival_joins(3);
    bench.pass(TTL - 1_000);
    assert_eq!(bench.record().term, Term(3), "granted, before the deadline");
}

#[test]
fn s6_a_grant_that_nobody_collects_is_not_renewed() {
    let mut bench = Bench::waiting(want(1));
    bench.collects = false;
    bench.grant(0xaa);
    bench.seen();
    assert_eq!(bench.acquired(), [1]);
    bench.pass(TTL);
    assert_eq!((bench.renewals(), bench.stored.clone()), (0, None));
}

#[test]
fn a_local_hand_over_that_nobody_collects_goes_on_to_the_next() {
    let mut bench = Bench::holding();
    bench.want(want(2));
    bench.want(want(3));
    bench.collects = false;
    bench.release(1);
    assert_eq!(bench.acquired(), [1, 2]);
    let before = bench.renewals();
    bench.collects = true;
    bench.pass(TTL - 2_000);
    assert_eq!(bench.acquired(), [1, 2, 3], "without a write");
    assert!(bench.has(3));
    bench.pass(2 * TTL);
    assert!(bench.has(3) && bench.renewals() > before);
}

/// One future that is not polled after the other: none of them prolongs what the next one has.
#[test]
fn s6_a_queue_of_futures_that_are_not_polled_keeps_nothing_alive() {
    let mut bench = Bench::unpolled();
    for ticket in 1..=5 {
        bench.want(want(ticket));
    }
    bench.settle();
    bench.rival_joins(3);
    bench.pass(TTL - 1_000);
    assert_eq!((bench.renewals(), bench.record().term), (0, Term(3)));
}

/// Ticket 1 had the lock and lost it while its process stood still; 2 has waited since, and now the future of 1 comes back.
fn begun_anew(unpolled: Duration) -> Bench {
    let mut bench = Bench::unpolled();
    bench.want(want(1));
    bench.settle();
    bench.want(want(2));
    bench.sleep(2 * TTL);
    bench.step(Event::Tick);
    assert!(bench.told(&Notice::Recall(Ticket(1))) && bench.acquired() == [1]);
    bench.collects = true;
    bench.want(want(3).after(1, unpolled));
    bench.settle();
    bench
}

#[test]
fn l3_whoever_lost_the_lock_while_the_process_stood_still_waits_where_it_was() {
    let mut bench = begun_anew(timing(TTL).attempt_timeout() / 2);
    bench.release(3);
    assert_eq!(bench.acquired(), [1, 3, 2]);
}

#[test]
fn whoever_is_not_polled_for_longer_waits_behind_the_others() {
    let mut bench = begun_anew(timing(TTL).attempt_timeout() / 2 + ms(1));
    bench.release(2);
    assert_eq!(bench.acquired(), [1, 2, 3]);
}

#[test]
fn l3_all_who_begin_anew_keep_their_order() {
    let mut bench = Bench::waiting(want(2));
    for ask in [want(5), want(6).after(4, ms(0)), want(7).after(3, ms(0)), want(8).after(1, ms(0)), want(9)] {
        bench.want(ask);
    }
    bench.grant(0xaa);
    bench.seen();
    for ticket in [8, 2, 7, 6, 5] {
        bench.release(ticket);
    }
    assert_eq!(bench.acquired(), [8, 2, 7, 6, 5, 9]);
}

/// It would be told nothing until its turn comes again, and it does not want to wait.
#[test]
fn nobody_goes_before_one_that_does_not_wait() {
    let mut bench = Bench::new();
    bench.want(attempt(2));
    bench.want(want(3).after(1, ms(0)));
    bench.settle();
    bench.release(2);
    assert_eq!(bench.acquired(), [2, 3]);
}

#[test]
fn what_is_collected_late_is_renewed_at_once() {
    let mut bench = Bench::unpolled();
    bench.want(want(1));
    bench.settle();
    assert!(!bench.last.tell, "nothing waits for it yet");
    bench.pass(6_000);
    assert!(bench.last.tell, "its first renewal does");
    bench.collect(1);
    assert!(matches!(bench.change(), Change::Renew { .. }));
    bench.settle();
    bench.pass(3 * TTL);
    assert!(bench.has(1));
}

#[test]
fn a_user_that_collects_while_it_is_recalled_has_the_lock() {
    let mut bench = Bench::unpolled();
    bench.want(want(1));
    bench.settle();
    bench.sleep(7_400);
    let notices = bench.step_once(Event::Tick);
    assert_eq!(notices, [Notice::Recall(Ticket(1))]);
    bench.collect(1);
    bench.settle();
    bench.pass(3 * TTL);
    assert!(bench.has(1));
}

#[test]
fn at_least_and_max_hold_count_from_the_collection() {
    let mut bench = Bench::unpolled();
    bench.want(Want { at_least: ms(20_000), max_hold: Some(ms(20_000)), ..want(1) });
    bench.settle();
    bench.pass(2_000);
    bench.collect(1);
    bench.settle();
    bench.release(1);
    bench.pass(19_999);
    assert!(bench.stored.is_some(), "22 s after the acquisition, 20 s after the collection");
    bench.pass(1);
    assert_eq!(bench.stored, None);
}

/// What a driver is told late counts from when it was.
#[test]
fn at_least_counts_from_when_it_was_collected_not_from_when_that_was_told() {
    let mut bench = Bench::unpolled();
    bench.want(Want { at_least: ms(20_000), ..want(1) });
    bench.settle();
    let collected = Bench::at(bench.now);
    bench.sleep(2_000);
    bench.step(Event::Collected(Ticket(1), collected));
    bench.settle();
    bench.release(1);
    bench.pass(17_999);
    assert!(bench.stored.is_some());
    bench.pass(1);
    assert_eq!(bench.stored, None);
}

#[test]
fn at_least_of_what_was_cancelled_before_its_collection_keeps_nothing() {
    let mut bench = Bench::unpolled();
    bench.want(Want { at_least: ms(3_600_000), ..want(1) });
    bench.settle();
    bench.step(Event::Cancel(Ticket(1)));
    bench.settle();
    assert_eq!((bench.stored.clone(), bench.keeper.is_idle()), (None, true));
}

/// A driver may be told of both at once, in either order.
#[test]
fn s6_what_nobody_has_collected_is_not_kept_whoever_asks() {
    let mut bench = Bench::unpolled();
    bench.want(want(1));
    bench.settle();
    bench.step(Event::Keep(Ticket(1), ms(3_600_000)));
    bench.step(Event::Cancel(Ticket(1)));
    bench.settle();
    assert_eq!((bench.stored.clone(), bench.keeper.is_idle()), (None, true));
}

/// Too little is left for the next one: the lock goes back before its deadline, and is made anew for that one.
#[test]
fn s6_what_nobody_had_is_not_renewed_for_the_next_of_the_process() {
    let mut bench = Bench::unpolled();
    bench.want(want(1));
    bench.settle();
    let term = bench.record().term;
    bench.want(want(2));
    bench.pass(TTL - 1_000 - 1_000);
    assert!(bench.told(&Notice::Recall(Ticket(1))));
    assert!(!bench.acquired().is_empty());
    assert_eq!(bench.renewals(), 0, "{:?}", bench.sent);
    bench.collects = true;
    bench.pass(TTL);
    assert!(bench.stored.as_ref().is_none_or(|stored| stored.record.term != term), "{:?}", bench.stored);
}

/// A set begins to keep its locks when it is complete.
#[test]
fn what_is_kept_later_is_kept_from_then_on() {
    let mut bench = Bench::holding();
    bench.pass(5_000);
    bench.step(Event::Keep(Ticket(1), ms(25_000)));
    bench.release(1);
    bench.pass(24_999);
    assert!(bench.stored.is_some());
    bench.pass(1);
    assert_eq!(bench.stored, None);
}

#[test]
fn a_shutdown_does_not_wait_for_what_nobody_collects() {
    let mut bench = Bench::unpolled();
    bench.want(want(1));
    bench.settle();
    bench.step(Event::ShutDown);
    bench.settle();
    assert_eq!((bench.stored.clone(), bench.keeper.is_idle()), (None, true));
}

#[test]
fn what_is_lost_before_its_collection_is_recalled() {
    let mut bench = Bench::unpolled();
    bench.want(want(1));
    bench.settle();
    (bench.stored, bench.version) = (None, bench.version + 1);
    bench.step(Event::Deleted(bench.version));
    assert!(bench.told(&Notice::Recall(Ticket(1))) && bench.keeper.is_idle());
}

/// Whoever was not polled until its time was over is not told that the store could not be used: it was the holder itself.
#[test]
fn whoever_had_the_lock_in_vain_has_seen_a_holder() {
    let mut bench = Bench::unpolled();
    bench.want(want(1));
    bench.settle();
    let had = Bench::at(bench.now);
    bench.pass(60_000);
    bench.want(want(2).after(1, ms(50_000)));
    assert!(bench.keeper.has_seen_holder(had));
    assert!(!bench.keeper.has_seen_holder(had + ms(20_000)), "not since it was taken back");
}

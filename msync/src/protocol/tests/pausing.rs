//! Pauses after failures are never longer than what is held, or given back, can bear.

use super::*;

/// A keeper that waits for a lock, whose looks have failed for so long that pauses are as long as they get.
fn waiting_in_trouble(ttl: u64, outcome: &Outcome) -> Bench {
    let mut bench = Bench::held(TTL);
    bench.want(Want { timing: timing(ttl), ..want(1) });
    bench.settle();
    let start = bench.now;
    // Whoever names a time is asked once.
    let enough = if matches!(outcome, Outcome::Busy(_)) { 1 } else { 9_000 };
    while bench.now - start < enough {
        match bench.call {
            Some(_) => bench.reply(outcome.clone()),
            None => drop(bench.wake()),
        }
    }
    if bench.call.is_some() {
        bench.reply(outcome.clone());
    }
    bench
}

/// The same, granted the lock then.
fn granted_in_trouble(ttl: u64, outcome: &Outcome) -> Bench {
    let mut bench = waiting_in_trouble(ttl, outcome);
    bench.grant(0xbea7);
    bench.seen();
    bench
}

fn troubles() -> [(u64, Outcome); 3] {
    [(1_500, Outcome::Denied), (1_500, Outcome::Unknown), (15_000, Outcome::Busy(Some(Duration::from_secs(60))))]
}

/// Core, seed 365696.
#[test]
fn a_release_is_sent_within_its_ttl_whatever_was_met_before() {
    for (ttl, outcome) in troubles() {
        let mut bench = granted_in_trouble(ttl, &outcome);
        bench.pass(ttl / 2);
        assert!(bench.has(1), "{outcome:?}: {:?}", bench.notices);
        bench.release(1);
        bench.pass(ttl / 2);
        assert!(bench.told(&Notice::Released(Ticket(1))), "{outcome:?}: {:?}", bench.notices);
        assert_eq!(bench.stored, None);
    }
}

#[test]
fn a_hold_is_renewed_in_time_whatever_was_met_before() {
    for (ttl, outcome) in troubles() {
        let mut bench = granted_in_trouble(ttl, &outcome);
        bench.pass(3 * ttl);
        assert_eq!(bench.loss(1), None, "{outcome:?}");
        assert!(bench.renewals() >= 3);
    }
}

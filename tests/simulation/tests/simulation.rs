//! The protocol core under every fault we know: `MSYNC_SEED=…` plays one episode, `MSYNC_TRACE=1` tells it.

use simulation::{Tally, play, play_until, play_with_sessions};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_promise_is_broken() {
    judge(play, 100_000);
}

/// Several locks in each engine, which keeps them alive by sessions.
#[test]
fn no_promise_is_broken_under_sessions() {
    judge(play_with_sessions, 50_000);
}

fn judge(play: fn(u64, bool) -> Result<Tally, String>, acquisitions: u64) {
    let trace = std::env::var_os("MSYNC_TRACE").is_some();
    if let Some(seed) = number("MSYNC_SEED") {
        println!("{:#?}", play(seed, trace).unwrap_or_else(|broken| panic!("{broken}")));
        return;
    }
    let (first, acquisitions) = (1, number("MSYNC_ACQUISITIONS").unwrap_or(acquisitions));
    println!("MSYNC_SEED from {first}, {acquisitions} acquisitions");
    println!("{:#?}", play_until(play, first, acquisitions).unwrap_or_else(|broken| panic!("{broken}")));
}

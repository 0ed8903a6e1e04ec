//! The protocol core under every fault we know: `MSYNC_SEED=…` plays one episode, `MSYNC_TRACE=1` tells it.

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_promise_is_broken() {
    let trace = std::env::var_os("MSYNC_TRACE").is_some();
    if let Some(seed) = number("MSYNC_SEED") {
        println!("{:#?}", simulation::play(seed, trace).unwrap_or_else(|broken| panic!("{broken}")));
        return;
    }
    let acquisitions = number("MSYNC_ACQUISITIONS").unwrap_or(100_000);
    let tally = simulation::play_until(1, acquisitions).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{tally:#?}");
}

//! Whole engines in one episode: three to five [`msync::Client`]s with their tasks, timers, watches and guards, on one
//! paused current-thread runtime, over a server and a network that lose, delay and repeat.
//!
//! The core is simulated next door, a hundred times as fast; this is about what the core does not have: the driver and
//! the inbox, guards, bodies, drops at any await, freezes between two lines of the engine.

mod episode;
mod foreigner;
mod judge;
mod line;
mod machine;
mod stage;
mod story;
mod users;
mod wire;

pub use story::Story;

pub use crate::plan::Vocabulary;
use crate::{plan::Plan, rng::Rng};

/// Plays the episode of a seed.
///
/// # Errors
/// The promise that was broken, with the seed.
///
/// # Panics
/// When the library panics.
pub fn play(seed: u64, trace: bool) -> Result<Story, String> {
    play_of(Vocabulary::Whole, seed, trace)
}

/// The same, its plan drawn from this.
///
/// # Errors
/// As [`play`].
///
/// # Panics
/// As [`play`].
pub fn play_of(vocabulary: Vocabulary, seed: u64, trace: bool) -> Result<Story, String> {
    play_plan(seed, trace, |rng| Plan::draw(rng, vocabulary))
}

/// Plays the episode of a seed with the record in a Lease, beside somebody who elects as client-go does, and with edits by
/// hand.
///
/// # Errors
/// The promise of msync's that was broken, with the seed.
///
/// # Panics
/// When the library panics.
pub fn play_on_leases(seed: u64, trace: bool) -> Result<Story, String> {
    play_plan(seed, trace, Plan::on_leases)
}

/// Plays the episode of a seed with several locks, by engines that use sessions.
///
/// # Errors
/// The promise that was broken, with the seed.
///
/// # Panics
/// When the library panics.
pub fn play_with_sessions(seed: u64, trace: bool) -> Result<Story, String> {
    play_plan(seed, trace, Plan::with_sessions)
}

fn play_plan(seed: u64, trace: bool, draw: impl FnOnce(&mut Rng) -> Plan) -> Result<Story, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    runtime.block_on(async {
        let stage = stage::Stage::new(Rng::new(seed), trace, draw);
        stage.say(|| format!("{:?}", stage.plan));
        episode::Director::new(std::sync::Arc::clone(&stage)).play().await;
        stage.with(|state| match state.judge.verdict.take() {
            None => Ok(state.told()),
            Some(broken) => Err(format!("seed {seed}: {broken}")),
        })
    })
}

/// Plays episodes, seed after seed, until so many acquisitions have been made.
///
/// # Errors
/// The first promise that was broken, with the seed of its episode.
pub fn play_until(
    play: fn(u64, bool) -> Result<Story, String>,
    first_seed: u64,
    acquisitions: u64,
) -> Result<Story, String> {
    let mut sum = Story::default();
    let mut seed = first_seed;
    while sum.acquisitions < acquisitions {
        sum.add(&play(seed, false)?);
        seed = seed.wrapping_add(1);
    }
    Ok(sum)
}

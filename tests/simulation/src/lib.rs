//! A discrete-event simulation of the protocol core: many processes, one server, every fault we know, in true time.
//!
//! It runs the shipped [`msync::unstable::protocol::Keeper`] and [`msync::unstable::record::Change::apply`], without a runtime and without a
//! real clock: an episode of hours takes milliseconds. Every episode is the story of one seed; `MSYNC_SEED` plays one
//! again and `MSYNC_TRACE=1` tells it step by step.
//!
//! It proves nothing that it does not try: the engine's own tasks, the store and the watches are tested elsewhere.

mod network;
mod oracle;
mod plan;
mod process;
mod rng;
mod server;
pub mod whole;
mod world;

pub use oracle::Tally;

use crate::{plan::Plan, rng::Rng, world::World};

/// Plays the episode of a seed.
///
/// # Errors
/// The promise that was broken, with the seed.
pub fn play(seed: u64, trace: bool) -> Result<Tally, String> {
    play_plan(seed, trace, |rng| Plan::draw(rng, whole::Vocabulary::Whole))
}

/// Plays the episode of a seed with several locks, by engines that use sessions.
///
/// # Errors
/// The promise that was broken, with the seed.
pub fn play_with_sessions(seed: u64, trace: bool) -> Result<Tally, String> {
    play_plan(seed, trace, Plan::with_sessions_of_cores)
}

fn play_plan(seed: u64, trace: bool, draw: impl FnOnce(&mut Rng) -> Plan) -> Result<Tally, String> {
    let mut world = World::new(Rng::new(seed), trace, draw);
    world.run();
    match world.oracle.verdict.take() {
        None => Ok(world.oracle.tally),
        Some(broken) => Err(format!("seed {seed}: {broken}")),
    }
}

/// Plays episodes, seed after seed, until so many acquisitions have been made.
///
/// # Errors
/// The first promise that was broken, with the seed of its episode.
pub fn play_until(
    play: fn(u64, bool) -> Result<Tally, String>,
    first_seed: u64,
    acquisitions: u64,
) -> Result<Tally, String> {
    let mut sum = Tally::default();
    let mut seed = first_seed;
    while sum.acquisitions < acquisitions {
        sum.add(&play(seed, false)?);
        seed = seed.wrapping_add(1);
    }
    Ok(sum)
}

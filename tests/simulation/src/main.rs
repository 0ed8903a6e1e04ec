//! Long runs: `cargo run --release -p simulation -- [cores-with-sessions|whole|leases|sessions] 30000000 [first seed [enough]]`. Prints
//! every seed that breaks a promise, and ends when that is enough (20) of them. `cores-with-sessions` plays cores with several
//! locks under sessions, `whole` whole engines instead of cores, `leases` the same on a Lease, beside somebody who elects as
//! client-go does, and `sessions` whole engines with several locks under sessions.

use std::{fmt::Debug, time::Instant};

use simulation::{Tally, play, play_with_sessions, whole};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let acquisitions = numbers.next().unwrap_or(1_000_000);
    let first = numbers.next().unwrap_or(1);
    let enough = numbers.next().unwrap_or(20);
    let tells = std::env::var_os("MSYNC_TRACE").is_some();
    let told = |what: &str| arguments.iter().any(|argument| argument == what);
    let broken = if told("whole") || told("leases") || told("sessions") {
        let play = match () {
            () if told("leases") => whole::play_on_leases,
            () if told("sessions") => whole::play_with_sessions,
            () => whole::play,
        };
        let add = |sum: &mut whole::Story, story: &_| {
            sum.add(story);
            sum.acquisitions
        };
        run(acquisitions, first, enough, |seed| play(seed, tells), add)
    } else {
        let play = if told("cores-with-sessions") { play_with_sessions } else { play };
        let add = |sum: &mut Tally, tally: &_| {
            sum.add(tally);
            sum.acquisitions
        };
        run(acquisitions, first, enough, |seed| play(seed, tells), add)
    };
    std::process::exit(i32::from(broken > 0));
}

/// Plays seed after seed, and returns how many of them broke a promise.
#[allow(clippy::disallowed_methods, reason = "the speed of the simulation is real time")]
fn run<T: Default + Debug>(
    acquisitions: u64,
    first: u64,
    enough: u64,
    play: impl Fn(u64) -> Result<T, String>,
    add: impl Fn(&mut T, &T) -> u64,
) -> u64 {
    let (start, mut sum, mut made, mut broken, mut seed) = (Instant::now(), T::default(), 0, 0, first);
    while made < acquisitions && broken < enough {
        match play(seed) {
            Ok(tally) => made = add(&mut sum, &tally),
            Err(what) => {
                broken += 1;
                println!("{}", what.chars().take(400).collect::<String>());
            }
        }
        seed = seed.wrapping_add(1);
    }
    println!("{sum:#?}\n{broken} broken promises in {} episodes, {:?}", seed - first, start.elapsed());
    broken
}

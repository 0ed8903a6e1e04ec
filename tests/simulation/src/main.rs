//! Long runs: `cargo run --release -p simulation -- 30000000 [first seed [enough]]`. Prints every seed that breaks a
//! promise, and ends when that is enough (20) of them.

use std::time::Instant;

use simulation::{Tally, play};

#[allow(clippy::disallowed_methods, reason = "the speed of the simulation is real time")]
fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let acquisitions = arguments.next().unwrap_or(1_000_000);
    let first = arguments.next().unwrap_or(1);
    let enough = arguments.next().unwrap_or(20);
    let (start, mut sum, mut broken) = (Instant::now(), Tally::default(), 0);
    let mut seed = first;
    while sum.acquisitions < acquisitions && broken < enough {
        if std::env::var_os("MSYNC_TRACE").is_some() {
            println!("seed {seed}");
        }
        match play(seed, false) {
            Ok(tally) => sum.add(&tally),
            Err(what) => {
                broken += 1;
                println!("{}", what.chars().take(400).collect::<String>());
            }
        }
        seed = seed.wrapping_add(1);
    }
    println!("{sum:#?}\n{broken} broken promises in {} episodes, {:?}", seed - first, start.elapsed());
    std::process::exit(i32::from(broken > 0));
}

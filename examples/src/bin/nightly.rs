//! A nightly job on three replicas: all fire at the same time, the first runs it, the others skip it, also those whose clocks
//! are some minutes late. `MSYNC_STORE=memory cargo run --bin nightly 86400`
#![allow(clippy::disallowed_methods, reason = "an example goes by real time")]
use std::{error::Error, time::Duration, time::UNIX_EPOCH};

use msync::{Outcome, locked};

#[locked("nightly", wait = none, on_busy = skip, at_least = every / 2)]
async fn report(every: Duration) -> Result<Outcome<&'static str>, msync::Error> {
    Ok(Outcome::Ran("reported")) // … what takes an hour; dropped if the lock is lost …
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let every = Duration::from_secs(std::env::args().nth(1).unwrap_or("86400".to_owned()).parse()?);
    loop {
        let since_last = u64::try_from(UNIX_EPOCH.elapsed()?.as_nanos() % every.as_nanos())?;
        tokio::time::sleep(every.saturating_sub(Duration::from_nanos(since_last))).await;
        println!("{}", report(every).await?.ran().unwrap_or("skipped"));
    }
}

//! Options, all at once.

use std::time::Duration;

use msync::{Error, Lease, locked};

use crate::use_memory;

const TTL: Duration = Duration::from_secs(20);

#[locked(
    "every-option",
    ttl = TTL,
    wait = "1m30s",
    on_busy = error,
    on_lost = cancel,
    at_least = "10ms",
    max_hold = Duration::from_secs(60),
    guard = lease,
    crate = ::msync,
)]
async fn every_option() -> Result<msync::FencingToken, Error> {
    lease.check()?;
    takes_lease(&lease);
    Ok(lease.token())
}

fn takes_lease(_: &Lease) {}

#[locked(["one", "two"], guard = leases)]
async fn guard_of_a_list() -> Result<(), Error> {
    leases.check()
}

mod renamed {
    extern crate msync as locks;

    #[locks::locked("renamed", crate = locks)]
    pub(super) async fn renamed() -> Result<(), locks::Error> {
        Ok(())
    }
}

#[tokio::test]
async fn every_option_is_accepted() {
    use_memory();
    let (first, second) = (every_option().await.unwrap(), every_option().await.unwrap());
    assert!(second > first);
    guard_of_a_list().await.unwrap();
    renamed::renamed().await.unwrap();
}

#[locked("recursive")]
async fn recursive(depth: u32) -> Result<u32, Error> {
    if depth == 0 { Ok(0) } else { Box::pin(recursive(depth - 1)).await }
}

#[tokio::test]
async fn recursion_is_an_error_and_not_a_dead_end() {
    use_memory();
    assert!(matches!(recursive(1).await, Err(Error::WouldDeadlock { .. })));
    assert_eq!(recursive(0).await.unwrap(), 0);
}

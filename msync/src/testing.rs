//! For tests of code that uses locks and elections; with the feature `testing`.
//!
//! ```toml
//! [dev-dependencies]
//! msync = { version = "0.1", features = ["testing"] }
//! tokio = { version = "1", features = ["macros", "rt", "test-util"] }
//! ```
//!
//! # With a store
//! [`MemoryStore::client`](crate::MemoryStore::client) makes a client in one line. On tokio's paused clock an hour of ttls
//! takes milliseconds, and the store does on demand what is hard to come by otherwise:
//!
//! | | what those who hold see |
//! |---|---|
//! | [`take_over("x")`](crate::MemoryStore::take_over) | lost, [`TakenOver`](crate::LossReason::TakenOver), at once |
//! | [`delete("x")`](crate::MemoryStore::delete) | lost, [`Deleted`](crate::LossReason::Deleted), at once |
//! | [`outage(duration)`](crate::MemoryStore::outage) | lost, [`Deadline`](crate::LossReason::Deadline), if it is longer than their deadline |
//! | [`slow(duration)`](crate::MemoryStore::slow) | nothing, up to a third of their ttl |
//! | [`calls()`](crate::MemoryStore::calls) | |
//!
//! ```
//! # use std::time::Duration;
//! # use msync::{Error, MemoryStore};
//! # macro_rules! test { ($body:expr) => { tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on($body) } }
//! # test!(async {
//! // #[tokio::test(start_paused = true)]
//! // async fn the_report_stops_when_its_lock_is_lost() {
//! let store = MemoryStore::new();
//! let client = store.client("web");
//! store.outage(Duration::from_secs(3600));
//! let waited = client.lock("report").unwrap().acquire_timeout(Duration::from_secs(60)).await;
//! assert!(matches!(waited, Err(Error::Unavailable { .. })), "nobody was seen to have it");
//! # });
//! ```
//!
//! # Annotated functions
//! [`init`] gives them a client for one test only, so that tests of one process do not meet in each other's locks.
//!
//! # Without a store
//! [`lease`], [`leadership`] and [`candidate`] make what a function under test takes, and something that says what becomes of
//! it.

mod stage;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

pub use self::stage::{Hold, Stage, candidate, leadership, lease};
pub use crate::store::Calls;
use crate::{
    Client, MemoryStore,
    clock::{self, Random},
    macros::default_client::local,
};

/// Gives the annotated functions a client within this tokio runtime only, which each `#[tokio::test]` has of its own: so
/// tests that run side by side in one process do not share their locks. It ends with the runtime.
///
/// # Panics
/// Outside of a tokio runtime.
///
/// # Examples
/// ```
/// # macro_rules! test { ($body:expr) => { tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on($body) } }
/// #[msync::locked("report", wait = none, on_busy = skip)]
/// async fn report() -> Option<u32> {
///     Some(7)
/// }
///
/// # test!(async {
/// let store = msync::MemoryStore::new();
/// msync::testing::init(store.client("web"));
/// assert_eq!(report().await, Some(7));
/// store.take_over("report");
/// assert_eq!(report().await, None, "somebody else is at it");
/// # });
/// ```
pub fn init(client: Client) {
    assert!(local::set(client), "call msync::testing::init within a tokio runtime, such as that of #[tokio::test]");
}

// === impl MemoryStore: clients ===

/// With the feature `testing`; see [`testing`](crate::testing).
impl MemoryStore {
    /// Makes a client of this store: another one for each owner, as another process would have.
    ///
    /// Where tokio's clock is paused (`#[tokio::test(start_paused = true)]`) its time is that clock, so that a test of hours
    /// takes milliseconds; elsewhere it is the real one. Its random numbers depend on its owner and on how many clients of the
    /// store there were, so that a test does each time what it did the last time.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// let store = msync::MemoryStore::new();
    /// let (a, b) = (store.client("a"), store.client("b"));
    /// let guard = a.lock("job")?.acquire().await?;
    /// assert!(b.lock("job")?.acquire_timeout(Duration::ZERO).await.is_err_and(|error| error.is_busy()));
    /// assert_eq!(store.holder("job").as_deref(), Some("a"));
    /// # guard.release().await
    /// # }
    /// ```
    pub fn client(&self, owner: &str) -> Client {
        let random = random_of(owner, self.nth_client());
        Client::builder().owner(owner).clock(clock::of_caller()).random(move || random()).memory(self).build()
    }
}

/// `SplitMix64`: another sequence for every owner and every client of it.
fn random_of(owner: &str, nth: u64) -> Random {
    // One after the other: mixed in one step, "a" as the first and "b" as the second client would draw the same numbers.
    let drawn_for = owner.bytes().chain(nth.to_le_bytes());
    let seed = drawn_for.fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let state = AtomicU64::new(seed);
    Arc::new(move || {
        let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

//! What a strict user denies does not fire in what the macros write: every lint there is, on one function of each kind.
//!
//! Checked by clippy, as the rest of this crate.

#![deny(clippy::restriction, clippy::nursery, clippy::pedantic, clippy::all)]
#![deny(let_underscore_drop, missing_docs, single_use_lifetimes, trivial_casts, unreachable_pub, unused_qualifications)]
#![deny(unused_results, variant_size_differences)]
#![allow(clippy::blanket_clippy_restriction_lints, reason = "all of them is the point")]
// What the functions below do themselves, without the macros.
#![allow(
    clippy::absolute_paths,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::arbitrary_source_item_ordering,
    clippy::arithmetic_side_effects,
    clippy::future_not_send,
    clippy::implicit_return,
    clippy::missing_docs_in_private_items,
    clippy::panic_in_result_fn,
    clippy::question_mark_used,
    clippy::separated_literal_suffix,
    clippy::single_call_fn,
    clippy::tests_outside_test_module,
    reason = "style of the functions that are annotated"
)]

use core::time::Duration;

use msync::{Client, Error, leader_only, locked};

use crate::use_memory;

#[locked("lint-{customer}", wait = "1s", ttl = "2s", max_hold = longest, guard = lease)]
async fn template(customer: &str, mut amount: u64, longest: Duration) -> Result<u64, Error> {
    lease.check()?;
    amount += 1;
    tokio::task::yield_now().await;
    Ok(amount)
}

#[locked("lint-unit", wait = none, on_busy = skip, guard = lease)]
async fn unit(_kept: &str, _: u8, (left, right): (u8, u8)) {
    tokio::task::yield_now().await;
    drop((lease, left, right));
}

#[locked(["lint-{from}", "lint-{to}"], at_least = "10ms", on_lost = signal)]
async fn list(from: u8, to: u8) -> Result<(), Error> {
    tokio::task::yield_now().await;
    Ok(())
}

#[locked(name = key, via = client, on_lost = abort)]
async fn expression<T: Clone>(client: &Client, key: String, value: T) -> Result<(T, usize), Error> {
    tokio::task::yield_now().await;
    Ok((value.clone(), key.len()))
}

#[leader_only("lint-leader", on_follower = wait, guard = term)]
async fn leader(number: u8) -> Result<u8, Error> {
    term.check()?;
    tokio::task::yield_now().await;
    Ok(number)
}

#[derive(Clone, Copy, Debug)]
struct Shop {
    number: u8,
}

impl Shop {
    #[locked("lint-{self.number}-{item}")]
    async fn restock(&self, item: u8) -> Result<u8, Error> {
        tokio::task::yield_now().await;
        Ok(self.number + item)
    }

    #[leader_only("lint-shop-{self.number}")]
    async fn audit(mut self) -> Option<u8> {
        self.number += 1;
        tokio::task::yield_now().await;
        Some(self.number)
    }
}

#[tokio::test]
async fn they_run() -> Result<(), Error> {
    use_memory();
    let client = crate::client();
    assert_eq!(template("a", 1, Duration::from_secs(1)).await?, 2, "{client:?}");
    unit("a", 1, (2, 3)).await;
    list(1, 2).await?;
    assert_eq!(expression(&client, "lint".to_owned(), 1_u8).await?, (1, 4), "of the body");
    assert_eq!(leader(1).await?, 1, "of the body");
    let shop = Shop { number: 1 };
    assert_eq!(shop.restock(1).await?, 2, "of the body");
    assert_eq!(shop.audit().await, Some(2), "of the body");
    Ok(())
}

//! Bugs of other lock and election libraries, each a test that bears its number.
//!
//! Rows whose test stands elsewhere, under the same number unless it says otherwise:
//!
//! | row | where |
//! |---|---|
//! | 3, 4, 12, 15, 16, 42 | `lock/memory/faults.rs` |
//! | 9, 18 | `lock/memory/liveness.rs` |
//! | 34 | `lock/memory/budget.rs` |
//! | 35, 36 | `lock/memory/by_hand.rs`; 36 on the wire in `store` |
//! | 39 | `lock/memory/run.rs`, with `s7_a_panic_drops_the_body_then_releases_then_goes_on` |
//! | 40 | `lock/memory/runtime.rs` |
//! | 43 | `lock/memory/keep.rs` |
//! | 44 | `election/memory.rs` |
//! | 46 | `msync/src/config.rs` |
//! | 19, 21 | need the macros and the compiler: the `macros` binary and `tests/ui` |
//!
//! Rows 8 (SIGTERM), 10, 27, 28, 32 and 42 have a second half that needs real processes and a real API server: the
//! cluster tests of the `lock` and `election` binaries. What is here is the half that paused time can show.
#![allow(missing_docs, reason = "a test binary")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock is the injected one here")]

mod acquire;
mod release;
mod renew;
mod time;

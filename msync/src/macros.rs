//! The attribute macros: what they mean, what they expand to, and the client of those that name none.
//!
//! All that they do is done by locks and elections, which know nothing of them.

pub(crate) mod default_client;
#[cfg(feature = "macros")]
mod docs;
mod outcome;
#[doc(hidden)]
pub mod private;

pub use default_client::{init, leader_loop, shutdown};
#[cfg(feature = "macros")]
pub use docs::{leader_only, locked};
pub use outcome::Outcome;

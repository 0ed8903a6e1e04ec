//! What a body under a hold sees, and how it is polled: the same for locks, elections and macros.
//!
//! Nothing here acquires, renews or releases.

mod body;
pub(crate) mod lease;
pub(crate) mod scope;

pub(crate) use body::{OnLost, Sentry, Stopped, held};
pub use lease::{Lease, LeaseSet, Lost};

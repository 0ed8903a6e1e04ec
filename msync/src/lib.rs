//! Distributed locks and leader election for Kubernetes, inside the process.

mod campaign;
mod default_client;
mod leader_loop;
mod lease;
mod outcome;
#[doc(hidden)]
pub mod private;
mod scope;
mod stub;

pub use default_client::init;
pub use leader_loop::leader_loop;
pub use lease::{Lease, LeaseSet};
pub use outcome::Outcome;
pub use stub::*;

#[cfg(feature = "macros")]
mod macros;
#[cfg(feature = "macros")]
pub use macros::{leader_only, locked};

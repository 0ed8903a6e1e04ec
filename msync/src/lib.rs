//! Distributed locks and leader election for Kubernetes, inside the process.

pub mod clock;
mod config;
#[cfg(feature = "kube")]
#[doc(hidden)]
pub mod crd;
mod error;
mod name;
#[doc(hidden)]
pub mod record;
#[doc(hidden)]
pub mod store;
mod token;

pub use config::Timing;
pub use error::{Error, LossReason};
pub use name::LockName;
pub use store::MemoryStore;
pub use token::FencingToken;

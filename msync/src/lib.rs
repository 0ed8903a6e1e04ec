//! Distributed locks and leader election for Kubernetes, inside the process.

mod client;
pub mod clock;
mod config;
#[cfg(feature = "kube")]
#[doc(hidden)]
pub mod crd;
mod election;
mod engine;
mod error;
mod lock;
mod lock_set;
mod name;
#[doc(hidden)]
pub mod protocol;
#[doc(hidden)]
pub mod record;
mod scope;
#[doc(hidden)]
pub mod store;
mod token;

pub use client::{Chosen, Client, ClientBuilder};
pub use config::Timing;
pub use election::{Election, Leader, Leadership};
pub use error::{Error, LossReason};
pub use lock::{Lock, LockGuard};
pub use lock_set::{LockSet, LockSetGuard};
pub use name::LockName;
pub use store::MemoryStore;
pub use token::FencingToken;

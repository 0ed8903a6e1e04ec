//! The promises on the memory store, in paused time.
#![allow(clippy::disallowed_methods, reason = "tokio's clock is the injected one here")]

mod budget;
mod by_hand;
mod calls;
mod cancel;
mod faults;
mod fence;
#[cfg(unix)]
pub(crate) mod forks;
mod guide;
mod holds;
mod input;
mod keep;
mod liveness;
mod local;
pub(crate) mod own_runtime;
mod reserved;
mod run;
mod runtime;
mod safety;
mod sets;
#[cfg(unix)]
mod signals;
mod unpolled;
mod unusable;
mod views;
mod watches;
mod watching;

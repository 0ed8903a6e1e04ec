//! The Metaparticle/Sync HTTP protocol on the msync engine: cluster-wide locks for every other language.
//!
//! Clients talk to `localhost` and own nothing but their beats; the sidecar holds their locks. Data walks one way:
//! [`front`] (bytes, limits) -> [`server`] (`tiny_http`) -> [`api`] (pure protocol) -> [`session`] (what a beat means).

pub mod api;
pub mod check;
pub mod clock;
pub mod config;
pub mod engine;
pub mod front;
pub mod janitor;
pub mod launch;
pub mod metrics;
pub mod run;
pub mod server;
pub mod session;
pub mod sidecar;
pub mod sparse;
pub mod store;
pub mod witness;

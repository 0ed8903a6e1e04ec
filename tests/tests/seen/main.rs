//! What people see of msync: its log, its figures, its Events, its health, and the `Lock` resource in a table.
#![allow(clippy::disallowed_methods, reason = "tokio's clock is the injected one here, and servers run in real time")]

mod drill;
mod events;
mod figures;
mod health;
mod listeners;
mod sidecar;
mod story;
mod table;

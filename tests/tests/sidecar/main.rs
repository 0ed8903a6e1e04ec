//! The compat sidecar: whole, as a process of its own over real stores, and its sessions in paused time.
// Processes, sockets and servers run in real time: there is no clock to inject. The modules in paused time say so.
#![allow(clippy::disallowed_methods)]

mod beats;
mod cluster;
mod contract;
mod election;
mod figures;
mod hostile;
mod http;
mod memory;
mod page;
mod process;
mod python;
mod recorded;
mod speed;
mod start;
mod waits;

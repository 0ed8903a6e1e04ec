//! Locks: the promises of the design, on the memory store with a paused clock and on a real API server.
#![allow(missing_docs, reason = "a test binary")]
// The tests on a real API server run in real time: there is no clock to inject.
#![allow(clippy::disallowed_methods)]

mod cluster;
mod memory;

//! Locks: the promises of the design, on the memory store with a paused clock and on a real API server.
#![allow(missing_docs, reason = "a test binary")]

mod memory;

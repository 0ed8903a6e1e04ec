//! Elections on a real API server: take-over, resignation, and a leader that was frozen.
#![allow(missing_docs, reason = "a test binary")]
// Processes and servers run in real time: there is no clock to inject.
#![allow(clippy::disallowed_methods)]

mod candidate;
mod faults;
mod observe;
mod processes;
mod requests;

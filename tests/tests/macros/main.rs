//! The macros: what each option does, on the memory store in paused time, and between processes on a real API server.
#![allow(missing_docs, reason = "a test binary")]
#![allow(clippy::disallowed_methods, reason = "processes run in real time; on the memory store tokio's is paused")]

mod abort;
mod args;
mod cluster;
mod default;
mod leader;
mod memory;

use std::time::Duration;

/// Long enough for a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(60);

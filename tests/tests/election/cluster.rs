//! Elections on a real API server: take-over, resignation, and a leader that was frozen.

mod calls;
mod candidate;
mod faults;
mod observe;
mod peers;
mod pod_label;
mod processes;
mod requests;
mod standing;

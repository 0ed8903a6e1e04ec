//! The command line: real processes, on pipes and on pseudo-terminals, signalled, stopped, killed and cut off.
// Processes run in real time: there is no clock to inject.
#![allow(clippy::disallowed_methods)]

mod alerts;
mod bugs;
mod chart;
mod child;
mod cluster;
mod ends;
mod image;
mod leases;
mod memory;
mod operations;
mod screen;
mod terminal;
mod verbs;

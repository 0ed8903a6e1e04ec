//! The figures that msync gives: their names, what they count, in what, and by what they are told apart. One table, which
//! both collectors register from and the operations page shows.

use crate::LossReason;

/// What a hold that was not given back has ended by.
pub const LOSSES: [LossReason; 6] = [
    LossReason::Deadline,
    LossReason::Refused,
    LossReason::TakenOver,
    LossReason::Deleted,
    LossReason::MaxHold,
    LossReason::RuntimeEnded,
];

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name, as Prometheus shows it.
    pub name: &'static str,
    /// `gauge`, `counter` or `histogram`.
    pub kind: &'static str,
    /// What it is counted in.
    pub unit: &'static str,
    /// What tells its series apart.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Bounds of the buckets of durations, in seconds: from a lock that is free to a wait of ten minutes.
#[cfg(any(feature = "metrics", feature = "prometheus-client"))]
pub(super) const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 600.0];

const fn figure(
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Figure {
    Figure { name, kind, unit, labels, help }
}

pub(super) const MASTER: Figure = figure(
    "leader_election_master_status",
    "gauge",
    "0 or 1",
    &["name"],
    "Whether this process leads the election (as client-go names it)",
);
pub(super) const SLOWPATH: Figure = figure(
    "leader_election_slowpath_total",
    "counter",
    "renewals",
    &["name"],
    "Renewals of a leadership that did not succeed at once (as client-go names it)",
);
pub(super) const ACQUIRE: Figure = figure(
    "msync_acquire_seconds",
    "histogram",
    "seconds",
    &["name", "outcome"],
    "Time that acquisitions and campaigns waited, by how it ended",
);
pub(super) const HELD: Figure =
    figure("msync_held", "gauge", "locks", &["name"], "Locks and leaderships that this process has now");
pub(super) const WAITING: Figure = figure(
    "msync_waiting",
    "gauge",
    "acquisitions",
    &["name"],
    "Acquisitions and campaigns that wait in this process now",
);
pub(super) const LOST: Figure = figure(
    "msync_lost_total",
    "counter",
    "locks",
    &["name", "reason"],
    "Locks and leaderships that this process has lost before it gave them back",
);
pub(super) const RENEWALS: Figure =
    figure("msync_renewals_total", "counter", "renewals", &["outcome"], "Renewals of what this process holds");
pub(super) const API: Figure = figure(
    "msync_api_seconds",
    "histogram",
    "seconds",
    &["verb", "outcome"],
    "Time that calls about single locks took, by how they ended; watches and lists are not among them",
);

/// All of them.
pub const FIGURES: [Figure; 8] = [MASTER, SLOWPATH, ACQUIRE, HELD, WAITING, LOST, RENEWALS, API];

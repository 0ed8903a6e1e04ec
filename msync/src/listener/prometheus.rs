//! Figures in a registry of the `prometheus-client` crate: for programs that have one.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

use super::{
    Answer, Figure, Listener, Loss, Renewal, Subject, Verb, Wait,
    figures::{ACQUIRE, API, HELD, LOSSES, LOST, MASTER, RENEWALS, SECONDS, SLOWPATH, WAITING},
    names::Names,
};
use crate::{FencingToken, LossReason};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    name: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reasoned {
    name: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    verb: &'static str,
    outcome: &'static str,
}

/// Keeps the figures of the operations page in a registry. One serves any number of clients; it is made once for each
/// registry, and shared by an [`Arc`](std::sync::Arc).
///
/// ```
/// use std::sync::Arc;
/// use msync::listener::Prometheus;
///
/// let mut registry = prometheus_client::registry::Registry::default();
/// let figures = Arc::new(Prometheus::register(&mut registry));
/// let client = msync::Client::builder().listener(figures).memory(&msync::MemoryStore::new()).build();
/// ```
#[derive(Debug)]
pub struct Prometheus {
    names: Mutex<Names>,
    master: Family<Named, Gauge>,
    slowpath: Family<Named, Counter>,
    acquire: Family<Ended, Histogram, fn() -> Histogram>,
    held: Family<Named, Gauge>,
    waiting: Family<Named, Gauge>,
    lost: Family<Reasoned, Counter>,
    renewals: Family<Outcome, Counter>,
    api: Family<Call, Histogram, fn() -> Histogram>,
}

// === impl Prometheus ===

impl Prometheus {
    /// Registers the figures.
    pub fn register(registry: &mut Registry) -> Self {
        let figures = Self {
            names: Mutex::default(),
            master: Family::default(),
            slowpath: Family::default(),
            acquire: Family::new_with_constructor(histogram),
            held: Family::default(),
            waiting: Family::default(),
            lost: Family::default(),
            renewals: Family::default(),
            api: Family::new_with_constructor(histogram),
        };
        add(registry, &MASTER, &figures.master);
        add(registry, &SLOWPATH, &figures.slowpath);
        add(registry, &ACQUIRE, &figures.acquire);
        add(registry, &HELD, &figures.held);
        add(registry, &WAITING, &figures.waiting);
        add(registry, &LOST, &figures.lost);
        add(registry, &RENEWALS, &figures.renewals);
        add(registry, &API, &figures.api);
        for end in [Renewal::Done, Renewal::Refused, Renewal::Denied, Renewal::Failed] {
            // A figure that appears with its first event hides that event from a rate.
            drop(figures.renewals.get_or_create(&Outcome { outcome: end.as_str() }));
        }
        figures
    }

    fn name(&self, subject: &Subject<'_>) -> String {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).stand_for(subject).to_owned()
    }

    fn named(&self, subject: &Subject<'_>) -> Named {
        Named { name: self.name(subject) }
    }

    /// Makes the counters of what may become of a hold: one that appears with its first event hides that event from a rate.
    fn begin_at_zero(&self, named: &Named, subject: &Subject<'_>) {
        for reason in LOSSES.map(LossReason::as_str) {
            drop(self.lost.get_or_create(&Reasoned { name: named.name.clone(), reason }));
        }
        if subject.is_election() {
            drop(self.slowpath.get_or_create(named));
        }
    }
}

/// The crate ends the names of counters itself.
fn add(registry: &mut Registry, figure: &Figure, metric: &(impl Metric + Clone)) {
    let name = figure.name.strip_suffix("_total").unwrap_or(figure.name);
    registry.register(name, figure.help, metric.clone());
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Listener for Prometheus {
    fn waiting(&self, subject: &Subject<'_>) {
        self.waiting.get_or_create(&self.named(subject)).inc();
    }

    fn waited(&self, subject: &Subject<'_>, end: Wait, after: Duration) {
        let name = self.name(subject);
        self.waiting.get_or_create(&Named { name: name.clone() }).dec();
        self.acquire.get_or_create(&Ended { name, outcome: end.as_str() }).observe(after.as_secs_f64());
    }

    fn acquired(&self, subject: &Subject<'_>, _: FencingToken) {
        let named = self.named(subject);
        if self.held.get(&named).is_none() {
            self.begin_at_zero(&named, subject);
        }
        self.held.get_or_create(&named).inc();
    }

    fn released(&self, subject: &Subject<'_>, _: FencingToken, _: Duration) {
        self.held.get_or_create(&self.named(subject)).dec();
    }

    fn lost(&self, subject: &Subject<'_>, loss: &Loss<'_>) {
        let name = self.name(subject);
        self.held.get_or_create(&Named { name: name.clone() }).dec();
        self.lost.get_or_create(&Reasoned { name, reason: loss.reason.as_str() }).inc();
    }

    fn renewed(&self, subject: &Subject<'_>, end: Renewal) {
        self.renewals.get_or_create(&Outcome { outcome: end.as_str() }).inc();
        if subject.is_election() && end != Renewal::Done {
            self.slowpath.get_or_create(&self.named(subject)).inc();
        }
    }

    fn leading(&self, subject: &Subject<'_>, leads: bool) {
        self.master.get_or_create(&self.named(subject)).set(i64::from(leads));
    }

    fn called(&self, verb: Verb, answer: Answer, took: Duration) {
        let call = Call { verb: verb.as_str(), outcome: answer.as_str() };
        self.api.get_or_create(&call).observe(took.as_secs_f64());
    }
}

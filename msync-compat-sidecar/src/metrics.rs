//! The sidecar's figures, as Prometheus reads them.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::Registry;

/// From a beat that memory answers to a wait for the API server.
const SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Ends a text of figures.
const END: &str = "# EOF\n";

/// Why a lock is no longer held for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The client released it.
    Released,
    /// The client did not beat in time.
    Silent,
    /// It was lost: taken over, deleted by hand, or not renewed in time.
    Lost,
}

impl EncodeLabelValue for Ended {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let text = match self {
            Self::Released => "released",
            Self::Silent => "silent",
            Self::Lost => "lost",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

/// What kind of request was answered, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// The method; `other` for what no route knows.
    pub method: &'static str,
    /// Whether the client asked to wait.
    pub wait: bool,
    /// The status code.
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: Ended,
}

/// The figures of one sidecar.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    held: Gauge,
    waiting: Gauge,
    acquisitions: Counter,
    beats: Counter,
    ended: Family<Reason, Counter>,
    requests: Family<Answered, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Figures that begin at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("msync_sidecar");
        let (held, waiting) = (Gauge::default(), Gauge::default());
        let (acquisitions, beats) = (Counter::default(), Counter::default());
        let ended = Family::<Reason, Counter>::default();
        let requests = Family::new_with_constructor(histogram as fn() -> Histogram);
        registry.register("locks_held", "Locks held for clients", held.clone());
        registry.register("requests_waiting", "Requests that wait for a lock", waiting.clone());
        registry.register("acquisitions", "Locks that clients were given", acquisitions.clone());
        registry.register("beats", "Requests that kept a lock", beats.clone());
        registry.register("holds_ended", "Locks that clients have no longer", ended.clone());
        registry.register("request_seconds", "Time to the answer", requests.clone());
        for reason in [Ended::Released, Ended::Silent, Ended::Lost] {
            // A figure that appears with its first event hides that event from a rate.
            drop(ended.get_or_create(&Reason { reason }));
        }
        Self { registry, held, waiting, acquisitions, beats, ended, requests }
    }

    /// A client was given a lock.
    pub fn acquired(&self) {
        self.acquisitions.inc();
    }

    /// A client keeps its lock.
    pub fn beat(&self) {
        self.beats.inc();
    }

    /// A client has a lock no longer.
    pub fn ended(&self, reason: Ended) {
        self.ended.get_or_create(&Reason { reason }).inc();
    }

    /// A request was answered, after so long.
    pub fn answered(&self, answered: &Answered, took: Duration) {
        self.requests.get_or_create(answered).observe(took.as_secs_f64());
    }

    /// All figures, with what is held and awaited now, and those of the engine, which are a text of the same format.
    ///
    /// # Panics
    /// Never: writing to a string does not fail.
    pub fn text(&self, held: usize, waiting: usize, engine: &str) -> String {
        let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.held.set(count(held));
        self.waiting.set(count(waiting));
        let mut text = engine.strip_suffix(END).unwrap_or(engine).to_owned();
        encode(&mut text, &self.registry).expect("writing to a string never fails");
        text
    }
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_there_from_the_start() {
        let metrics = Metrics::new();
        let before = metrics.text(0, 0, "# TYPE msync_held gauge\n# EOF\n");
        for line in [
            "msync_sidecar_locks_held 0",
            "msync_sidecar_requests_waiting 0",
            "msync_sidecar_acquisitions_total 0",
            "msync_sidecar_beats_total 0",
            "msync_sidecar_holds_ended_total{reason=\"lost\"} 0",
        ] {
            assert!(before.lines().any(|found| found == line), "{line} in {before}");
        }
        assert!(before.starts_with("# TYPE msync_held gauge\n") && before.ends_with(END));
        assert_eq!(before.matches(END).count(), 1, "{before}");
    }

    #[test]
    fn what_happens_is_counted() {
        let metrics = Metrics::new();
        metrics.acquired();
        metrics.beat();
        metrics.beat();
        metrics.ended(Ended::Silent);
        metrics.answered(&Answered { method: "PUT", wait: true, status: 200 }, Duration::from_millis(2));
        let text = metrics.text(3, 4, "");
        for line in [
            "msync_sidecar_locks_held 3",
            "msync_sidecar_requests_waiting 4",
            "msync_sidecar_acquisitions_total 1",
            "msync_sidecar_beats_total 2",
            "msync_sidecar_holds_ended_total{reason=\"silent\"} 1",
            "msync_sidecar_request_seconds_count{method=\"PUT\",wait=\"true\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}

//! Figures by the `metrics` facade: for programs that have an exporter of it.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::{
    Answer, Figure, Listener, Loss, Renewal, Subject, Verb, Wait,
    figures::{ACQUIRE, API, FIGURES, HELD, LOSSES, LOST, MASTER, RENEWALS, SLOWPATH, WAITING},
    names::Names,
};
use crate::{FencingToken, LossReason};

/// Gives the figures of the operations page to whatever recorder the `metrics` facade has. Durations are recorded in
/// seconds; the bounds of buckets, if the recorder has any, are its own.
///
/// ```
/// let client = msync::Client::builder()
///     .listener(msync::listener::Facade::new())
///     .memory(&msync::MemoryStore::new())
///     .build();
/// ```
#[derive(Debug)]
pub struct Facade {
    names: Mutex<Names>,
    /// Those whose counters are there.
    begun: Mutex<HashSet<String>>,
}

// === impl Facade ===

impl Default for Facade {
    fn default() -> Self {
        Self::new()
    }
}

impl Facade {
    /// Describes the figures to the recorder that is there now.
    pub fn new() -> Self {
        for Figure { name, kind, unit, help, .. } in FIGURES {
            let unit = if unit == "seconds" { Unit::Seconds } else { Unit::Count };
            match kind {
                "gauge" => describe_gauge!(name, unit, help),
                "histogram" => describe_histogram!(name, unit, help),
                _ => describe_counter!(name, unit, help),
            }
        }
        Self { names: Mutex::default(), begun: Mutex::default() }
    }

    fn name(&self, subject: &Subject<'_>) -> String {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).stand_for(subject).to_owned()
    }

    /// Makes the counters of what may become of a hold: one that appears with its first event hides that event from a rate.
    fn begin_at_zero(&self, name: &str, subject: &Subject<'_>) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.contains(name) {
            return;
        }
        begun.insert(name.to_owned());
        for reason in LOSSES.map(LossReason::as_str) {
            counter!(LOST.name, "name" => name.to_owned(), "reason" => reason).increment(0);
        }
        if subject.is_election() {
            counter!(SLOWPATH.name, "name" => name.to_owned()).increment(0);
        }
    }
}

impl Listener for Facade {
    fn waiting(&self, subject: &Subject<'_>) {
        gauge!(WAITING.name, "name" => self.name(subject)).increment(1);
    }

    fn waited(&self, subject: &Subject<'_>, end: Wait, after: Duration) {
        gauge!(WAITING.name, "name" => self.name(subject)).decrement(1);
        histogram!(ACQUIRE.name, "name" => self.name(subject), "outcome" => end.as_str()).record(after);
    }

    fn acquired(&self, subject: &Subject<'_>, _: FencingToken) {
        let name = self.name(subject);
        self.begin_at_zero(&name, subject);
        gauge!(HELD.name, "name" => name).increment(1);
    }

    fn released(&self, subject: &Subject<'_>, _: FencingToken, _: Duration) {
        gauge!(HELD.name, "name" => self.name(subject)).decrement(1);
    }

    fn lost(&self, subject: &Subject<'_>, loss: &Loss<'_>) {
        gauge!(HELD.name, "name" => self.name(subject)).decrement(1);
        counter!(LOST.name, "name" => self.name(subject), "reason" => loss.reason.as_str()).increment(1);
    }

    fn renewed(&self, subject: &Subject<'_>, end: Renewal) {
        counter!(RENEWALS.name, "outcome" => end.as_str()).increment(1);
        if subject.is_election() && end != Renewal::Done {
            counter!(SLOWPATH.name, "name" => self.name(subject)).increment(1);
        }
    }

    fn leading(&self, subject: &Subject<'_>, leads: bool) {
        gauge!(MASTER.name, "name" => self.name(subject)).set(i32::from(leads));
    }

    fn called(&self, verb: Verb, answer: Answer, took: Duration) {
        histogram!(API.name, "verb" => verb.as_str(), "outcome" => answer.as_str()).record(took);
    }
}

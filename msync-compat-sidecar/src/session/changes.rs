//! Counts how often each lock was seen to change hands, so that a client can say what it has seen. Pure but for the
//! channel that wakes those who wait.

use std::collections::HashMap;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::{Recent, Record};
use crate::api::{Name, Version};

/// Who has a lock, as far as a change of it is news. Renewals and queues are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    /// There is no record.
    Absent,
    /// Nobody.
    Free,
    /// A client of this sidecar, by this fencing token.
    Own(u64),
    /// Somebody else, by this term.
    Other(u64),
}

/// What was last seen of one lock.
#[derive(Debug)]
struct Told {
    holding: Holding,
    number: u64,
    /// The first number that was given since this lock is remembered.
    first: u64,
}

/// The states of all locks, as this run of this sidecar has counted them.
pub(super) struct Changes {
    run: u32,
    last: u64,
    told: Recent<Told>,
    topics: HashMap<Name, Topic>,
}

/// A lock that some requests wait to change.
struct Topic {
    newest: watch::Sender<u64>,
    watchers: usize,
    task: Option<AbortHandle>,
}

impl Holding {
    pub(super) fn of(record: &Record) -> Self {
        if record.term == 0 { Self::Free } else { Self::Other(record.term) }
    }
}

impl Changes {
    pub(super) fn new(run: u32, capacity: usize) -> Self {
        Self { run, last: 0, told: Recent::new(capacity), topics: HashMap::new() }
    }

    /// The version of what is seen now; a new one if it is news, which is told to those who wait for it.
    pub(super) fn note(&mut self, name: &Name, holding: Holding) -> Version {
        let number = match self.told.recall(name) {
            Some(told) if told.holding == holding => told.number,
            Some(told) => {
                self.last += 1;
                (told.holding, told.number) = (holding, self.last);
                self.last
            }
            None => {
                self.last += 1;
                self.told.remember(name, Told { holding, number: self.last, first: self.last });
                self.last
            }
        };
        if let Some(topic) = self.topics.get(name) {
            topic.newest.send_if_modified(|newest| std::mem::replace(newest, number) != number);
        }
        Version { run: self.run, number }
    }

    /// Says whether a version is one of this lock's, as far as it is remembered.
    pub(super) fn knows(&mut self, name: &Name, version: Version) -> bool {
        let told = self.told.recall(name).filter(|_| version.run == self.run);
        told.is_some_and(|told| (told.first..=told.number).contains(&version.number))
    }

    /// Joins those who wait for a change; the first of them is told to start the task that looks.
    pub(super) fn subscribe(&mut self, name: &Name) -> (watch::Receiver<u64>, bool) {
        let known = self.told.recall(name).map_or(0, |told| told.number);
        let new = || Topic { newest: watch::Sender::new(known), watchers: 0, task: None };
        let topic = self.topics.entry(name.clone()).or_insert_with(new);
        topic.watchers += 1;
        (topic.newest.subscribe(), topic.watchers == 1)
    }

    /// The task that looks for changes of this lock, for as long as anybody waits.
    pub(super) fn started(&mut self, name: &Name, task: AbortHandle) {
        match self.topics.get_mut(name) {
            Some(topic) => topic.task = Some(task),
            None => task.abort(),
        }
    }

    pub(super) fn unsubscribe(&mut self, name: &Name) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.watchers -= 1;
        if topic.watchers > 0 {
            return;
        }
        if let Some(task) = self.topics.remove(name).and_then(|topic| topic.task) {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn only_news_makes_a_new_version() {
        let mut changes = Changes::new(7, 10);
        let x = name("x");
        let states = [Holding::Absent, Holding::Own(1), Holding::Own(2), Holding::Free, Holding::Other(2)];
        let versions: Vec<_> = states.iter().map(|holding| changes.note(&x, *holding)).collect();
        assert!(versions.windows(2).all(|pair| pair[0].number < pair[1].number), "{versions:?}");
        assert_eq!(changes.note(&x, Holding::Other(2)), versions[4]);
        assert_ne!(changes.note(&x, Holding::Free), versions[3], "free once more is news");
    }

    #[test]
    fn versions_of_other_runs_and_of_what_was_forgotten_are_not_known() {
        let mut changes = Changes::new(7, 1);
        let old = changes.note(&name("x"), Holding::Free);
        let new = changes.note(&name("x"), Holding::Own(1));
        assert!(changes.knows(&name("x"), old) && changes.knows(&name("x"), new));
        assert!(!changes.knows(&name("x"), Version { run: 8, ..new }));
        assert!(!changes.knows(&name("x"), Version { number: new.number + 1, ..new }));
        assert!(!changes.knows(&name("y"), new));
        changes.note(&name("y"), Holding::Free);
        changes.note(&name("x"), Holding::Own(1));
        assert!(!changes.knows(&name("x"), old), "forgotten, and begun anew");
    }

    #[test]
    fn who_waits_is_woken_by_news_only() {
        let mut changes = Changes::new(7, 10);
        changes.note(&name("x"), Holding::Free);
        let (mut waiting, first) = changes.subscribe(&name("x"));
        assert!(first && !changes.subscribe(&name("x")).1);
        changes.note(&name("x"), Holding::Own(1));
        assert!(waiting.has_changed().unwrap());
        waiting.mark_unchanged();
        changes.note(&name("x"), Holding::Own(1));
        assert!(!waiting.has_changed().unwrap());
        changes.unsubscribe(&name("x"));
        assert!(waiting.has_changed().is_ok(), "another still waits");
        changes.unsubscribe(&name("x"));
        assert!(waiting.has_changed().is_err() && changes.topics.is_empty());
    }
}

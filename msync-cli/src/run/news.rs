//! What is told while waiting: who has the lock, which place in the queue this is, and for how long already.
//!
//! On a terminal one line that is written over every second; elsewhere a line when something has changed, and one now and
//! then, so that a log shows that it is still waiting.

use std::time::Duration;

use msync::{
    clock::{BootClock, Clock, Moment},
    unstable::record::{EngineId, Record},
};

use super::{hold::Wish, nap};
use crate::talk::Talk;

/// Between two looks at what this process knows: none of them costs a request.
const LOOK: Duration = Duration::from_millis(250);
/// Who gets the lock at once, as is usual, wants to read nothing about waiting.
const PATIENCE: Duration = Duration::from_millis(500);
/// A log is told at least so often.
const REMINDER: Duration = Duration::from_secs(60);

pub(super) struct News<'a> {
    wish: &'a Wish,
    begun: Moment,
    told: Option<(Wait, Moment)>,
}

/// How the waiting goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wait {
    /// Nothing was heard of the cluster.
    Silence,
    /// Nobody has the lock just now.
    Free,
    Held {
        by: String,
        place: Option<usize>,
        of: usize,
    },
}

// === impl News ===

impl<'a> News<'a> {
    pub(super) fn new(wish: &'a Wish) -> Self {
        Self { wish, begun: BootClock.now(), told: None }
    }

    /// Waits a little, then tells what there is to tell.
    pub(super) async fn tell(&mut self, talk: &mut Talk) {
        nap(LOOK).await;
        let now = BootClock.now();
        let waited = now.since(self.begun);
        if waited < PATIENCE {
            return;
        }
        let seen = self.wish.view.newest().await;
        let wait = Wait::of(seen.as_ref().map(|seen| &seen.record), self.wish.identity());
        let line = wait.line(self.wish.view.name().as_str(), waited);
        if talk.is_live() {
            talk.show(&line);
        } else if self.told.as_ref().is_none_or(|(told, at)| *told != wait || now.since(*at) >= REMINDER) {
            self.told = Some((wait, now));
            talk.say(&line);
        }
    }
}

// === impl Wait ===

impl Wait {
    fn of(seen: Option<&Record>, identity: &str) -> Self {
        let Some(record) = seen else { return Self::Silence };
        if record.is_free() {
            return Self::Free;
        }
        let me = EngineId::from_text(identity);
        let place = record.waiters.iter().position(|entry| entry.is_of(&me)).map(|index| index + 1);
        Self::Held { by: record.engine.owner().to_owned(), place, of: record.waiters.len() }
    }

    /// The holder's name, which may be long, stands last: that is what a narrow terminal cuts.
    fn line(&self, name: &str, waited: Duration) -> String {
        let seconds = waited.as_secs();
        match self {
            Self::Silence => format!("waiting for lock {name}, {seconds} s: no answer from the cluster yet"),
            Self::Free => format!("waiting for lock {name}, {seconds} s: it is free now"),
            Self::Held { by, place: None, of } => {
                format!("waiting for lock {name}, {seconds} s: {of} in the queue, held by {by}")
            }
            Self::Held { by, place: Some(place), of } => {
                format!("waiting for lock {name}, {seconds} s: place {place} of {of}, held by {by}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use msync::{
        clock::Wall,
        unstable::record::{Claim, Term},
    };

    use super::*;

    fn claim(engine: &str, term: u64) -> Claim {
        let engine = EngineId::from_text(engine);
        Claim { engine, term: Term(term), ttl: Duration::from_secs(15), instant: true }
    }

    #[test]
    fn the_line_says_who_holds_and_which_place_this_is() {
        let waiters = vec![claim("b.1", 2).entry(Wall::default()), claim("me.1", 3).entry(Wall::default())];
        let record = Record { engine: EngineId::from_text("web-1.9f"), term: Term(1), waiters, ..Record::default() };
        let line = |me| Wait::of(Some(&record), me).line("x", Duration::from_millis(2900));
        assert_eq!(line("me.1"), "waiting for lock x, 2 s: place 2 of 2, held by web-1");
        assert_eq!(line("other.1"), "waiting for lock x, 2 s: 2 in the queue, held by web-1");
    }

    #[test]
    fn silence_is_told_from_a_free_lock() {
        assert_eq!(Wait::of(None, "me.1"), Wait::Silence);
        assert_eq!(Wait::of(Some(&Record::default()), "me.1"), Wait::Free);
    }
}

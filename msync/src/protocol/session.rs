//! Sessions: one heartbeat for any number of locks (design 4.10).
//!
//! A session is a lock of its own, `session.<T>`, that an engine holds under term T. A lock that stands under T is held as
//! long as T is: it has no renewals of its own. So a challenger must know that T is dead, which only its absence shows.
//!
//! Here is what keepers know of their engine's own sessions, as [shelters](Shelter), and of foreign ones, as
//! [verdicts](Verdict).

use std::time::Duration;

use crate::{LossReason, Timing, clock::Moment, record::Term};

/// So many locks of one timing must be held for a session to pay.
const FEWEST: usize = 2;

/// How long the inbox may have shown nothing, at least, before a session is renewed no more: what a watch is given.
const DEAF: Duration = Duration::from_secs(90);

/// Later than any deadline.
pub(super) const NEVER: Moment = Moment::from_nanos(u64::MAX);

/// What a keeper knows of a session of its own engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shelter {
    /// Its term, T.
    pub term: Term,
    /// The timing that it is kept alive by, and that the locks under it have.
    pub timing: Timing,
    /// Up to when this engine believes in it: `sent + ttl - margin` of its newest beat that was seen.
    pub deadline: Moment,
    /// Why it is over: final.
    pub lost: Option<LossReason>,
}

/// What an engine wants to know of the session that a lock stands under which it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ask {
    /// The session.
    pub session: Term,
    /// It is to be watched, for who waits is one of the next; others look now and then.
    pub watch: bool,
    /// Whoever asks does not wait for long.
    pub hasty: bool,
}

/// What is known of the life of a foreign session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It has shown a sign of life, or its date promises one.
    Alive,
    /// It has shown none for its ttl.
    Due,
    /// It is not there: for ever.
    Dead,
}

// === impl Shelter ===

impl Shelter {
    /// Says whether locks of a timing may be put under it now: it is alive, and time for a call is left.
    pub fn admits(&self, timing: &Timing, now: Moment) -> bool {
        self.lost.is_none() && self.timing == *timing && self.deadline.since(now) >= timing.attempt_timeout()
    }

    /// Returns up to when what stands under it may be believed. One that was seen to be gone ends it at once.
    fn bound(&self) -> Moment {
        match self.lost {
            None | Some(LossReason::Deadline | LossReason::Refused) => self.deadline,
            Some(_) => Moment::default(),
        }
    }
}

/// Finds the session that a new hold, or one that is due, goes under; none where it is to renew by itself.
pub fn shelter(own: &[Shelter], timing: &Timing, now: Moment) -> Term {
    own.iter().find(|shelter| shelter.admits(timing, now)).map_or(Term::NONE, |shelter| shelter.term)
}

/// Says whether a session is to be opened, by how many locks of its timing are held and when the inbox was heard.
pub fn pays(held: usize, heard: Moment, ttl: Duration, now: Moment) -> bool {
    held >= FEWEST && may_beat(heard, ttl, now)
}

/// Says whether a session may be renewed: only by who would hear of a lock that stands under it and that nobody wants.
pub fn may_beat(heard: Moment, ttl: Duration, now: Moment) -> bool {
    now.since(heard) <= DEAF.max(2 * ttl)
}

/// Returns up to when a hold may be believed by one write: by its own beat, or by the session that it stands under. A session
/// that is none of ours, or of ours no more, proves nothing.
pub(super) fn bound(under: Term, beat: Moment, own: &[Shelter]) -> Moment {
    if under.is_none() {
        return beat;
    }
    find(under, own).map_or(Moment::default(), Shelter::bound)
}

pub(super) fn find(term: Term, own: &[Shelter]) -> Option<&Shelter> {
    own.iter().find(|shelter| shelter.term == term)
}

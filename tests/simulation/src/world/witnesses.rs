//! What a process knows of the sessions of others: one view and one watch each, however many locks are waited for.

use std::{collections::BTreeMap, time::Duration};

use msync::unstable::protocol::{Ask, Call, Event, Foreign, Glance, Verdict};

use super::{Happening, World, calls::Desk};
use crate::{
    network::{hop, long},
    oracle::Spot,
    plan::MILLI,
    server::Commit,
};

/// A short wait looks at no session.
const SHORT_WAIT: Duration = Duration::from_millis(250);
/// How long one is kept in mind that nobody asks for.
const KEPT: u64 = 120_000 * MILLI;
/// How long a call may take.
const CALL: Duration = Duration::from_secs(3);

/// What is known of a session of another process.
#[derive(Debug)]
pub(crate) struct Witness {
    foreign: Foreign,
    /// Which locks ask.
    asks: BTreeMap<usize, Ask>,
    verdict: Verdict,
    /// The short wait is over.
    begun: bool,
    call: Option<u64>,
    wake: u64,
    watch: Option<u64>,
}

/// What a glimpse of a session must still be true of to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing: somebody asks, or asks no more.
    None,
    /// The short wait is over.
    Waited,
    /// This watch is still open.
    Watch(u64),
    /// It is, and starts over.
    Relist(u64),
    /// This is the newest timer.
    Timer(u64),
    /// Nobody asks any more.
    Unwanted,
}

// === impl Witness ===

impl Witness {
    fn is_hasty(&self) -> bool {
        self.asks.values().any(|ask| ask.hasty)
    }

    fn admits(&mut self, proof: Proof) -> bool {
        match proof {
            Proof::None => self.begun |= self.is_hasty(),
            Proof::Waited => self.begun = true,
            Proof::Watch(watch) | Proof::Relist(watch) if self.watch != Some(watch) => return false,
            Proof::Timer(wake) if self.wake != wake => return false,
            Proof::Watch(_) | Proof::Relist(_) | Proof::Timer(_) | Proof::Unwanted => {}
        }
        self.begun
    }
}

// === impl World: witnesses ===

impl World {
    /// Returns where a process notes which call it has in flight, if it still minds.
    pub(super) fn flight(&mut self, who: usize, desk: Desk) -> Option<&mut Option<u64>> {
        match desk {
            Desk::Keeper(what) => Some(&mut self.seat((who, what)).call),
            Desk::Witness(what) => self.witnesses(who).get_mut(&what).map(|witness| &mut witness.call),
        }
    }

    /// Says whether a call is one that a process has no right to.
    pub(super) fn is_forbidden(&self, who: usize, desk: Desk, call: &Call) -> bool {
        let forbidden = self.processes[who].sessions.as_ref().is_some_and(|sessions| sessions.forbidden);
        forbidden && matches!(desk, Desk::Witness(_)) && matches!(call, Call::Delete(_))
    }

    /// Asks what there is to know of a foreign session on behalf of a lock, or asks no more.
    pub(super) fn ask(&mut self, spot: Spot, ask: Option<Ask>) {
        let ((who, lock), life) = (spot, self.processes[spot.0].incarnation);
        let asked = std::mem::replace(&mut self.seat(spot).asked, ask);
        if asked == ask {
            return;
        }
        let object = |ask: Option<Ask>| ask.and_then(|ask| self.session(ask.session));
        let (old, new) = (object(asked), object(ask));
        if let Some(what) = old.filter(|_| old != new) {
            if let Some(witness) = self.witnesses(who).get_mut(&what) {
                witness.asks.remove(&lock);
            }
            self.soon(Happening::Glimpses { who, life, what, proof: Proof::None, glance: Glance::Tick });
        }
        let (Some(ask), Some(what)) = (ask, new) else { return };
        let known = self.witnesses(who).contains_key(&what);
        if !known {
            let foreign = Foreign::new(ask.session, self.rng.bits());
            let (asks, verdict) = (BTreeMap::new(), Verdict::default());
            let new = Witness { foreign, asks, verdict, begun: false, call: None, wake: 0, watch: None };
            self.witnesses(who).insert(what, new);
            let bides = self.processes[who].clock.true_span(SHORT_WAIT);
            self.later(bides, Happening::Glimpses { who, life, what, proof: Proof::Waited, glance: Glance::Tick });
        }
        let witness = self.witnesses(who).get_mut(&what).expect("just made, if there was none");
        let (first, verdict) = (witness.asks.insert(lock, ask).is_none(), witness.verdict);
        if known && first && verdict != Verdict::Unknown {
            let event = Event::Judged(ask.session, verdict);
            self.soon(Happening::Nudged { who, life, what: lock, event });
        }
        self.soon(Happening::Glimpses { who, life, what, proof: Proof::None, glance: Glance::Tick });
    }

    fn witnesses(&mut self, who: usize) -> &mut BTreeMap<usize, Witness> {
        &mut self.processes[who].sessions.as_mut().expect("who looks at sessions has some").witnesses
    }

    /// Something may be seen of a session.
    pub(super) fn glimpse(&mut self, spot: Spot, proof: Proof, glance: Glance) {
        let Some(witness) = self.witnesses(spot.0).get_mut(&spot.1) else { return };
        if proof == Proof::Unwanted && witness.asks.is_empty() && witness.call.is_none() {
            self.witnesses(spot.0).remove(&spot.1);
        } else if witness.admits(proof) {
            match proof {
                Proof::Relist(watch) => self.list(spot, watch),
                _ => self.judge(spot, glance),
            }
        }
    }

    /// Judges a session by what is seen of it.
    pub(super) fn judge(&mut self, spot: Spot, glance: Glance) {
        let ((who, what), at) = (spot, self.at);
        self.follow(spot);
        let process = &mut self.processes[who];
        let (now, life) = (process.clock.read(at), process.incarnation);
        let Some(witness) = process.sessions.as_mut().and_then(|sessions| sessions.witnesses.get_mut(&what)) else {
            return;
        };
        let told = self.trace.then(|| format!("{glance:?}"));
        witness.foreign.serve(!witness.asks.is_empty(), witness.watch.is_some());
        let step = witness.foreign.step(glance, now);
        let session = witness.foreign.session();
        let news = std::mem::replace(&mut witness.verdict, step.verdict) != step.verdict;
        let asks: Vec<usize> = witness.asks.keys().copied().collect();
        witness.wake += 1;
        let wake = step.wake.map(|wake| (witness.wake, process.clock.true_time(wake).saturating_sub(at)));
        if let Some(told) = told {
            println!("{:>9} us  p{who} sees of {what} {told}\n{:>14}-> {step:?}", at / 1000, "");
        }
        if let Some((wake, delay)) = wake {
            let proof = Proof::Timer(wake);
            self.later(delay, Happening::Glimpses { who, life, what, proof, glance: Glance::Tick });
        }
        if asks.is_empty() {
            self.later(KEPT, Happening::Glimpses { who, life, what, proof: Proof::Unwanted, glance: Glance::Tick });
        }
        for lock in asks.into_iter().filter(|_| news) {
            let event = Event::Judged(session, step.verdict);
            self.soon(Happening::Nudged { who, life, what: lock, event });
        }
        if let Some(call) = step.call {
            self.send(who, Desk::Witness(what), &call, CALL);
        }
    }

    /// Opens the watch of a session that somebody wants to watch, which begins with a list; or ends it.
    fn follow(&mut self, spot: Spot) {
        self.serial += 1;
        let serial = self.serial;
        let Some(witness) = self.witnesses(spot.0).get_mut(&spot.1) else { return };
        let watched = witness.asks.values().any(|ask| ask.watch);
        if watched == witness.watch.is_some() {
            return;
        }
        witness.watch = watched.then_some(serial);
        if watched {
            self.list(spot, serial);
        }
    }

    /// The watch of a session begins, or starts over: with what is there, or with what was there a while ago.
    fn list(&mut self, (who, what): Spot, watch: u64) {
        let (process, object) = (&self.processes[who], &self.objects[what]);
        let life = process.incarnation;
        let stale = !self.calm && self.rng.chance(self.plan.stale);
        let past = if stale { self.rng.below(self.plan.ttl) } else { 0 };
        let found = object.at(self.at.saturating_sub(past));
        let glance = found.map_or(Glance::Missing, Glance::Seen);
        let delay = hop(&mut self.rng);
        self.later(delay, Happening::Glimpses { who, life, what, proof: Proof::Watch(watch), glance });
    }

    /// Shows a write to whoever watches a session.
    pub(super) fn show(&mut self, spot: Spot, commit: &Commit) {
        let ((who, what), process) = (spot, &self.processes[spot.0]);
        let witness = process.sessions.as_ref().and_then(|sessions| sessions.witnesses.get(&what));
        let Some(watch) = witness.and_then(|witness| witness.watch) else { return };
        let (life, cut) = (process.incarnation, process.cut_until > self.at);
        if !self.calm && (cut || self.rng.chance(self.plan.event_lost)) {
            let delay = long(&self.plan, &mut self.rng);
            return self.later(
                delay,
                Happening::Glimpses { who, life, what, proof: Proof::Relist(watch), glance: Glance::Tick },
            );
        }
        let glance = commit.after.clone().map_or(Glance::Deleted(commit.version), Glance::Seen);
        let late = !self.calm && self.rng.chance(self.plan.event_late);
        let delay = if late { long(&self.plan, &mut self.rng) / 2 } else { hop(&mut self.rng) };
        self.later(delay, Happening::Glimpses { who, life, what, proof: Proof::Watch(watch), glance });
    }
}

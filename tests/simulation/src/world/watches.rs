//! Watches: an inbox for each engine, and a lock itself for those who ask for it. Each event may be lost or late.

use msync::unstable::protocol::Event;

use super::{Happening, World};
use crate::{
    network::{hop, long},
    oracle::Spot,
    server::Commit,
};

impl World {
    /// Tells everybody who watches of a write.
    pub(super) fn publish(&mut self, what: usize, commit: &Commit) {
        for who in 0..self.processes.len() {
            let process = &self.processes[who];
            if !process.up {
                continue;
            }
            let after = commit.after.as_ref();
            let was_mine = commit.before.as_ref().is_some_and(|record| record.engine == process.engine);
            let is_mine = after.filter(|snapshot| snapshot.record.engine == process.engine);
            let watch = process.seats.get(&what).and_then(|seat| seat.watch);
            if let Some(snapshot) = is_mine {
                self.tell((who, what), None, Event::Seen(snapshot.clone()));
            } else if was_mine {
                self.tell((who, what), None, Event::Disowned(commit.version));
            }
            if let Some(snapshot) = after.filter(|snapshot| snapshot.record.next == self.processes[who].engine) {
                self.tell((who, what), None, Event::Seen(snapshot.clone()));
            }
            if watch.is_some() {
                let event = after.map_or(Event::Deleted(commit.version), |snapshot| Event::Seen(snapshot.clone()));
                self.tell((who, what), watch, event);
            }
            self.show((who, what), commit);
        }
    }

    /// Follows the wish of a keeper to watch the lock itself: a new watch begins with what there is.
    pub(super) fn set_watch(&mut self, spot: Spot, wanted: bool) {
        if self.seat(spot).watch.is_some() == wanted {
            return;
        }
        self.serial += 1;
        let watch = wanted.then_some(self.serial);
        self.seat(spot).watch = watch;
        let found = self.objects[spot.1].server.stored().cloned();
        if let (Some(_), Some(snapshot)) = (watch, found) {
            self.tell(spot, watch, Event::Seen(snapshot));
        }
    }

    /// A process hears of something, unless its watch has ended in between.
    pub(super) fn told(&mut self, spot: Spot, watch: Option<u64>, event: Event) {
        if watch.is_none() && !self.hear(spot.0) {
            return;
        }
        if watch.is_none() || self.seat(spot).watch == watch {
            self.step(spot, event);
        }
    }

    /// The watches of a process start over: with what there is.
    pub(super) fn relist(&mut self, who: usize) {
        if self.processes[who].cut_until > self.at && !self.calm {
            let rest = self.processes[who].cut_until - self.at;
            let life = self.processes[who].incarnation;
            return self.later(rest, Happening::Relists { who, life });
        }
        self.reopen_inbox(who);
        for what in 0..self.objects.len() {
            let (process, found) = (&self.processes[who], self.objects[what].server.stored().cloned());
            let mine = found.clone().filter(|snapshot| snapshot.record.engine == process.engine);
            let Some(watch) = process.seats.get(&what).map(|seat| seat.watch).or(mine.as_ref().map(|_| None)) else {
                continue;
            };
            let (to, life) = (who, process.incarnation);
            let (there, here) = (hop(&mut self.rng), hop(&mut self.rng));
            let event = mine.map_or(Event::Unlisted, Event::Seen);
            self.later(there, Happening::Told { to, life, what, watch: None, event });
            if let (Some(_), Some(snapshot)) = (watch, found) {
                self.later(here, Happening::Told { to, life, what, watch, event: Event::Seen(snapshot) });
            }
        }
    }

    fn tell(&mut self, (who, what): Spot, watch: Option<u64>, event: Event) {
        let process = &self.processes[who];
        let (life, cut) = (process.incarnation, process.cut_until > self.at);
        if !self.calm && (cut || self.rng.chance(self.plan.event_lost)) {
            let deaf = self.plan.sessions && watch.is_none();
            if self.rng.chance(500) || deaf {
                let delay = long(&self.plan, &mut self.rng);
                self.later(delay, Happening::Relists { who, life });
            }
            if deaf {
                self.deafen(who);
            }
            return;
        }
        let late = !self.calm && self.rng.chance(self.plan.event_late);
        let delay = if late { long(&self.plan, &mut self.rng) / 2 } else { hop(&mut self.rng) };
        self.later(delay, Happening::Told { to: who, life, what, watch, event });
    }
}

//! Watches: an inbox for each engine, and the lock itself for those who ask for it. Each event may be lost or late.

use msync::unstable::protocol::Event;

use super::{Happening, World};
use crate::{
    network::{hop, long},
    server::Commit,
};

impl World {
    /// Tells everybody who watches of a write.
    pub(super) fn publish(&mut self, commit: &Commit) {
        for who in 0..self.processes.len() {
            let process = &self.processes[who];
            if !process.up {
                continue;
            }
            let after = commit.after.as_ref();
            let was_mine = commit.before.as_ref().is_some_and(|record| record.engine == process.engine);
            let is_mine = after.filter(|snapshot| snapshot.record.engine == process.engine);
            let watch = process.watch;
            if let Some(snapshot) = is_mine {
                self.tell(who, None, Event::Seen(snapshot.clone()));
            } else if was_mine {
                self.tell(who, None, Event::Disowned(commit.version));
            }
            if let Some(snapshot) = after.filter(|snapshot| snapshot.record.next == self.processes[who].engine) {
                self.tell(who, None, Event::Seen(snapshot.clone()));
            }
            if watch.is_some() {
                let event = after.map_or(Event::Deleted(commit.version), |snapshot| Event::Seen(snapshot.clone()));
                self.tell(who, watch, event);
            }
        }
    }

    /// Follows the wish of a keeper to watch the lock itself: a new watch begins with what there is.
    pub(super) fn set_watch(&mut self, who: usize, wanted: bool) {
        let process = &mut self.processes[who];
        if process.watch.is_some() == wanted {
            return;
        }
        self.serial += 1;
        process.watch = wanted.then_some(self.serial);
        let (watch, found) = (process.watch, self.server.stored().cloned());
        if let (Some(_), Some(snapshot)) = (watch, found) {
            self.tell(who, watch, Event::Seen(snapshot));
        }
    }

    /// A process hears of something, unless its watch has ended in between.
    pub(super) fn told(&mut self, who: usize, watch: Option<u64>, event: Event) {
        if watch.is_none() || self.processes[who].watch == watch {
            self.step(who, event);
        }
    }

    /// The watches of a process start over: with what there is.
    pub(super) fn relist(&mut self, who: usize) {
        if self.processes[who].cut_until > self.at && !self.calm {
            let rest = self.processes[who].cut_until - self.at;
            let life = self.processes[who].incarnation;
            return self.later(rest, Happening::Relists { who, life });
        }
        let process = &self.processes[who];
        let (life, watch, found) = (process.incarnation, process.watch, self.server.stored().cloned());
        let mine = found.clone().filter(|snapshot| snapshot.record.engine == process.engine);
        let (there, here) = (hop(&mut self.rng), hop(&mut self.rng));
        let event = mine.map_or(Event::Unlisted, Event::Seen);
        self.later(there, Happening::Told { to: who, life, watch: None, event });
        if let (Some(_), Some(snapshot)) = (watch, found) {
            self.later(here, Happening::Told { to: who, life, watch, event: Event::Seen(snapshot) });
        }
    }

    fn tell(&mut self, who: usize, watch: Option<u64>, event: Event) {
        let process = &self.processes[who];
        let (life, cut) = (process.incarnation, process.cut_until > self.at);
        if !self.calm && (cut || self.rng.chance(self.plan.event_lost)) {
            if self.rng.chance(500) {
                let delay = long(&self.plan, &mut self.rng);
                self.later(delay, Happening::Relists { who, life });
            }
            return;
        }
        let late = !self.calm && self.rng.chance(self.plan.event_late);
        let delay = if late { long(&self.plan, &mut self.rng) / 2 } else { hop(&mut self.rng) };
        self.later(delay, Happening::Told { to: who, life, watch, event });
    }
}

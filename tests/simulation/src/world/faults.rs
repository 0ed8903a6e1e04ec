//! Faults of whole processes, and their end.

use msync::unstable::protocol::Event;

use super::{Happening, World};
use crate::{network::long, plan::MILLI, process::Process};

impl World {
    /// Draws what goes wrong about now with a process.
    pub(super) fn disturb(&mut self, who: usize) {
        if self.rng.chance(self.plan.jump) {
            let millis = i64::try_from(self.rng.below(7_200_000)).unwrap_or(0) - 3_600_000;
            self.processes[who].clock.jump(millis);
        }
        if self.rng.chance(self.plan.pause) {
            let span = long(&self.plan, &mut self.rng);
            self.processes[who].paused_until = self.at + span;
            self.say(|_| format!("p{who} is paused for {} ms", span / MILLI));
        }
        if self.rng.chance(self.plan.partition) {
            let span = long(&self.plan, &mut self.rng);
            self.processes[who].cut_until = self.at + span;
            self.say(|_| format!("p{who} is cut off for {} ms", span / MILLI));
        }
        if self.rng.chance(self.plan.junk) {
            let delay = long(&self.plan, &mut self.rng);
            self.later(delay, Happening::Scribbles);
        }
        if self.rng.chance(self.plan.denial) {
            self.denial.begin(self.at, &mut self.rng);
            self.say(|world| format!("the server denies everything until {} us", world.denial.until() / 1000));
        }
        if self.rng.chance(self.plan.crash) {
            let (delay, life) = (long(&self.plan, &mut self.rng), self.processes[who].incarnation);
            self.later(delay, Happening::Killed { who, life });
        } else if self.rng.chance(self.plan.shutdown) {
            self.shut_down(who);
        }
    }

    /// Draws whether a process is frozen with the lock that it has just acquired.
    pub(super) fn freeze(&mut self, who: usize) {
        if !self.calm && self.rng.chance(self.plan.freeze) {
            let span = long(&self.plan, &mut self.rng);
            let process = &mut self.processes[who];
            process.paused_until = process.paused_until.max(self.at + span);
            self.say(|_| format!("p{who} is frozen for {} ms", span / MILLI));
        }
    }

    /// Kills a process; somebody starts it again.
    pub(super) fn crash(&mut self, who: usize) {
        let process = &mut self.processes[who];
        process.up = false;
        for seat in process.seats.values_mut() {
            (seat.keeper, seat.watch) = (None, None);
            seat.tasks.clear();
        }
        let down = if self.calm || self.rng.chance(500) { MILLI } else { long(&self.plan, &mut self.rng) };
        self.say(|_| format!("p{who} is dead"));
        self.later(down, Happening::Restarts { who });
    }

    /// Starts a dead process again, under a new identity.
    pub(super) fn restart(&mut self, who: usize) {
        let incarnation = self.processes[who].incarnation + 1;
        self.processes[who] = Process::start(who, incarnation, self.plan.home, self.plan.locks, &mut self.rng);
        self.equip(who);
        self.say(|world| format!("p{who} starts as {}", world.processes[who].engine));
        if self.calm {
            self.begin_all(who);
        } else {
            self.begin_later(who);
        }
    }

    /// The faults end when enough acquisitions were begun; the last late request may still be on its way.
    pub(super) fn calm_down(&mut self) {
        if self.calm || self.tickets < u64::from(self.plan.wants) {
            return;
        }
        self.calm = true;
        let faults = self.processes.iter().map(|process| process.paused_until.max(process.cut_until));
        let last = faults.chain([self.last_zombie, self.denial.until()]).max().unwrap_or(0);
        self.say(|_| "the faults end".to_owned());
        self.later(last.saturating_sub(self.at) + 100 * MILLI, Happening::Calms);
    }

    /// Each process hears of what it missed, and takes each lock once more: whatever was left behind comes up.
    pub(super) fn sweep(&mut self) {
        for who in (0..self.processes.len()).filter(|who| self.processes[*who].up).collect::<Vec<_>>() {
            self.relist(who);
            if self.plan.sessions {
                // Nobody takes over a session that was given up unseen: an inbox that starts over shows it once more.
                let life = self.processes[who].incarnation;
                self.later(10 * self.plan.ttl + 20_000 * MILLI, Happening::Relists { who, life });
            }
            if !self.processes[who].closing {
                self.begin_all(who);
            }
        }
    }

    fn shut_down(&mut self, who: usize) {
        if self.processes[who].is_idle() {
            return;
        }
        let life = self.processes[who].incarnation;
        self.processes[who].closing = true;
        if self.plan.jump > 0 {
            self.oracle.forget_kept(who);
        }
        let patience = 8 * self.plan.ttl;
        self.later(patience, Happening::Killed { who, life });
        let kept: Vec<usize> = self.processes[who].seats.keys().copied().collect();
        for what in kept {
            if self.processes[who].up {
                self.step((who, what), Event::ShutDown);
            }
        }
        self.tend_all(who);
    }
}

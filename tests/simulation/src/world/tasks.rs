//! The tasks that use the locks: they wait, hold, look at their guard, end, and begin again.

use std::time::Duration;

use msync::{
    LossReason,
    unstable::protocol::{Event, Keeper, Notice, Patience, Ticket, Want},
};

use super::{Happening, World};
use crate::{
    oracle::{Spot, is_waiting},
    plan::MILLI,
    process::{Phase, Task},
};

impl World {
    /// Lets a process begin an acquisition after a while.
    pub(super) fn begin_later(&mut self, who: usize) {
        let (think, life) = (self.rng.below(self.plan.think), self.processes[who].incarnation);
        self.later(think, Happening::Begins { who, life });
    }

    /// Begins an acquisition, unless enough were begun or the process is busy.
    pub(super) fn begin(&mut self, who: usize) {
        self.calm_down();
        let process = &self.processes[who];
        if process.closing || process.tasks() >= self.plan.tasks {
            self.processes[who].eager = !self.calm;
            return;
        }
        let what = self.draw_lock();
        self.begin_one((who, what));
    }

    /// Begins an acquisition of every lock.
    pub(super) fn begin_all(&mut self, who: usize) {
        if self.plan.locks == 1 {
            return self.begin(who);
        }
        for what in 0..self.plan.locks {
            self.begin_one((who, what));
        }
    }

    pub(super) fn draw_lock(&mut self) -> usize {
        if self.plan.locks == 1 {
            return 0;
        }
        usize::try_from(self.rng.below(self.plan.locks as u64)).unwrap_or(0)
    }

    fn begin_one(&mut self, spot: Spot) {
        let (who, what) = spot;
        let want = self.draw_want();
        let (ticket, life) = (want.ticket, self.processes[who].incarnation);
        let phase = Phase::Waiting(self.at);
        self.seat(spot).tasks.push(Task { want: want.clone(), phase });
        if !self.calm {
            if self.rng.chance(self.plan.cancel) {
                let delay = self.duration();
                self.later(delay, Happening::GivesUp { who, life, what, ticket });
            }
            self.begin_later(who);
        }
        self.step(spot, Event::Want(want));
        if !self.calm {
            self.disturb(who);
        }
    }

    /// A task ends: its body and arguments are gone, then it releases.
    pub(super) fn end(&mut self, spot: Spot, ticket: Ticket) {
        self.look(spot);
        let believes = self.processes[spot.0].believes(spot.1, self.at);
        let Some(task) = self.seat(spot).task(ticket) else { return };
        if !matches!(task.phase, Phase::Holding(..) | Phase::Stopping(_)) {
            return;
        }
        let (phase, at_least) = (task.phase, task.want.at_least);
        if let Phase::Stopping(since) = phase {
            self.judge_end(spot, since);
        }
        if let Phase::Holding(since, _) = phase
            && believes
            && self.plan.is_orderly()
        {
            let until = since + u64::try_from(at_least.as_nanos()).unwrap_or(0) * 98 / 100;
            self.oracle.keeps(spot, until);
        }
        let task = self.seat(spot).task(ticket).expect("looked up above");
        task.phase = Phase::Leaving;
        self.step(spot, Event::Release(ticket, None));
    }

    /// An acquisition is given up, whether it waits or has just been granted.
    pub(super) fn give_up(&mut self, spot: Spot, ticket: Ticket) {
        let Some(task) = self.seat(spot).task(ticket) else { return };
        if task.phase == Phase::Leaving {
            return;
        }
        if self.seat(spot).has_taken(ticket) {
            return self.end(spot, ticket);
        }
        self.leaves(spot, ticket);
        self.step(spot, Event::Cancel(ticket));
    }

    /// A user wants more time than its hold gives.
    pub(super) fn prolong(&mut self, spot: Spot, ticket: Ticket) {
        if self.seat(spot).holder().is_some_and(|task| task.want.ticket == ticket) {
            self.step(spot, Event::Prolong(ticket));
        }
    }

    /// A guard looks at its clock: what is lost is told, once and for all.
    pub(super) fn look(&mut self, spot: Spot) {
        let (who, what) = spot;
        let (process, seat) = (&self.processes[who], self.processes[who].seat(what));
        let (life, standing, now) = (process.incarnation, seat.standing, process.clock.local(self.at));
        let Some(ticket) = seat.holder().map(|task| task.want.ticket) else { return };
        let Some(reason) = standing.loss(ticket, now) else {
            if seat.looks_at != standing.until {
                self.seat(spot).looks_at = standing.until;
                let due = self.processes[who].clock.true_time(standing.until).saturating_sub(self.at);
                self.later(due, Happening::Looks { who, life, what });
            }
            return;
        };
        let at = self.at;
        if let Some(task) = self.seat(spot).task(ticket) {
            task.phase = Phase::Stopping(at);
        }
        self.judge_loss(spot, reason);
        if !matches!(reason, LossReason::MaxHold | LossReason::ShutDown) {
            self.oracle.tally.losses += 1;
            self.judge_need_of_loss(spot, reason);
        }
        self.say(|_| format!("p{who} is told that {ticket:?} is lost: {reason:?}"));
        let slow = if self.rng.chance(200) { self.duration() } else { self.rng.below(5 * MILLI) };
        self.later(slow, Happening::Ends { who, life, what, ticket });
    }

    /// Who is told that another took its lock, or that it was deleted, has lost it in truth as well, or its session.
    fn judge_loss(&mut self, (who, what): Spot, reason: LossReason) {
        let Some(hold) = self.processes[who].seat(what).keeper.as_ref().and_then(Keeper::hold) else { return };
        let shows =
            |what: usize, term| self.objects[what].server.stored().is_some_and(|snapshot| snapshot.record.term == term);
        let is_gone = |session: usize| !shows(session, self.objects[session].session.unwrap_or_default());
        let has_it = shows(what, hold.term) && !hold.needs().filter_map(|term| self.session(term)).any(is_gone);
        if has_it && matches!(reason, LossReason::TakenOver | LossReason::Deleted) {
            self.oracle.broken(self.at, format!("loss: p{who} is told of {reason:?} and has the lock"));
        }
    }

    /// What nobody has taken is not kept by a session that goes on.
    pub(super) fn judge_untaken(&mut self, (who, what): Spot) {
        let (process, seat) = (&self.processes[who], self.processes[who].seat(what));
        let offered = seat.tasks.iter().find(|task| matches!(task.phase, Phase::Offered(_)));
        let Some(ttl) = offered.map(|task| process.clock.true_span(task.want.timing.ttl())) else { return };
        let hold = seat.keeper.as_ref().and_then(Keeper::hold);
        let sheltered = hold.is_some_and(|hold| !hold.under.is_none());
        if sheltered && process.up && self.at > seat.offered_at + ttl {
            self.oracle.broken(self.at, format!("S6: p{who} keeps for a ttl what nobody has taken"));
        }
    }

    /// What has been over for its user for a while stands under no session, which would keep it alive.
    fn judge_end(&mut self, (who, what): Spot, since: u64) {
        let Some(hold) = self.processes[who].seat(what).keeper.as_ref().and_then(Keeper::hold) else { return };
        let stored = self.objects[what].server.stored().map(|snapshot| &snapshot.record);
        let stays = stored.is_some_and(|record| record.term == hold.term && !record.under.is_none());
        let ttl = u64::try_from(hold.timing.ttl().as_nanos()).unwrap_or(u64::MAX);
        if stays && !hold.is_renewed() && self.plan.is_orderly() && self.at > since + ttl / 2 {
            self.oracle.broken(self.at, format!("S6: a session of p{who} keeps what is over for its user"));
        }
    }

    /// Where nothing goes wrong, nothing is lost.
    fn judge_need_of_loss(&mut self, (who, what): Spot, reason: LossReason) {
        if self.plan.sessions && self.plan.is_orderly() {
            self.oracle.broken(self.at, format!("loss: p{who} has lost {what} for no reason but {reason:?}"));
        }
    }

    /// Takes what a keeper tells its tasks; returns of whom it asks the lock back.
    pub(super) fn notify(&mut self, spot: Spot, notices: &[Notice]) -> Vec<Ticket> {
        let mut recalled = Vec::new();
        for notice in notices {
            match *notice {
                Notice::Acquired(ticket, token) => self.offered(spot, ticket, token),
                Notice::Recall(ticket) => recalled.push(ticket),
                Notice::Failed(ticket) => self.failed(spot, ticket),
                Notice::Busy(ticket)
                | Notice::ShutDown(ticket)
                | Notice::Released(ticket)
                | Notice::HandedOver(ticket)
                | Notice::Abandoned(ticket) => self.leaves(spot, ticket),
            }
        }
        recalled
    }

    /// The store has failed a task: never for a denial that passes, nor for races that others win.
    fn failed(&mut self, spot: Spot, ticket: Ticket) {
        let who = spot.0;
        let waits = self.seat(spot).task(ticket).is_some_and(|task| task.want.patience == Patience::Wait);
        if waits && !self.denial.may_fail(self.at, self.at) {
            self.oracle.broken(self.at, format!("liveness: {ticket:?} of p{who} has failed for what passes"));
        }
        self.oracle.tally.failed += 1;
        self.leaves(spot, ticket);
    }

    /// The driver takes the lock back from a future that is not polled, unless that has just collected it.
    pub(super) fn withdraw(&mut self, spot: Spot, ticket: Ticket) {
        if let Some((ticket, since)) = self.seat(spot).collected.take() {
            return self.step(spot, Event::Collected(ticket, since));
        }
        self.oracle.tally.recalled += 1;
        self.leaves(spot, ticket);
        self.step(spot, Event::Cancel(ticket));
    }

    /// A task is gone; the next may come.
    fn leaves(&mut self, spot: Spot, ticket: Ticket) {
        self.seat(spot).tasks.retain(|task| task.want.ticket != ticket);
        if std::mem::take(&mut self.processes[spot.0].eager) {
            self.begin_later(spot.0);
        }
    }

    /// A task is told that it has the lock; mostly its future is polled at once.
    fn offered(&mut self, spot: Spot, ticket: Ticket, token: msync::FencingToken) {
        let (who, what) = spot;
        let (at, life) = (self.at, self.processes[who].incarnation);
        let seat = self.seat(spot);
        seat.offered_at = at;
        seat.untaken = seat.keeper.as_ref().and_then(Keeper::hold).map(|hold| hold.term);
        match self.seat(spot).task(ticket) {
            Some(task) if is_waiting(task.phase) => task.phase = Phase::Offered(token),
            Some(_) => self.oracle.broken(at, format!("p{who}: {ticket:?} acquired twice")),
            None => self.oracle.broken(at, format!("p{who}: {ticket:?} acquired after its cancellation")),
        }
        if self.calm || !self.rng.chance(self.plan.unpolled) {
            return self.collect(spot, ticket);
        }
        if self.rng.chance(700) {
            let delay =
                if self.rng.chance(500) { self.rng.below(2 * self.plan.ttl) } else { self.rng.below(20 * MILLI) };
            self.later(delay, Happening::Polls { who, life, what, ticket });
        }
    }

    /// The future of an acquisition is polled: it takes the lock, or has lost it already and begins anew.
    pub(super) fn poll(&mut self, spot: Spot, ticket: Ticket) {
        let (process, seat) = (&self.processes[spot.0], self.processes[spot.0].seat(spot.1));
        let offered = seat.tasks.iter().any(|t| t.want.ticket == ticket && matches!(t.phase, Phase::Offered(_)));
        if !offered {
            return;
        }
        if seat.standing.loss(ticket, process.clock.local(self.at)).is_some() {
            self.leaves(spot, ticket);
            return self.step(spot, Event::Cancel(ticket));
        }
        self.collect(spot, ticket);
        if self.seat(spot).tell {
            self.step(spot, Event::Tick);
        }
    }

    fn collect(&mut self, spot: Spot, ticket: Ticket) {
        let process = &mut self.processes[spot.0];
        let since = process.clock.local(self.at);
        let seat = process.seats.entry(spot.1).or_default();
        (seat.collected, seat.untaken) = (Some((ticket, since)), None);
        let Some(Task { phase: Phase::Offered(token), want }) = seat.task(ticket).cloned() else { return };
        seat.kept_until = process.clock.true_time(since + want.at_least);
        self.acquired(spot, ticket, token);
    }

    fn acquired(&mut self, spot: Spot, ticket: Ticket, token: msync::FencingToken) {
        self.count(spot, token);
        let (who, what) = spot;
        self.oracle.acquired(self.at, spot, token, &self.processes);
        let hold = if self.calm { self.rng.below(10 * MILLI) } else { self.duration() };
        let (at, life) = (self.at, self.processes[who].incarnation);
        if let Some(task) = self.seat(spot).task(ticket) {
            task.phase = Phase::Holding(at, token);
        }
        self.later(hold, Happening::Ends { who, life, what, ticket });
        if self.plan.prolong > 0 && self.rng.chance(self.plan.prolong) {
            let delay = self.rng.below(hold);
            self.later(delay, Happening::Prolongs { who, life, what, ticket });
        }
        self.freeze(who);
    }

    fn count(&mut self, spot: Spot, token: msync::FencingToken) {
        let tally = &mut self.oracle.tally;
        let seat = self.processes[spot.0].seat(spot.1);
        let record = seat.keeper.as_ref().and_then(|keeper| keeper.view().record());
        tally.sheltered += u64::from(record.is_some_and(|record| !record.under.is_none()));
        let renewals = record.map_or(1, |record| record.renewals);
        match (token.get() & 0xffff, renewals) {
            (1.., _) => tally.local += 1,
            (0, 0) => tally.instant += 1,
            (0, 2..) => tally.accepted += 1,
            (0, 1) => {}
        }
    }

    fn draw_want(&mut self) -> Want {
        self.tickets += 1;
        let (rng, plan) = (&mut self.rng, &self.plan);
        let timing = plan.timings[usize::try_from(rng.below(plan.timings.len() as u64)).unwrap_or(0)];
        let tries = !self.calm && rng.chance(plan.tries);
        let at_least = if !self.calm && rng.chance(plan.at_least) { rng.below(2 * plan.ttl) } else { 0 };
        let max_hold = rng.chance(plan.max_hold).then(|| Duration::from_nanos(at_least + rng.below(3 * plan.ttl)));
        Want {
            retained: plan.retained,
            instant: rng.chance(plan.instant),
            adopt: plan.adopt,
            patience: if tries { Patience::Try } else { Patience::Wait },
            at_least: Duration::from_nanos(at_least),
            max_hold,
            ..Want::new(Ticket(self.tickets), timing)
        }
    }

    /// How long a task works, or waits before it gives up: mostly moments, sometimes three ttl.
    fn duration(&mut self) -> u64 {
        let most = if self.rng.chance(self.plan.long) { 3 * self.plan.ttl } else { 20 * MILLI };
        self.rng.below(most)
    }
}

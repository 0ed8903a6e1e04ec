//! The tasks that use the lock: they wait, hold, look at their guard, end, and begin again.

use std::time::Duration;

use msync::{
    LossReason,
    unstable::protocol::{Event, Keeper, Notice, Patience, Ticket, Want},
};

use super::{Happening, World};
use crate::{
    oracle::is_waiting,
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
        if process.closing || process.tasks.len() >= self.plan.tasks {
            self.processes[who].eager = !self.calm;
            return;
        }
        let want = self.draw_want();
        let (ticket, life) = (want.ticket, self.processes[who].incarnation);
        let phase = Phase::Waiting(self.at);
        self.processes[who].tasks.push(Task { want: want.clone(), phase });
        if !self.calm {
            if self.rng.chance(self.plan.cancel) {
                let delay = self.duration();
                self.later(delay, Happening::GivesUp { who, life, ticket });
            }
            self.begin_later(who);
        }
        self.step(who, Event::Want(want));
        if !self.calm {
            self.disturb(who);
        }
    }

    /// A task ends: its body and arguments are gone, then it releases.
    pub(super) fn end(&mut self, who: usize, ticket: Ticket) {
        self.look(who);
        let believes = self.processes[who].believes(self.at);
        let Some(task) = self.processes[who].task(ticket) else { return };
        if !matches!(task.phase, Phase::Holding(..) | Phase::Stopping) {
            return;
        }
        if let Phase::Holding(since, _) = task.phase
            && believes
            && self.plan.is_orderly()
        {
            let until = since + u64::try_from(task.want.at_least.as_nanos()).unwrap_or(0) * 98 / 100;
            self.oracle.keeps(who, until);
        }
        let task = self.processes[who].task(ticket).expect("looked up above");
        task.phase = Phase::Leaving;
        self.step(who, Event::Release(ticket, None));
    }

    /// An acquisition is given up, whether it waits or has just been granted.
    pub(super) fn give_up(&mut self, who: usize, ticket: Ticket) {
        let Some(task) = self.processes[who].task(ticket) else { return };
        if task.phase == Phase::Leaving {
            return;
        }
        if self.processes[who].has_taken(ticket) {
            return self.end(who, ticket);
        }
        self.leaves(who, ticket);
        self.step(who, Event::Cancel(ticket));
    }

    /// A guard looks at its clock: what is lost is told, once and for all.
    pub(super) fn look(&mut self, who: usize) {
        let process = &self.processes[who];
        let (life, standing, now) = (process.incarnation, process.standing, process.clock.local(self.at));
        let Some(ticket) = process.holder().map(|task| task.want.ticket) else { return };
        let Some(reason) = standing.loss(ticket, now) else {
            if process.looks_at != standing.until {
                self.processes[who].looks_at = standing.until;
                let due = self.processes[who].clock.true_time(standing.until).saturating_sub(self.at);
                self.later(due, Happening::Looks { who, life });
            }
            return;
        };
        if let Some(task) = self.processes[who].task(ticket) {
            task.phase = Phase::Stopping;
        }
        self.judge_loss(who, reason);
        self.oracle.tally.losses += u64::from(!matches!(reason, LossReason::MaxHold | LossReason::ShutDown));
        self.say(|_| format!("p{who} is told that {ticket:?} is lost: {reason:?}"));
        let slow = if self.rng.chance(200) { self.duration() } else { self.rng.below(5 * MILLI) };
        self.later(slow, Happening::Ends { who, life, ticket });
    }

    /// Who is told that another took its lock, or that it was deleted, has lost it in truth as well.
    fn judge_loss(&mut self, who: usize, reason: LossReason) {
        let Some(hold) = self.processes[who].keeper.as_ref().and_then(Keeper::hold) else { return };
        let has_it = self.server.stored().is_some_and(|snapshot| snapshot.record.term == hold.term);
        if has_it && matches!(reason, LossReason::TakenOver | LossReason::Deleted) {
            self.oracle.broken(self.at, format!("loss: p{who} is told of {reason:?} and has the lock"));
        }
    }

    /// Takes what a keeper tells its tasks; returns of whom it asks the lock back.
    pub(super) fn notify(&mut self, who: usize, notices: &[Notice]) -> Vec<Ticket> {
        let mut recalled = Vec::new();
        for notice in notices {
            match *notice {
                Notice::Acquired(ticket, token) => self.offered(who, ticket, token),
                Notice::Recall(ticket) => recalled.push(ticket),
                Notice::Failed(ticket) => self.failed(who, ticket),
                Notice::Busy(ticket)
                | Notice::ShutDown(ticket)
                | Notice::Released(ticket)
                | Notice::HandedOver(ticket)
                | Notice::Abandoned(ticket) => self.leaves(who, ticket),
            }
        }
        recalled
    }

    /// The store has failed a task: never for a denial that passes, nor for races that others win.
    fn failed(&mut self, who: usize, ticket: Ticket) {
        let waits = self.processes[who].task(ticket).is_some_and(|task| task.want.patience == Patience::Wait);
        if waits && !self.denial.may_fail(self.at) {
            self.oracle.broken(self.at, format!("liveness: {ticket:?} of p{who} has failed for what passes"));
        }
        self.oracle.tally.failed += 1;
        self.leaves(who, ticket);
    }

    /// The driver takes the lock back from a future that is not polled, unless that has just collected it.
    pub(super) fn withdraw(&mut self, who: usize, ticket: Ticket) {
        if let Some((ticket, since)) = self.processes[who].collected.take() {
            return self.step(who, Event::Collected(ticket, since));
        }
        self.oracle.tally.recalled += 1;
        self.leaves(who, ticket);
        self.step(who, Event::Cancel(ticket));
    }

    /// A task is gone; the next may come.
    fn leaves(&mut self, who: usize, ticket: Ticket) {
        let process = &mut self.processes[who];
        process.tasks.retain(|task| task.want.ticket != ticket);
        if std::mem::take(&mut process.eager) {
            self.begin_later(who);
        }
    }

    /// A task is told that it has the lock; mostly its future is polled at once.
    fn offered(&mut self, who: usize, ticket: Ticket, token: msync::FencingToken) {
        let (at, life) = (self.at, self.processes[who].incarnation);
        let process = &mut self.processes[who];
        process.untaken = process.keeper.as_ref().and_then(Keeper::hold).map(|hold| hold.term);
        match self.processes[who].task(ticket) {
            Some(task) if is_waiting(task.phase) => task.phase = Phase::Offered(token),
            Some(_) => self.oracle.broken(at, format!("p{who}: {ticket:?} acquired twice")),
            None => self.oracle.broken(at, format!("p{who}: {ticket:?} acquired after its cancellation")),
        }
        if self.calm || !self.rng.chance(self.plan.unpolled) {
            return self.collect(who, ticket);
        }
        if self.rng.chance(700) {
            let delay =
                if self.rng.chance(500) { self.rng.below(2 * self.plan.ttl) } else { self.rng.below(20 * MILLI) };
            self.later(delay, Happening::Polls { who, life, ticket });
        }
    }

    /// The future of an acquisition is polled: it takes the lock, or has lost it already and begins anew.
    pub(super) fn poll(&mut self, who: usize, ticket: Ticket) {
        let process = &self.processes[who];
        let offered = process.tasks.iter().any(|t| t.want.ticket == ticket && matches!(t.phase, Phase::Offered(_)));
        if !offered {
            return;
        }
        if process.standing.loss(ticket, process.clock.local(self.at)).is_some() {
            self.leaves(who, ticket);
            return self.step(who, Event::Cancel(ticket));
        }
        self.collect(who, ticket);
        if self.processes[who].tell {
            self.step(who, Event::Tick);
        }
    }

    fn collect(&mut self, who: usize, ticket: Ticket) {
        let process = &mut self.processes[who];
        let since = process.clock.local(self.at);
        (process.collected, process.untaken) = (Some((ticket, since)), None);
        let Some(Task { phase: Phase::Offered(token), want }) = process.task(ticket).cloned() else { return };
        process.kept_until = process.clock.true_time(since + want.at_least);
        self.acquired(who, ticket, token);
    }

    fn acquired(&mut self, who: usize, ticket: Ticket, token: msync::FencingToken) {
        self.count(who, token);
        self.oracle.acquired(self.at, who, token, &self.processes);
        let hold = if self.calm { self.rng.below(10 * MILLI) } else { self.duration() };
        let (at, life) = (self.at, self.processes[who].incarnation);
        if let Some(task) = self.processes[who].task(ticket) {
            task.phase = Phase::Holding(at, token);
        }
        self.later(hold, Happening::Ends { who, life, ticket });
        self.freeze(who);
    }

    fn count(&mut self, who: usize, token: msync::FencingToken) {
        let tally = &mut self.oracle.tally;
        let record = self.processes[who].keeper.as_ref().and_then(|keeper| keeper.view().record());
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
            ticket: Ticket(self.tickets),
            timing,
            retained: plan.retained,
            instant: rng.chance(plan.instant),
            adopt: plan.adopt,
            patience: if tries { Patience::Try } else { Patience::Wait },
            at_least: Duration::from_nanos(at_least),
            max_hold,
        }
    }

    /// How long a task works, or waits before it gives up: mostly moments, sometimes three ttl.
    fn duration(&mut self) -> u64 {
        let most = if self.rng.chance(self.plan.long) { 3 * self.plan.ttl } else { 20 * MILLI };
        self.rng.below(most)
    }
}

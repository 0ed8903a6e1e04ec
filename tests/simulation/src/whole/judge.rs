//! The judge of an episode: knows true time, and holds what users see and what the wire carries against the promises.
//!
//! It looks at guards through their `lost()`, never twice: what it finds lost is final by promise S4, and what it finds
//! held while another holds is the end of the episode. A guard of a frozen process is not looked at, since looking fixes
//! what it says: how long it believed is taken when it freezes, and its user asks it first thing when it thaws.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use msync::{
    FencingToken, LossReason,
    unstable::{
        protocol::Call,
        record::{Change, EngineId, Entry, Record, Term},
        store::Snapshot,
    },
};

use super::{machine::Machine, story::Story};
use crate::plan::MILLI;

/// More calls than this in a second are a loop that nothing slows down.
const MOST_CALLS: u32 = 300;

/// An acquisition that was asked for.
struct Ask {
    machine: Arc<Machine>,
    waits: bool,
    at_least: u64,
    /// Its future is alive and not polled.
    neglected: bool,
}

/// What an acquisition shows of itself.
pub(crate) struct Grip {
    pub(crate) token: FencingToken,
    /// Completes when it is lost. Polled once.
    pub(crate) lost: BoxFuture<'static, LossReason>,
    /// For how long it believes, by its own clock, where that can be asked from outside.
    pub(crate) remaining: Option<Box<dyn Fn() -> Duration + Send>>,
    /// It is a body that the library runs, and drops when its hold is lost.
    pub(crate) body: bool,
}

/// An acquisition whose user has not given it up.
struct Hold {
    machine: Arc<Machine>,
    grip: Option<Grip>,
    token: FencingToken,
    /// It was the so-maniest acquisition.
    order: u64,
    told_lost: bool,
    /// It is a body that the library runs.
    body: bool,
    /// Up to when it believed at least, taken when its process froze.
    believed_until: u64,
    /// S8: since when, and how long it is to be kept.
    kept_until: u64,
}

/// What is known of one life of a process.
#[derive(Default)]
struct Life {
    kept_until: u64,
    unwanted_since: u64,
    /// The last term that was renewed while nobody had it or polled for it, and since when.
    untaken: Option<(Term, u64)>,
    window: (u64, u32),
    /// Owners that this process wished to have the lock next.
    wishes: BTreeSet<String>,
}

/// The judge.
#[derive(Default)]
pub(crate) struct Judge {
    pub(crate) story: Story,
    /// The first promise that was broken.
    pub(crate) verdict: Option<String>,
    orderly: bool,
    sessions: bool,
    asks: BTreeMap<u64, Ask>,
    holds: BTreeMap<u64, Hold>,
    lives: BTreeMap<(usize, u64), Life>,
    /// Which term a version showed: tokens are made of versions.
    terms: BTreeMap<u64, Term>,
    /// Whose each term is: a reservation does not tell.
    makers: BTreeMap<Term, EngineId>,
    lost: BTreeSet<Term>,
    serial: u64,
    newest: Option<(u64, FencingToken)>,
    /// The fenced register: its highest token, and the so-maniest acquisition that wrote it.
    register: (u64, u64),
    /// S8: who keeps the lock after its release, and until when.
    kept: Option<(usize, u64)>,
    digest: DefaultHasher,
}

// === impl Judge: what users see ===

impl Judge {
    pub(crate) fn new(orderly: bool, sessions: bool) -> Self {
        Self { orderly, sessions, ..Self::default() }
    }

    /// Notes that a promise was broken.
    pub(crate) fn broken(&mut self, at: u64, what: impl Into<String>) {
        let what = what.into();
        self.verdict.get_or_insert_with(|| format!("at {} us: {what}", at / 1000));
    }

    /// Adds to the digest of the episode.
    pub(crate) fn note(&mut self, what: impl Hash) {
        what.hash(&mut self.digest);
    }

    /// Ends the story.
    pub(crate) fn told(&mut self) -> Story {
        Story { episodes: 1, trace: self.digest.finish(), ..self.story.clone() }
    }

    /// A user begins to acquire.
    pub(crate) fn asks(&mut self, machine: &Arc<Machine>, waits: bool, at_least: u64) -> u64 {
        self.serial += 1;
        self.asks.insert(self.serial, Ask { machine: Arc::clone(machine), waits, at_least, neglected: false });
        self.serial
    }

    /// A user leaves the future of its acquisition alone, or polls it again. Its place among its like may be lost.
    pub(crate) fn neglects(&mut self, ask: u64, neglected: bool) {
        let Some(ask) = self.asks.get_mut(&ask) else { return };
        self.story.neglected += u64::from(neglected);
        (ask.neglected, ask.waits) = (neglected, false);
    }

    /// A user has not acquired: nothing is kept for it, whatever its `at_least` is.
    pub(crate) fn in_vain(&mut self, at: u64, ask: u64) {
        let Some(ask) = self.asks.remove(&ask) else { return };
        self.story.in_vain += 1;
        self.rests(at, &ask.machine);
    }

    /// S1, S2, S8 and the order within a process: a user has acquired.
    pub(crate) fn acquired(&mut self, at: u64, id: u64, grip: Grip) {
        let token = grip.token;
        let Some(ask) = self.asks.remove(&id) else { return };
        let machine = ask.machine;
        self.story.acquisitions += 1;
        self.story.local += u64::from(token.get() & 0xffff > 0);
        self.note(("acquired", at, machine.index, token.get()));
        if let Some((_, newest)) = self.newest.filter(|(_, newest)| *newest >= token) {
            self.broken(at, format!("S1: token {token} of {machine:?} is not above {newest}"));
        }
        self.newest = Some((id, token));
        self.excludes(at, &machine);
        if ask.waits
            && let Some(earlier) =
                self.asks.range(..id).find(|(_, other)| other.waits && same(&other.machine, &machine))
        {
            let earlier = earlier.0;
            self.broken(at, format!("L3: {machine:?} gave {id} the lock before {earlier}, which has waited longer"));
        }
        if let Some((_, until)) = self.kept.take().filter(|(keeper, until)| *keeper != machine.index && *until > at) {
            self.broken(at, format!("S8: {machine:?} has it although it was to be kept until {} us", until / 1000));
        }
        self.keeps(&machine, at + ask.at_least);
        let kept_until = at + ask.at_least * 98 / 100;
        let order = self.story.acquisitions;
        let body = grip.body;
        let hold =
            Hold { machine, token, order, grip: Some(grip), told_lost: false, body, believed_until: 0, kept_until };
        self.holds.insert(id, hold);
    }

    /// S2: nobody else says held when somebody acquires. S3: what the library runs under a lost hold is gone by then.
    fn excludes(&mut self, at: u64, machine: &Arc<Machine>) {
        let mut found = Vec::new();
        for (id, other) in self.holds.iter_mut().filter(|(_, hold)| !hold.machine.is_dead()) {
            let (who, until) = (&other.machine, other.believed_until);
            if same(who, machine) {
                found.push(format!("S2: {machine:?} acquires beside its own guard {id}, which is not gone"));
                continue;
            }
            if who.is_frozen() {
                if until > at {
                    found.push(format!("S2: {machine:?} acquires while {who:?}, frozen, believes until {until} ns"));
                }
                continue;
            }
            let held = other.grip.take().is_some_and(|grip| grip.lost.now_or_never().is_none());
            if held {
                found.push(format!("S2: {machine:?} acquires while {who:?} has {id} and says held"));
            } else if other.body && !who.has_just_thawed() {
                found.push(format!("S3: {machine:?} acquires while the body of {id} in {who:?} is still there"));
            }
        }
        for what in found {
            self.broken(at, what);
        }
    }

    /// S2 towards others: somebody who is none of ours takes over, which it may when nobody here says held any more.
    pub(crate) fn superseded(&mut self, at: u64, by: &str) {
        self.note(("superseded", at));
        let mut found = None;
        for (id, other) in self.holds.iter_mut().filter(|(_, hold)| !hold.machine.is_dead()) {
            let (who, until) = (&other.machine, other.believed_until);
            let held = if who.is_frozen() {
                until > at
            } else {
                other.grip.take().is_some_and(|grip| grip.lost.now_or_never().is_none())
            };
            if held {
                found = Some(format!("S2: {by} takes over while {who:?} has {id} and says held"));
            }
        }
        if let Some(what) = found {
            self.broken(at, what);
        }
    }

    /// A user looked at its guard: S2, S4, and S3, by which no step of a body runs after its loss.
    pub(crate) fn looked(&mut self, at: u64, id: u64, loss: Option<LossReason>) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        let (machine, body) = (Arc::clone(&hold.machine), hold.body);
        if let Some(reason) = loss {
            let (first, token) = (!std::mem::replace(&mut hold.told_lost, true), hold.token);
            if body {
                self.broken(at, format!("S3: the body of {id} in {machine:?} runs on after its loss"));
            }
            if first {
                self.lost(at, token, reason);
            }
            return;
        }
        if hold.told_lost {
            self.broken(at, format!("S4: {machine:?} says held of {id}, which it has called lost"));
        }
        if let Some((newest, _)) = self.newest.filter(|(newest, _)| *newest != id) {
            self.broken(at, format!("S2: {machine:?} says held of {id}, after {newest} was acquired"));
        }
    }

    /// A user was told that its acquisition is lost: from here on nobody renews its term.
    pub(crate) fn lost(&mut self, at: u64, token: FencingToken, reason: LossReason) {
        self.note(("lost", at, token.get()));
        if !matches!(reason, LossReason::ShutDown | LossReason::Released) {
            self.story.losses += u64::from(reason != LossReason::MaxHold);
            self.lost.extend(self.terms.get(&(token.get() >> 16)).copied());
        }
    }

    /// A user gives up its acquisition: its body is gone, its guard is about to be.
    pub(crate) fn gone(&mut self, at: u64, id: u64) {
        let Some(mut hold) = self.holds.remove(&id) else { return };
        let believes = hold.grip.as_mut().is_some_and(|grip| (&mut grip.lost).now_or_never().is_none());
        if self.orderly && believes && !hold.told_lost && !hold.machine.is_dead() {
            self.kept = Some((hold.machine.index, hold.kept_until));
        }
        self.rests(at, &hold.machine);
    }

    /// A user writes to the fenced register, which compares tokens and nothing else.
    pub(crate) fn writes(&mut self, at: u64, id: u64, believes: bool) {
        let Some((token, order)) = self.holds.get(&id).map(|hold| (hold.token, hold.order)) else { return };
        let (highest, last) = self.register;
        let taken = token.get() >= highest;
        if taken {
            self.register = (token.get(), order);
            self.story.written += 1;
        } else {
            self.story.fenced_off += 1;
        }
        if taken && order < last {
            self.broken(at, format!("fence: the register took {token}, of the {order}th holder, after the {last}th"));
        }
        if !taken && believes {
            self.broken(at, format!("fence: the register refused {token} of {id}, which holds, for {highest:x}"));
        }
    }

    /// A process is about to freeze.
    pub(crate) fn freezes(&mut self, at: u64, machine: &Machine) {
        self.story.freezes += 1;
        if machine.is_frozen() {
            return;
        }
        for hold in self.holds.values_mut().filter(|hold| same(&hold.machine, machine)) {
            let remaining = hold.grip.as_ref().and_then(|grip| grip.remaining.as_ref().map(|ask| ask()));
            // One millisecond less, for what is rounded on the way.
            let span = machine.true_span(remaining.unwrap_or_default()).saturating_sub(MILLI);
            hold.believed_until = if hold.told_lost { 0 } else { at + span };
        }
    }

    /// A process is dead: nobody in it holds, waits or renews.
    pub(crate) fn dies(&mut self, machine: &Machine) {
        self.asks.retain(|_, ask| !same(&ask.machine, machine));
        self.holds.retain(|_, hold| !same(&hold.machine, machine));
    }

    /// The wall clocks of this episode are not together: what a process leaves behind is kept by nobody.
    pub(crate) fn forget_kept(&mut self, machine: &Machine) {
        self.kept.take_if(|(keeper, _)| *keeper == machine.index);
    }

    /// A user wishes that a process of this owner has the lock next.
    pub(crate) fn wishes(&mut self, machine: &Machine, owner: &str) {
        self.life(machine).wishes.insert(owner.to_owned());
    }

    fn keeps(&mut self, machine: &Machine, until: u64) {
        let life = self.life(machine);
        life.kept_until = life.kept_until.max(until + MILLI);
    }

    fn rests(&mut self, at: u64, machine: &Machine) {
        self.life(machine).unwanted_since = at;
    }

    fn life(&mut self, machine: &Machine) -> &mut Life {
        self.lives.entry((machine.index, machine.life)).or_default()
    }
}

// === impl Judge: what the wire carries ===

impl Judge {
    /// S4, S6, S7 and calls without measure: a process sends something.
    pub(crate) fn sent(&mut self, at: u64, machine: &Machine, call: &Call) {
        if machine.is_dead() {
            return;
        }
        self.story.calls += 1;
        self.note((at, machine.index, call));
        let user = self.holds.values().any(|hold| same(&hold.machine, machine));
        let mut asks = self.asks.values().filter(|ask| same(&ask.machine, machine)).peekable();
        let asked = asks.peek().is_some();
        let neglected = self.orderly && !user && asked && asks.all(|ask| ask.neglected);
        // Of a hold that is over its session would keep the record alive: it is led out, and no more.
        let leads_out = self.sessions;
        let lost = matches!(call, Call::Apply(Change::Renew { term, .. }) if self.lost.contains(term));
        let life = self.life(machine);
        // Whoever gave up at this very moment may not have been heard yet.
        let wanted = user || asked || life.kept_until >= at || life.unwanted_since == at;
        let hot = life.is_hot(at);
        let untaken = neglected && life.kept_until < at && life.goes_on(at, call);
        match call {
            Call::Apply(Change::Renew { .. }) if !wanted => {
                self.broken(at, format!("S6: {machine:?} renews for nobody"));
            }
            Call::Apply(Change::Renew { .. }) if untaken => {
                self.broken(at, format!("S6: {machine:?} renews what nobody has taken for a ttl"));
            }
            Call::Apply(Change::Renew { under, .. }) if lost && !(leads_out && under.is_none()) => {
                self.broken(at, format!("S4: {machine:?} renews what it has called lost"));
            }
            Call::Apply(Change::Grant { .. } | Change::Free { .. }) | Call::Delete(_) if user => {
                self.broken(at, format!("S7: {machine:?} releases while a body has it"));
            }
            _ if hot => self.broken(at, format!("{machine:?} calls more than {MOST_CALLS} times in a second")),
            _ => {}
        }
    }

    /// A process sends something about a session. How often it may is told by the same measure.
    pub(crate) fn sent_of_session(&mut self, at: u64, machine: &Machine, call: &Call) {
        if machine.is_dead() {
            return;
        }
        self.story.calls += 1;
        self.story.of_sessions += 1;
        self.note((at, machine.index, call));
        if self.life(machine).is_hot(at) {
            self.broken(at, format!("{machine:?} calls more than {MOST_CALLS} times in a second"));
        }
    }

    /// S5, S7 and L3: a change takes effect, however late.
    pub(crate) fn served(&mut self, at: u64, sender: &EngineId, machine: &Machine, call: &Call, before: &Record) {
        let release = match call {
            Call::Apply(Change::Grant { index, entry, .. }) => {
                let owner = entry.claim().map(|claim| claim.engine.owner().to_owned());
                let wished = owner.is_some_and(|owner| self.life(machine).wishes.contains(&owner));
                if *index != 0 && !wished {
                    self.broken(at, "L3: a grant went past the head of the queue");
                }
                true
            }
            Call::Apply(Change::Free { .. }) | Call::Delete(_) => true,
            _ => false,
        };
        // Whose annotations somebody has spoilt by hand, gives back what is its own by the spec.
        let spoilt = before.engine == EngineId::foreign(sender.as_str());
        // A reservation of its own, which landed late, has its term.
        let reserved = before.is_reserved() && self.makers.get(&before.term) == Some(sender);
        if release && before.engine != *sender && !reserved && !spoilt {
            self.broken(at, format!("S5: {sender} gave back a term of {}", before.engine));
        }
        let term = |hold: &Hold| self.terms.get(&(hold.token.get() >> 16)).copied();
        let mut own = self.holds.values().filter(|hold| same(&hold.machine, machine) && !hold.told_lost);
        if release && own.any(|hold| term(hold) == Some(before.term)) {
            self.broken(at, format!("S7: a late release of {machine:?} hit its own user"));
        }
        if let Call::Apply(Change::Leave { entry, .. }) = call
            && entry.claim().is_some_and(|claim| claim.engine != *sender)
        {
            self.broken(at, format!("S5: {sender} removed the entry {}", entry.as_str()));
        }
    }

    /// Remembers which term a version shows.
    pub(crate) fn committed(&mut self, after: Option<&Snapshot>) {
        self.terms.extend(after.map(|snapshot| (snapshot.version.number, snapshot.record.term)));
        let record = after.map(|snapshot| &snapshot.record).filter(|record| !record.is_free() && !record.is_reserved());
        self.makers.extend(record.map(|record| (record.term, record.engine.clone())));
        self.story.sheltered += u64::from(after.is_some_and(|s| !s.record.under.is_none() && s.record.renewals == 1));
    }

    /// Nothing of the living may be left in the record at the end.
    pub(crate) fn left_behind(record: Option<&Record>, machine: &Machine) -> bool {
        let (Some(record), Some(engine)) = (record, machine.engine.get()) else { return false };
        let waits = record.waiters.iter().filter_map(Entry::claim).any(|claim| claim.engine == *engine);
        Self::held_by(Some(record), machine) || (!record.is_free() && waits)
    }

    /// A hold that landed late is given back, even if nobody asks for the lock any more. An entry that landed late behind a
    /// dead holder stays until somebody does: it is in nobody's way.
    pub(crate) fn held_by(record: Option<&Record>, machine: &Machine) -> bool {
        record.zip(machine.engine.get()).is_some_and(|(record, engine)| record.engine == *engine)
    }
}

// === impl Life ===

impl Life {
    /// Counts a call, and says whether there are too many in a second.
    fn is_hot(&mut self, at: u64) -> bool {
        self.window = if at < self.window.0 + 1000 * MILLI { (self.window.0, self.window.1 + 1) } else { (at, 1) };
        self.window.1 > MOST_CALLS
    }

    /// Says whether a call renews a term that was renewed a ttl ago already: more than its acceptance.
    fn goes_on(&mut self, at: u64, call: &Call) -> bool {
        let Call::Apply(Change::Renew { term, ttl, .. }) = call else { return false };
        let (_, since) = *self.untaken.take_if(|(last, _)| last == term).get_or_insert((*term, at));
        self.untaken = Some((*term, since));
        at > since + u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX)
    }
}

fn same(one: &Machine, other: &Machine) -> bool {
    (one.index, one.life) == (other.index, other.life)
}

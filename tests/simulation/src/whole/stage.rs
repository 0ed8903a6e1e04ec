//! What the processes of an episode share: true time, the server, its watches, the judge.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use futures::channel::mpsc::UnboundedSender;
use msync::{
    LockName,
    unstable::{
        SESSIONS,
        protocol::{Call, Outcome},
        record::{
            Change, EngineId, Record,
            leased::{Leased, Op},
        },
        store::{Fault, Scope, Sighting, Snapshot},
    },
};
use serde_json::Value;

use super::{
    judge::Judge,
    machine::{Machine, TrueTime},
    story::Story,
    wire::unknown,
};
use crate::{
    network::{Denial, hop, long},
    plan::{MILLI, Plan},
    rng::Rng,
    server::{Commit, Server},
};

/// The one lock of an episode.
pub(crate) const LOCK: &str = "simulated";

/// Who edits by hand.
const HAND: &str = "a hand";
/// Who elects as client-go does.
pub(crate) const FOREIGNER: &str = "host_1.client-go";

/// What all share.
pub(crate) struct Stage {
    pub(crate) time: TrueTime,
    pub(crate) plan: Plan,
    trace: bool,
    state: Mutex<State>,
}

/// What changes. Every access is complete before the next begins.
pub(crate) struct State {
    pub(crate) rng: Rng,
    pub(crate) server: Server,
    /// The other objects: more locks, and sessions.
    others: BTreeMap<LockName, Server>,
    /// The newest version of any.
    version: u64,
    /// What stands in the spec of the Lease, and since when.
    spec: (BTreeMap<String, Value>, u64),
    pub(crate) judge: Judge,
    /// Those of the other locks.
    judges: BTreeMap<LockName, Judge>,
    /// The faults have ended.
    pub(crate) calm: bool,
    /// The last effect of a fault.
    pub(crate) trouble_until: u64,
    pub(crate) denial: Denial,
    /// How many acquisitions are still to begin.
    wants: u32,
    watchers: Vec<Watcher>,
}

/// What a watch is told, and when.
pub(crate) type Told = (u64, Result<Sighting, Fault>, Option<Leased>);

/// The server's end of a watch.
struct Watcher {
    scope: Scope,
    machine: Arc<Machine>,
    queue: UnboundedSender<Told>,
    /// Nothing more will come, and nobody says so.
    silent: bool,
    /// Nothing overtakes what was sent before.
    last: u64,
}

// === impl Stage ===

impl Stage {
    pub(crate) fn new(mut rng: Rng, trace: bool, draw: impl FnOnce(&mut Rng) -> Plan) -> Arc<Self> {
        let plan = draw(&mut rng);
        let state = State {
            rng,
            server: Server::default(),
            others: BTreeMap::new(),
            version: 0,
            spec: (BTreeMap::new(), 0),
            judge: Judge::new(plan.is_orderly()),
            judges: (1..plan.locks).map(|index| (lock(index), Judge::new(plan.is_orderly()))).collect(),
            calm: false,
            trouble_until: 0,
            denial: Denial::default(),
            wants: plan.wants,
            watchers: Vec::new(),
        };
        Arc::new(Self { time: TrueTime::new(), plan, trace, state: Mutex::new(state) })
    }

    /// Gives access to what changes.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().expect("nobody panics on stage");
        let outcome = act(&mut state);
        let State { judge, judges, .. } = &mut *state;
        if judge.verdict.is_none() {
            judge.verdict = judges.values_mut().find_map(|other| other.verdict.take());
        }
        outcome
    }

    /// Gives access to the judge of a lock.
    pub(crate) fn judge<T>(&self, name: &LockName, act: impl FnOnce(&mut Judge) -> T) -> T {
        self.with(|state| act(state.judge_of(name)))
    }

    /// Says whether one more acquisition may begin. The faults end with the last.
    pub(crate) fn begin(&self) -> bool {
        self.with(|state| {
            let more = state.wants > 0;
            state.wants = state.wants.saturating_sub(1);
            state.calm |= state.wants == 0;
            more
        })
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.with(|state| state.calm)
    }

    /// Makes the random numbers of one user or engine.
    pub(crate) fn fork(&self) -> Rng {
        self.with(|state| Rng::new(state.rng.bits()))
    }

    /// Returns a span as long as faults last.
    pub(crate) fn long(&self, rng: &mut Rng) -> u64 {
        let span = long(&self.plan, rng);
        let now = self.time.now();
        self.with(|state| state.trouble_until = state.trouble_until.max(now + span));
        span
    }

    /// Lets the server deny everything for a while.
    pub(crate) fn deny(&self) {
        let now = self.time.now();
        let until = self.with(|state| {
            state.denial.begin(now, &mut state.rng);
            state.trouble_until = state.trouble_until.max(state.denial.until());
            state.denial.until()
        });
        self.say(|| format!("the server denies everything until {} ms", until / MILLI));
    }

    /// Freezes a machine.
    pub(crate) fn freeze(&self, machine: &Machine, span: u64) {
        let now = self.time.now();
        self.with(|state| {
            state.trouble_until = state.trouble_until.max(now + span);
            state.all_judges().for_each(|judge| judge.freezes(now, machine));
        });
        // Whole milliseconds, as timers are: when it is frozen no more, its tasks run.
        machine.freeze((now + span).next_multiple_of(MILLI));
        self.say(|| format!("{machine:?} is frozen for {} ms", span / MILLI));
    }

    /// Tells the story, if somebody listens.
    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} ms  {}", self.time.now() / MILLI, what());
        }
    }

    /// Lets a request take effect; on a Lease by the operations that were made of it. Also returns the Lease.
    pub(crate) fn serve(
        &self,
        sender: &EngineId,
        machine: &Machine,
        name: &LockName,
        call: &Call,
        ops: &[Op],
    ) -> (Outcome, Option<Leased>) {
        let now = self.time.now();
        let (outcome, leased) = self.with(|state| {
            let version = state.version;
            let State { server, others, rng, .. } = state;
            let server = if name.as_str() == LOCK { server } else { others.entry(name.clone()).or_default() };
            let before = server.stored().map(|stored| stored.record.clone()).unwrap_or_default();
            let server = server.at(version);
            let (outcome, commit) =
                if self.plan.leases { server.serve_lease(call, ops, rng) } else { server.serve(call, rng) };
            state.version = server.version();
            let leased = server.leased().cloned();
            if let Some(commit) = commit {
                if !is_session(name) {
                    let judge = state.judge_of(name);
                    judge.served(now, sender, machine, call, &before);
                    judge.committed(commit.after.as_ref());
                }
                if self.plan.leases {
                    state.judge.lines_up(now, call, &before);
                    state.takes_over(now, call, &before);
                    state.notes_spec(now);
                }
                state.tell(now, &self.plan, name, &commit);
            }
            (outcome, leased)
        });
        self.say(|| format!("  served {machine:?} {name} {call:?} -> {outcome:?}"));
        (outcome, leased)
    }

    /// Somebody who is none of ours writes a Lease, if it is still at a version; none is made anew. Says at which version it
    /// is now.
    pub(crate) fn put(&self, who: &str, version: Option<u64>, leased: &Leased) -> Option<u64> {
        let now = self.time.now();
        let written = self.with(|state| {
            if state.server.leased().map(|stored| stored.version) != version {
                return None;
            }
            let before = state.server.leased().map(|before| holder(before).to_owned()).unwrap_or_default();
            let commit = state.server.put(leased.clone());
            state.version = state.server.version();
            // By hand anything may be written over anything; a release is no take-over, whomever it hits. Whatever annotations
            // say, the holder in the spec is who must be waited for.
            let takes_over = who != HAND && holder(leased) == who;
            if takes_over && !["", HAND, who].contains(&before.as_str()) {
                state.judge.superseded(now, who);
            }
            state.judge.committed(commit.after.as_ref());
            state.notes_spec(now);
            state.tell(now, &self.plan, &name(), &commit);
            Some(commit.version)
        });
        self.say(|| format!("  {who} puts {:?} at {version:?}: {written:?}", leased.spec));
        written
    }

    /// Somebody edits the record by hand.
    pub(crate) fn scribble(&self) {
        if self.plan.leases {
            let found =
                self.with(|state| state.server.leased().cloned().map(|leased| (leased, Rng::new(state.rng.bits()))));
            if let Some((leased, mut rng)) = found {
                self.put(HAND, Some(leased.version), &edited(leased, &mut rng));
            }
            return;
        }
        let now = self.time.now();
        self.with(|state| {
            let version = state.version;
            if let Some(commit) = state.server.at(version).scribble(&mut state.rng) {
                state.version = commit.version;
                state.tell(now, &self.plan, &name(), &commit);
            }
        });
    }

    /// Opens a watch.
    pub(crate) fn watch(&self, scope: Scope, machine: Arc<Machine>, queue: UnboundedSender<Told>) {
        let now = self.time.now();
        self.with(|state| {
            let at = now + hop(&mut state.rng);
            let mut watcher = Watcher { scope, silent: machine.is_cut(), machine, queue, last: at };
            watcher.send(at, Ok(state.listed(&watcher.scope)), state.server.leased());
            state.watchers.push(watcher);
        });
    }
}

// === impl State ===

impl State {
    /// Ends the faults, and the acquisitions that go with them.
    pub(crate) fn calm_down(&mut self) {
        (self.calm, self.wants) = (true, 0);
    }

    /// An engine of ours has the Lease that somebody else held: not before it was unchanged for the seconds in it.
    fn takes_over(&mut self, now: u64, call: &Call, before: &Record) {
        let (spec, since) = &self.spec;
        let seconds = spec.get("leaseDurationSeconds").and_then(Value::as_u64).unwrap_or_default();
        let holder = spec.get("holderIdentity").and_then(Value::as_str).unwrap_or_default();
        // A hand may write once more what stood there before: that looks as if nothing had happened. And an engine of ours whose
        // annotations were spoilt counts as somebody else for who sees that, but is judged as one of ours.
        let held = before.engine.is_foreign() && holder == FOREIGNER;
        let early = now < since + seconds * 980 * MILLI;
        if held && early && matches!(call, Call::Apply(Change::Claim { .. })) {
            let what = format!("S2: taken over from {} {} us after it wrote", before.engine, (now - since) / 1000);
            self.judge.broken(now, what);
        }
    }

    fn notes_spec(&mut self, now: u64) {
        let spec = self.server.leased().map(|leased| &leased.spec);
        if spec != Some(&self.spec.0) {
            self.spec = (spec.cloned().unwrap_or_default(), now);
        }
    }

    /// Returns the judge of a lock.
    pub(crate) fn judge_of(&mut self, name: &LockName) -> &mut Judge {
        self.judges.get_mut(name).unwrap_or(&mut self.judge)
    }

    /// Returns all of them.
    pub(crate) fn all_judges(&mut self) -> impl Iterator<Item = &mut Judge> {
        std::iter::once(&mut self.judge).chain(self.judges.values_mut())
    }

    /// Returns what the episode amounts to so far, over all locks.
    pub(crate) fn told(&mut self) -> Story {
        let mut sum = self.judge.told();
        for other in self.judges.values_mut() {
            sum.add(&Story { episodes: 0, ..other.told() });
        }
        sum
    }

    /// Returns all records that there are.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        let all = std::iter::once(&self.server).chain(self.others.values());
        all.filter_map(|server| Some(&server.stored()?.record))
    }

    fn listed(&self, scope: &Scope) -> Sighting {
        let own = [(name(), &self.server)];
        let all = own.into_iter().chain(self.others.iter().map(|(name, server)| (name.clone(), server)));
        let there = all.filter_map(|(name, server)| Some((name, server.stored()?.clone())));
        Sighting::Listed(there.filter(|(name, snapshot)| scope.matches(name, &snapshot.record)).collect())
    }

    /// Tells every watch of a commit, as far as it still hears anything.
    fn tell(&mut self, now: u64, plan: &Plan, name: &LockName, commit: &Commit) {
        let mut watchers = std::mem::take(&mut self.watchers);
        watchers.retain(|watcher| !watcher.queue.is_closed());
        for watcher in &mut watchers {
            let Some(sighting) = seen(&watcher.scope, name, commit) else { continue };
            watcher.silent |= watcher.machine.is_cut() || watcher.machine.is_dead();
            let (lost, late) = if self.calm { (0, 0) } else { (plan.event_lost, plan.event_late) };
            // Lost is an event in two ways: the watch goes deaf, or it breaks and starts over.
            match (self.rng.chance(lost), self.rng.chance(500)) {
                (true, true) => watcher.silent = true,
                (true, false) => {
                    let (list, at) = (self.listed(&watcher.scope), now + hop(&mut self.rng));
                    watcher.send(at, Err(unknown()), None);
                    watcher.send(at, Ok(list), self.server.leased());
                }
                (false, _) => {
                    let delay = if self.rng.chance(late) { self.rng.below(2 * plan.ttl) } else { hop(&mut self.rng) };
                    watcher.send(now + delay, Ok(sighting), self.server.leased());
                }
            }
            self.trouble_until = self.trouble_until.max(watcher.last);
        }
        self.watchers = watchers;
    }
}

// === impl Watcher ===

impl Watcher {
    fn send(&mut self, at: u64, what: Result<Sighting, Fault>, leased: Option<&Leased>) {
        self.last = self.last.max(at);
        if !self.silent {
            let _ = self.queue.unbounded_send((self.last, what, leased.cloned()));
        }
    }
}

fn holder(leased: &Leased) -> &str {
    leased.spec.get("holderIdentity").and_then(Value::as_str).unwrap_or_default()
}

/// Edits a Lease as people do: one thing at a time. They leave a trace of the engine that holds: who takes all of it away, and
/// the holder as well, leaves nothing to wait for.
fn edited(mut leased: Leased, rng: &mut Rng) -> Leased {
    let notes = leased.annotations.get_or_insert_default();
    match rng.below(5) {
        0 => drop(leased.spec.insert("holderIdentity".to_owned(), "".into())),
        1 => drop(leased.spec.insert("holderIdentity".to_owned(), HAND.into())),
        2 => {
            let key = rng.pick(&["engine", "term", "beat", "renewals", "instant", "ttl-ms", "expiry"]);
            let note = |key: &str| format!("msync.dev/{key}");
            let gone = notes.remove(&note(key)).is_some_and(|text| !text.is_empty());
            let trace = |key: &&str| notes.get(&note(key)).is_some_and(|text| !text.is_empty());
            if gone && !["engine", "term", "beat"].iter().any(trace) {
                notes.insert(note(key), HAND.to_owned());
            }
        }
        3 => notes.retain(|key, _| !key.starts_with("msync.dev/w.") || rng.chance(500)),
        _ => drop(notes.insert(format!("msync.dev/w.{:016x}", rng.bits()), "written by hand".to_owned())),
    }
    leased
}

/// Returns the name of the first lock.
pub(crate) fn name() -> LockName {
    lock(0)
}

/// Returns the name of a lock, by its number.
pub(crate) fn lock(index: usize) -> LockName {
    let name = if index == 0 { LOCK.to_owned() } else { format!("{LOCK}-{index}") };
    LockName::new(name).expect("a valid name")
}

/// Says whether an object is a session.
pub(crate) fn is_session(name: &LockName) -> bool {
    name.as_str().starts_with(SESSIONS)
}

/// Returns what a watch of a scope sees of a commit, as the API server shows it.
fn seen(scope: &Scope, name: &LockName, commit: &Commit) -> Option<Sighting> {
    let (matches, name) = (|record: &Record| scope.matches(name, record), name.clone());
    let before = commit.before.as_ref().is_some_and(matches);
    let after: Option<&Snapshot> = commit.after.as_ref().filter(|snapshot| matches(&snapshot.record));
    match after {
        Some(snapshot) => Some(Sighting::Changed(name, snapshot.clone())),
        None => before.then_some(Sighting::Gone(name, commit.version)),
    }
}

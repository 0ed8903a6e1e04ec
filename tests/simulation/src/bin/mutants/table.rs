//! The mutants: which rule is broken, and how. Some groups of them stand in files of their own.

pub(crate) mod of_leases;
pub(crate) mod of_sessions;
pub(crate) mod of_the_engine;
pub(crate) mod of_trouble;

/// One rule broken on purpose.
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    /// Stands once in the file.
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    /// Why nobody needs to notice.
    pub(crate) harmless: Option<&'static str>,
    /// It breaks what only sessions need: then engines are simulated that use them.
    pub(crate) of_sessions: bool,
}

const fn mutant(name: &'static str, file: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { name, file, from, to, harmless: None, of_sessions: false }
}

impl Mutant {
    const fn because(self, why: &'static str) -> Self {
        Self { harmless: Some(why), ..self }
    }

    /// Says whether it breaks what only Leases need: then whole engines are simulated on one.
    pub(crate) fn is_of_leases(&self) -> bool {
        self.file.starts_with(LEASED.trim_end_matches(".rs"))
    }

    /// Says whether the simulation of the core runs what it breaks.
    pub(crate) fn is_of_the_core(&self) -> bool {
        !self.is_of_leases() && self.is_of_core_files()
    }

    fn is_of_core_files(&self) -> bool {
        !self.file.starts_with("msync")
            || self.file.starts_with(KEEPER.trim_end_matches(".rs"))
            || self.file.starts_with(RECORD.trim_end_matches(".rs"))
    }
}

const RECORD: &str = "msync/src/record.rs";
const IDENTITY: &str = "msync/src/record/identity.rs";
const KEEPER: &str = "msync/src/protocol.rs";
const KEEPING: &str = "msync/src/protocol/keeping.rs";
const COLLECT: &str = "msync/src/protocol/collect.rs";
const CONTEST: &str = "msync/src/protocol/contest.rs";
const JOINING: &str = "msync/src/protocol/contest/joining.rs";
const HOLD: &str = "msync/src/protocol/hold.rs";
const SESSION: &str = "msync/src/protocol/session.rs";
const UNDER: &str = "msync/src/protocol/under.rs";
const OWN: &str = "msync/src/protocol/own.rs";
const FOREIGN: &str = "msync/src/protocol/foreign.rs";
const REPLY: &str = "msync/src/protocol/reply.rs";
const TROUBLE: &str = "msync/src/protocol/trouble.rs";
const RELEASE: &str = "msync/src/protocol/release.rs";
const VIEW: &str = "msync/src/protocol/view.rs";
const EVENT: &str = "msync/src/protocol/event.rs";
const ENGINE: &str = "msync/src/engine.rs";
const DRIVER: &str = "msync/src/engine/keeper.rs";
const TURN: &str = "msync/src/engine/turn.rs";
const OFFER: &str = "msync/src/engine/offer.rs";
const CALL: &str = "msync/src/engine/call.rs";
const HELD: &str = "msync/src/held/body.rs";
const LEASE: &str = "msync/src/held/lease.rs";
const LEASED: &str = "msync/src/record/leased.rs";
const OPS: &str = "msync/src/record/leased/ops.rs";
const QUEUE: &str = "msync/src/record/leased/queue.rs";
const SERVER: &str = "tests/simulation/src/server.rs";

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "renew without the test of the previous beat",
        RECORD,
        "record.pair() == Pair { term: *term, beat: *previous }",
        "record.term == *term && *previous != Beat::NONE",
    ),
    mutant(
        "claim without the test of the beat",
        RECORD,
        "record.pair() == *seen && removes",
        "record.term == seen.term && removes",
    ),
    mutant(
        "claim without the test of the pair",
        RECORD,
        "record.pair() == *seen && removes",
        "(record.pair() == *seen || !seen.term.is_none()) && removes",
    ),
    mutant(
        "a repeated claim reuses its beat",
        CONTEST,
        "let (beat, now) = (fresh(cx), cx.now.local);",
        "let (beat, now) = (Beat(self.claim.term.0), cx.now.local);",
    ),
    mutant(
        "a repeated renewal reuses its beat",
        KEEPING,
        "let (beat, ttl) = (fresh(cx), hold.timing.ttl());",
        "let beat = hold.attempts.keys().next_back().copied().unwrap_or_else(|| fresh(cx));\n        \
         let ttl = hold.timing.ttl();",
    ),
    mutant(
        "deadline anchored at the reply of a renewal",
        HOLD,
        "self.beat_deadline = attempt.deadline;",
        "self.beat_deadline = now + attempt.deadline.since(attempt.sent);",
    ),
    mutant(
        "deadline anchored at the reply of a claim",
        CONTEST,
        "attempt.map(|attempt| attempt.deadline)",
        "attempt.map(|attempt| now + attempt.deadline.since(attempt.sent))",
    ),
    mutant(
        "a grant anchored at its event",
        CONTEST,
        "self.granted_deadline(record))?",
        "self.granted_deadline(record).map(|_| now + self.claim.ttl - self.want.timing.safety_margin()))?",
    ),
    mutant("an instant grant claimed after the accept timeout", VIEW, "if !record.instant {", "if true {"),
    mutant(
        "an unseen instant grant claimed after the accept timeout",
        VIEW,
        "None => full,",
        "None => since + accept,",
    ),
    mutant(
        "a grant that must be accepted believed at once",
        CONTEST,
        "self.claim.instant && record.instant && record",
        "record",
    ),
    mutant(
        "anchor at the latest Enqueue of a term",
        JOINING,
        "self.first_enqueue.get_or_insert(cx.now.local);",
        "self.first_enqueue = Some(cx.now.local);",
    ),
    mutant(
        "entry age counted from the role of holder",
        VIEW,
        "seen(record.term).map(|since| (record.term, since))",
        "Some((record.term, seen(record.term).unwrap_or(now)))",
    ),
    mutant(
        "the challenger's own ttl",
        VIEW,
        "(record.patience(), ACCEPT_TIMEOUT)",
        "(record.patience().min(std::time::Duration::from_millis(1500)), ACCEPT_TIMEOUT)",
    ),
    mutant(
        "3 % less patience",
        VIEW,
        "(record.patience(), ACCEPT_TIMEOUT)",
        "(record.patience() * 97 / 100, ACCEPT_TIMEOUT)",
    ),
    mutant(
        "10 % less patience",
        VIEW,
        "(record.patience(), ACCEPT_TIMEOUT)",
        "(record.patience() * 9 / 10, ACCEPT_TIMEOUT)",
    ),
    mutant(
        "no margin, with rates 1 % apart",
        HOLD,
        "deadline: sent + ttl - margin",
        "deadline: sent + ttl - margin * 0",
    ),
    mutant(
        "an unconfirmed renewal trusted",
        HOLD,
        "self.attempts.insert(beat, attempt);",
        "self.attempts.insert(beat, attempt);\n        self.beat_deadline = attempt.deadline;",
    ),
    mutant(
        "a shorter ttl without a shorter deadline",
        UNDER,
        "pending.fold(bound(self.under, self.beat_deadline, own), Moment::min)",
        "bound(self.under, self.beat_deadline, own)",
    ),
    mutant("a late read believed", VIEW, "Some(snapshot) if overtaken", "Some(snapshot) if overtaken && false"),
    mutant(
        "a stale event believed",
        VIEW,
        "|| complements;",
        "|| complements || !record_is_newer();\n        fn record_is_newer() -> bool { false }",
    ),
    mutant(
        "a release without the test of its term",
        RECORD,
        "record.term == *term && stands(index, entry)",
        "term == term && stands(index, entry)",
    ),
    mutant(
        "freed without the test of its term",
        RECORD,
        "record.term == *term && record.waiters",
        "term == term && record.waiters",
    ),
    mutant(
        "deleted without the test of its version",
        SERVER,
        "snapshot.version != *version",
        "snapshot.version.uid.is_empty() && version.uid.is_empty()",
    ),
    mutant(
        "a local hand-over after the deadline",
        HOLD,
        "self.user.is_none() && safe && now",
        "self.user.is_none() && (safe || true) && now",
    ),
    mutant(
        "a lost term renewed",
        HOLD,
        "matches!(self.ended, None | Some(LossReason::ShutDown))",
        "self.ended != Some(LossReason::MaxHold)",
    ),
    mutant("a bequest given back", RELEASE, "let outlives = kept && self.shut;", "let outlives = false;"),
    mutant(
        "a reservation under the id of its engine",
        RECORD,
        "(next.engine, next.beat, next.ttl) = (engine.reserved(), *beat, *ttl);",
        "(next.engine, next.beat, next.ttl) = (engine.clone(), *beat, *ttl);",
    ),
    mutant(
        "a reservation claimed before its date",
        VIEW,
        "unchanged.min(local(until + WALL_SKEW, now))",
        "unchanged.min(local(until + WALL_SKEW, now)).min(now.local)",
    ),
    mutant("a reservation claimed without regard to the skew of clocks", VIEW, "until + WALL_SKEW", "until"),
    mutant("the wall clock ends a hold that lives", VIEW, "if record.is_reserved() {", "if record.expiry.is_some() {"),
    mutant(
        "a reservation that ends with its ttl alone",
        VIEW,
        "unchanged.min(local(until + WALL_SKEW, now))",
        "unchanged.max(local(until + WALL_SKEW, now))",
    ),
    mutant(
        "a reservation of an earlier start is given back",
        RELEASE,
        "record.engine == self.engine && !record.is_free()",
        "[&self.engine, &self.engine.reserved()].contains(&&record.engine) && !record.is_free()",
    ),
    mutant(
        "whoever tries waits for a reservation",
        CONTEST,
        "let kept = if record.is_reserved() {",
        "let kept = if record.is_reserved() && false {",
    ),
    mutant(
        "kin of another role adopted",
        IDENTITY,
        "let role = role.letter();",
        "let role = if role == Role::Library { \"s\" } else { role.letter() };",
    ),
    mutant("kin adopted that was seen to live", CONTEST, "&& !view.shows_life()", "&& (!view.shows_life() || true)"),
    mutant(
        "what nobody has collected is renewed",
        HOLD,
        "is_none_or(|user| user.collected)",
        "is_none_or(|user| user.collected || true)",
    ),
    mutant("what nobody has collected is not recalled", COLLECT, "|| cx.now.local >= hold.collect_by(user)", ""),
    mutant(
        "whoever begins anew waits behind the others",
        COLLECT,
        "want.again.and_then(",
        "want.again.filter(|_| false).and_then(",
    ),
    mutant(
        "whoever begins anew goes before one that does not wait",
        COLLECT,
        "== Patience::Wait && ",
        "== other.patience && ",
    ),
    mutant(
        "whoever is not polled keeps its place",
        EVENT,
        "again.unpolled <= self.timing.attempt_timeout() / 2",
        "again.unpolled <= Duration::MAX",
    ),
    mutant(
        "an acquisition that begins anew twice forgets where it was at first",
        ENGINE,
        "again = Some(Again { place, unpolled })",
        "again = Some(Again { place: ticket, unpolled })",
    ),
    mutant(
        "what nobody had is renewed for the next of the process",
        HOLD,
        "self.spurned && (!self.under",
        "self.spurned && false && (!self.under",
    ),
    mutant(
        "what nobody has collected is kept",
        HOLD,
        "is_some_and(|user| user.collected)",
        "is_some_and(|user| user.collected || true)",
    ),
    mutant(
        "`at_least` counts from the grant",
        HOLD,
        "self.handovers = self.handovers.saturating_add(1);",
        "self.handovers = self.handovers.saturating_add(1);\n        self.keep_until = now + want.at_least;",
    ),
    mutant(
        "a late collection is not asked for",
        KEEPER,
        "tell: self.awaits_collection(now.local),",
        "tell: self.awaits_collection(now.local) && self.shut,",
    ),
    mutant(
        "a guard that begins with little left",
        CONTEST,
        "if granted { timing.attempt_timeout().max(half) }",
        "if granted { timing.attempt_timeout().max(half / 9) }",
    ),
    mutant(
        "who waits behind the first sets its time-outs",
        KEEPER,
        "let contest = || self.contest.as_ref().map_or(self.timing, |contest| contest.timing());",
        "let contest = || self.tickets.back().map_or(self.timing, |want| want.timing);",
    ),
    mutant(
        "who found the queue full sleeps for a ttl",
        JOINING,
        "self.full_until = cx.now.local + jitter(most, cx);",
        "self.full_until = cx.now.local + self.want.timing.ttl() + jitter(most, cx) / 1000;",
    ),
    mutant(
        "nobody makes way for an acceptance",
        JOINING,
        "self.full_until.max(since + MAKES_WAY)",
        "self.full_until.max(since)",
    ),
    mutant(
        "who was granted the lock counts as its leader for ever",
        JOINING,
        "now < since + ACCEPT_TIMEOUT",
        "now < since + ACCEPT_TIMEOUT * 100",
    ),
    mutant(
        "who is far back in the queue looks after the ttl of a holder long gone",
        CONTEST,
        "record.patience().min(self.want.timing.ttl())",
        "record.patience()",
    ),
    mutant(
        "a keeper retires under a new message",
        ENGINE,
        "let retires = message::are_read(letters);",
        "let retires = message::are_read(letters) || true;",
    ),
];

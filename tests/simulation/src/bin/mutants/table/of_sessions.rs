//! What only sessions need, with a rule broken: engines are simulated that use them.

use super::{CONTEST, FOREIGN, HOLD, KEEPER, KEEPING, Mutant, OWN, RECORD, REPLY, SERVER, SESSION, UNDER, VIEW};

const fn mutant(name: &'static str, file: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { of_sessions: true, ..super::mutant(name, file, from, to) }
}

pub(crate) const OF_SESSIONS: &[Mutant] = &[
    mutant(
        "a lock claimed because its session stood still",
        FOREIGN,
        "State::Present(_) if now >= self.due() => Verdict::Due,",
        "State::Present(_) if now >= self.due() => Verdict::Dead,",
    ),
    mutant(
        "a kill that was refused counts as one",
        FOREIGN,
        "Outcome::Refused(_) => self.view.doubt(State::Exists),",
        "Outcome::Refused(_) => self.dead = true,",
    ),
    mutant(
        "a kill does not test the beat",
        SERVER,
        "Some(snapshot) if snapshot.version != *version",
        "Some(snapshot) if snapshot.version.uid != version.uid",
    ),
    mutant(
        "a move does not test the beat",
        RECORD,
        "record.pair() == Pair { term: *term, beat: *previous }",
        "record.term == *term && *previous != Beat::NONE",
    ),
    mutant(
        "a move keeps its beat",
        KEEPING,
        "let (beat, ttl) = (fresh(cx), hold.timing.ttl());",
        "let kept = if under.is_none() { fresh(cx) } else { record.beat };\n        \
         let (beat, ttl) = (kept, hold.timing.ttl());",
    ),
    mutant(
        "a session's deadline anchored at the news of its beat",
        OWN,
        "shelter.deadline = if loss.is_none() { standing.until } else { shelter.deadline };",
        "let news = loss.is_none() && standing.until > shelter.deadline;\n                \
         let heard = now + self.timing.ttl() - self.timing.safety_margin();\n                \
         shelter.deadline = if news { heard } else { shelter.deadline };",
    ),
    mutant(
        "a hold believed beyond its session",
        SESSION,
        "find(under, own).map_or(Moment::default(), Shelter::bound)",
        "find(under, own).map_or(beat, |shelter| shelter.bound().max(beat))",
    ),
    mutant(
        "a hold believed by a session alone, whatever is on its way",
        UNDER,
        "pending.fold(bound(self.under, self.beat_deadline, own), Moment::min)",
        "bound(self.under, self.beat_deadline, own)",
    ),
    mutant(
        "a session used before its beat was seen",
        OWN,
        "Self { term, timing, ticket, shelter: None, unused: None, closed: false }",
        "let shelter = Shelter { term, timing, deadline: crate::protocol::session::NEVER, lost: None };\n        \
         Self { term, timing, ticket, shelter: Some(shelter), unused: None, closed: false }",
    ),
    mutant(
        "a write forgotten at its time-out",
        REPLY,
        "            self.unsettled = true;\n            if self.hold",
        "            self.unsettled = true;\n            \
         self.hold.iter_mut().for_each(|hold| hold.attempts.clear());\n            if self.hold",
    ),
    mutant(
        "a session that was lost is revived",
        OWN,
        "if self.shelter.is_some_and(|shelter| shelter.lost.is_some()) {\n            return;",
        "if false {\n            return;",
    ),
    mutant(
        "news of a session revive what its guard saw lost",
        KEEPER,
        "            hold.expire(now);\n            hold.reckon(",
        "            hold.reckon(",
    ),
    mutant("a session removed while it is believed", OWN, "if uses > 0 {", "if uses > 0 && false {"),
    mutant(
        "a session not needed by what is on its way under it",
        UNDER,
        "pending.chain([self.under])",
        "pending.filter(|_| false).chain([self.under])",
    ),
    mutant(
        "a session killed before its own ttl is over",
        FOREIGN,
        "since + record.patience() + spread",
        "since + record.patience() * 9 / 10 + spread",
    ),
    mutant("a session that a list lacks is dead", FOREIGN, "self.view.doubt(State::Unknown);", "self.dead = true;"),
    mutant(
        "a session that is dead lives when it is shown",
        FOREIGN,
        "Glance::Seen(snapshot) => self.view.believe(&snapshot, now.local),",
        "Glance::Seen(snapshot) => {\n                self.dead = false;\n                \
         self.view.believe(&snapshot, now.local)\n            }",
    ),
    mutant(
        "who does not watch a session kills it without a look",
        FOREIGN,
        "let informed = self.watched ||",
        "let informed = true || self.watched ||",
    ),
    mutant(
        "what may not be killed is dead by any read",
        FOREIGN,
        "same && flight.sent >= self.due_of(&snapshot.record)",
        "same && flight.sent >= Moment::default()",
    ),
    mutant(
        "a lock under a session claimed by its own age",
        VIEW,
        "if !record.under.is_none() {",
        "if !record.under.is_none() && false {",
    ),
    mutant(
        "a session made a second time",
        CONTEST,
        "State::Absent if self.want.session.is_some() && !self.fresh",
        "State::Absent if self.want.session.is_some() && false",
    ),
    mutant(
        "a session renewed by who is deaf",
        SESSION,
        "now.since(heard) <= DEAF.max(2 * ttl)",
        "now.since(heard) <= DEAF.max(2 * ttl) * 1000",
    ),
    mutant(
        "a session used without time left",
        SESSION,
        "self.deadline.since(now) >= timing.attempt_timeout()",
        "self.deadline >= now.before(timing.attempt_timeout())",
    ),
    mutant(
        "a session of another timing used",
        SESSION,
        "self.lost.is_none() && self.timing == *timing &&",
        "self.lost.is_none() &&",
    ),
    mutant(
        "a leader's term put under a session",
        CONTEST,
        "if self.claim.instant { session::shelter",
        "if true { session::shelter",
    ),
    mutant(
        "what is over for its user stays under its session",
        UNDER,
        "over && self.serves()",
        "over && false && self.serves()",
    ),
    mutant(
        "what nobody collects stays under its session",
        HOLD,
        "if self.under.is_none() { self.deadline } else { self.deadline.min(granted) }",
        "if true { self.deadline } else { self.deadline.min(granted) }",
    ),
    mutant(
        "a hold that is asked to be prolonged stays under its session",
        UNDER,
        "!self.instant || self.prolonged ||",
        "!self.instant ||",
    ),
    mutant(
        "a grant keeps the session of who hands on",
        RECORD,
        "next = Record { advertised: next.advertised, ..Record::held_by(&claim, *beat, 0, *wall) };",
        "next = Record { advertised: next.advertised, under: next.under, ..Record::held_by(&claim, *beat, 0, *wall) };",
    ),
    mutant(
        "a hold that is over is led out of what it does not stand under",
        UNDER,
        "find(self.under, own).is_some_and(|shelter| shelter.lost.is_none())",
        "own.iter().any(|shelter| shelter.lost.is_none())",
    ),
];

//! What does not answer, denies or is given up, with a rule broken.

use super::{HOLD, JOINING, KEEPER, Mutant, RELEASE, REPLY, TROUBLE, VIEW, mutant};

pub(crate) const OF_TROUBLE: &[Mutant] = &[
    mutant(
        "a denial is final at once",
        REPLY,
        "Outcome::Denied if !self.is_denied(flight.call == Call::Read) => {",
        "Outcome::Denied if false => {",
    ),
    mutant("a denial is never final", TROUBLE, "denied.lasted() >= DENIAL", "denied.lasted() >= 1000 * DENIAL"),
    mutant(
        "a denial counts from the question that was answered so",
        TROUBLE,
        "map_or(trip.now, |before| before.answered)",
        "map_or(trip.sent, |before| before.answered)",
    ),
    mutant(
        "a denial counts to the answer that said so",
        TROUBLE,
        "Denied { answered, asked: trip.sent }",
        "Denied { answered, asked: trip.now }",
    ),
    mutant("two denials far apart count as one", TROUBLE, "<= DENIAL + trip.limit", "<= 1000 * DENIAL + trip.limit"),
    mutant(
        "a denial of writes and a later one of reads count as one",
        TROUBLE,
        "streak.denied.is_some_and(|denied| denied.lasted() >= DENIAL)",
        "let first = [&self.reads, &self.writes].into_iter().filter_map(|one| Some(one.denied?.answered)).min();\n        \
         first.zip(streak.denied).is_some_and(|(first, denied)| denied.asked.since(first) >= DENIAL)",
    ),
    mutant(
        "a denial that was final counts for calls of the other kind",
        TROUBLE,
        "streak.denied.is_some_and(|denied| denied.lasted() >= DENIAL)",
        "[streak, &self.reads, &self.writes].into_iter().filter_map(|one| one.denied).any(|one| one.lasted() >= DENIAL)",
    ),
    mutant(
        "a read resets the back-off of writes",
        TROUBLE,
        "(self.reads, self.failing) = (Streak::default(), false);",
        "(self.reads, self.writes, self.failing) = (Streak::default(), Streak::default(), false);",
    ),
    mutant(
        "pauses do not grow",
        TROUBLE,
        "if lasts { longest } else { Duration::from_millis(50 << self.count().min(7)).min(longest) }",
        "if lasts && false { longest } else { Duration::from_millis(10 << self.count().min(4)) }",
    ),
    mutant("refusals without end", TROUBLE, "self.refusals.count >= MOST_REFUSALS &&", "self.refusals.count > MANY &&"),
    mutant(
        "a release abandoned at a denial",
        REPLY,
        "if self.keeps_parting(cx) {",
        "if self.keeps_parting(cx) && false {",
    ),
    mutant(
        "time-outs do not adapt",
        TROUBLE,
        "let wanted = (2 * self.pace).min(longest_call(timing)).max(usual);",
        "let wanted = usual;",
    ),
    mutant(
        "time-outs without a bound",
        TROUBLE,
        "let wanted = (2 * self.pace).min(longest_call(timing)).max(usual);",
        "let wanted = (2 * self.pace).max(usual);",
    ),
    mutant(
        "a slow grant believed with too little left",
        TROUBLE,
        "(self.slow * 5 / 4).min(longest_call(timing)).max(timing.attempt_timeout())",
        "timing.attempt_timeout()",
    ),
    mutant("calls that fail are not told", KEEPER, "report: self.report(now.local),", "report: None,"),
    mutant(
        "each failure is told",
        TROUBLE,
        "self.told = Some((began, now + lasting));",
        "self.told = Some((began, now));",
    ),
    mutant(
        "the end of failures is not told",
        TROUBLE,
        "Some(Report::Recovered { lasting: now.since(began) })",
        "(began > now).then(|| Report::Recovered { lasting: now.since(began) })",
    ),
    mutant(
        "a loss does not name the refusal",
        HOLD,
        "if self.refused { LossReason::Refused } else { LossReason::Deadline }",
        "if self.refused && false { LossReason::Refused } else { LossReason::Deadline }",
    ),
    mutant(
        "a renewal that failed is repeated without a pause",
        REPLY,
        "(end.since(now) / 3).max(shortest)",
        "(end.since(now) / 30).min(shortest / 50)",
    ),
    mutant(
        "failures are remembered when no call is due",
        KEEPER,
        "if ready && call.is_none() {",
        "if ready && call.is_none() && self.shut {",
    ),
    mutant(
        "a holder counts as seen that nobody saw",
        KEEPER,
        "self.seen_held >= since ||",
        "self.seen_held >= Moment::default().min(since) ||",
    ),
    mutant(
        "whoever had the lock in vain has seen no holder",
        KEEPER,
        "self.seen_held.max(cx.now.local - again.unpolled)",
        "self.seen_held.max(Moment::default().min(cx.now.local - again.unpolled))",
    ),
    mutant(
        "a release is tried for the ttl of the last user",
        RELEASE,
        "now + hold.longest_ttl(self.view.record())",
        "now + hold.timing.ttl()",
    ),
    mutant(
        "what landed is given up after one long call",
        RELEASE,
        "(lasts && self.failures() >= FEW)",
        "(lasts && self.failures() < FEW)",
    ),
    mutant(
        "what was shown anew is given up for what failed before",
        RELEASE,
        "self.insist_until.max(now + shown.record.patience())",
        "self.insist_until.max(Moment::default())",
    ),
    mutant(
        "what was given up counts as gone",
        VIEW,
        "matches!(self.state, State::Absent | State::Exists)",
        "matches!(self.state, State::Absent | State::Exists | State::Unknown)",
    ),
    mutant(
        "writes of unknown fate not looked after",
        RELEASE,
        "self.unsettled && (self.tickets.is_empty() || self.parting.is_some())",
        "false",
    ),
    mutant(
        "strays not given back",
        RELEASE,
        "!record.is_free() && !self.wants(record.term)",
        "!record.is_free() && self.parting.is_some() && !self.wants(record.term)",
    ),
    mutant(
        "the wake-up of a new acquisition forgotten",
        KEEPER,
        ".chain(starting.then_some(self.pause))",
        ".chain((starting && self.shut).then_some(self.pause))",
    ),
    mutant(
        "a removed entry comes back under its old term",
        JOINING,
        "self.claim.term = Term::random((cx.random)());",
        "let _ = &cx;",
    ),
];

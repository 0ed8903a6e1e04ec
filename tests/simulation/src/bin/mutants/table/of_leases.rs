//! What only Leases need, with a rule broken: whole engines are simulated on one.

use super::{LEASED, Mutant, OPS, QUEUE, mutant};

pub(crate) const OF_LEASES: &[Mutant] = &[
    mutant("a ttl is rounded down for others", LEASED, "ttl.as_millis().div_ceil(1000)", "(ttl.as_millis() / 1000)"),
    mutant(
        "a foreign change is taken for ours",
        LEASED,
        "(identity, Some(noted)) if identity == noted && self.is_legible() => Holder::Ours,",
        "(_, Some(_)) => Holder::Ours,",
    ),
    mutant(
        "who was wiped out is taken for nobody",
        LEASED,
        "(\"\", _) if self.is_traced() => Holder::Wiped,",
        "(\"\", _) if self.is_traced() => Holder::Nobody,",
    ),
    mutant(
        "who was wiped out is forgotten when its term was spoilt",
        LEASED,
        "TRACES.iter().any(",
        "self.is_legible() && TRACES.iter().any(",
    ),
    mutant(
        "who was wiped out is forgotten when its engine was spoilt",
        LEASED,
        "TRACES.iter().any(",
        "TRACES.iter().take(1).any(",
    ),
    mutant(
        "stale annotations are believed",
        OPS,
        "self.test(&[\"spec\", \"holderIdentity\"], json!(self.seen.identity()));",
        "",
    ),
    mutant(
        "a Lease made anew looks as before",
        LEASED,
        "date.as_millis().rem_euclid(1000)",
        "date.as_millis().rem_euclid(1)",
    ),
    mutant(
        "renewTime does not move a second",
        OPS,
        "draft.last(*ttl, renew_time(self.date(\"renewTime\"), *wall));",
        "draft.last(*ttl, *wall);",
    ),
    mutant(
        "a claim from others tests only the holder",
        OPS,
        "Holder::Foreign | Holder::Wiped => self.test(&[\"spec\"], json!(self.seen.spec)),",
        "Holder::Foreign | Holder::Wiped => self.test(&[\"spec\", \"holderIdentity\"], json!(self.seen.identity())),",
    ),
    mutant(
        "a claim from an engine does not test its beat",
        OPS,
        "                self.test_note(\"beat\", self.seen.noted_text(\"beat\"));",
        "",
    ),
    mutant(
        "a foreign pair is that of its holder alone",
        LEASED,
        "Beat::random(hash(format!(\"{:?}\", self.spec).as_bytes()))",
        "Beat::random(hash(self.identity().as_bytes()))",
    ),
    mutant(
        "a reservation keeps its engine in a Lease",
        OPS,
        "draft.hold_as(engine.reserved().as_str());",
        "draft.hold_as(engine.as_str());",
    ),
    mutant(
        "a newcomer's date is believed as it is",
        QUEUE,
        ".map(|(date, ..)| date).max()",
        ".map(|(date, ..)| date).max().filter(|_| false)",
    ),
    mutant("a newcomer forgets whom it has seen", QUEUE, "self.latest(|_| true).map_or(", "None.map_or("),
    mutant(
        "who joins unseeing stays where its clock puts it",
        QUEUE,
        "ahead.then(||",
        "(ahead && term.is_empty()).then(||",
    ),
    mutant(
        "who waits no more comes back by lining up",
        OPS,
        "Some(vec![Op::Test(place(), before.into()), Op::Set(place(), after.into())])",
        "Some(vec![Op::Set(place(), after.into())]).filter(|_| !before.is_empty())",
    ),
];

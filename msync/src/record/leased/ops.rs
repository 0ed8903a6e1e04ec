//! A change of a record as operations on a Lease: its conditions, then its effect.
//!
//! They are those of a JSON patch (RFC 6902), as far as they are needed: `test`, `add`, `remove`. A test against null holds
//! where nothing is, as on the API server.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    ENGINE_LABEL, Holder, Leased, NEXT_LABEL, TRACES, badge, before, micros, note, renew_time, seconds, waiter,
};
use crate::{
    clock::Wall,
    record::{Beat, Change, Claim, Entry, Pair, Refused, Term},
};

/// Where an operation works: the parts of its path.
pub type Place = Vec<String>;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// What is there equals the value.
    Test(Place, Value),
    /// The value is put there, whatever was there before.
    Set(Place, Value),
    /// What is there goes; something must be.
    Remove(Place),
}

// === impl Leased: changes ===

impl Leased {
    /// What a Lease looks like that msync has left free, as far as conditions compare it: the guess of who has not looked.
    pub fn left_free() -> Self {
        Self {
            spec: BTreeMap::from([("holderIdentity".to_owned(), json!(""))]),
            annotations: Some(TRACES.map(|key| (note(key), String::new())).into()),
            labels: Some(BTreeMap::new()),
            version: 0,
        }
    }

    /// Says whether a change is one of what was seen here: then its conditions can be written.
    pub fn fits(&self, change: &Change) -> bool {
        match change {
            Change::Create { .. } => false,
            Change::Enqueue { .. } | Change::Leave { .. } => true,
            Change::Claim { seen, .. } => self.pair() == *seen,
            Change::Renew { term, previous, .. } | Change::Reserve { term, previous, .. } => {
                self.is_ours(*term) && self.pair() == Pair { term: *term, beat: *previous }
            }
            Change::Grant { term, .. } | Change::Free { term, .. } => self.is_ours(*term),
            Change::Advertise(advert) => self.is_ours(advert.term),
        }
    }

    /// Lists the operations of a change, as one who has seen this Lease sends them; `None` when none could apply it: it does
    /// not [fit](Self::fits), it is a creation, or a grant to a dead waiter.
    ///
    /// Entries of the queue are found by their terms, whatever place the change says: places move when clocks differ.
    pub fn ops(&self, change: &Change) -> Option<Vec<Op>> {
        if !self.fits(change) {
            return None;
        }
        let mut draft = Draft::new(self);
        match change {
            Change::Create { .. } => return None,
            Change::Claim { claim, beat, removes, under, wall, .. } => {
                draft.test_seen();
                draft.take_out(removes);
                draft.hold(claim, *beat, 1, *under, *wall);
                draft.first("");
            }
            Change::Enqueue { claim, wall } => {
                let entry = claim.entry(*wall);
                draft.note_as(waiter(&entry), self.newcomer(&entry, *wall));
            }
            Change::Leave { entry, .. } => draft.take_out(&[(0, entry.clone())]),
            Change::Renew { previous, beat, renewals, ttl, next_owner, under, wall, .. } => {
                draft.test_held();
                draft.test_note("beat", previous.to_string());
                draft.note("beat", beat);
                draft.note("renewals", renewals);
                draft.put_under(*under, *wall + *ttl);
                draft.last(*ttl, renew_time(self.date("renewTime"), *wall));
                if self.noted_next_owner() != next_owner.as_deref() {
                    draft.note("next-owner", &next_owner.as_deref().unwrap_or_default());
                }
            }
            Change::Reserve { previous, beat, engine, ttl, until, .. } => {
                draft.test_held();
                draft.test_note("beat", previous.to_string());
                draft.hold_as(engine.reserved().as_str());
                draft.note("beat", beat);
                draft.put_under(Term::NONE, *until);
                draft.last(*ttl, before(*until, *ttl));
            }
            Change::Grant { beat, index, entry, duplicates, next, wall, .. } => {
                draft.test_held();
                let mut gone = duplicates.clone();
                gone.retain(|(_, other)| waiter(other) != waiter(entry));
                gone.push((*index, entry.clone()));
                draft.take_out(&gone);
                draft.hold(&entry.claim()?, *beat, 0, Term::NONE, *wall);
                draft.first(next.as_str());
                draft.note("next-owner", &next.owner());
            }
            Change::Advertise(advert) => {
                draft.test_held();
                draft.note("advertised", advert);
            }
            Change::Free { .. } if !self.waiters().is_empty() => return None,
            Change::Free { wall, .. } => draft.free(*wall),
        }
        Some(draft.finish())
    }

    /// Lists the operations that move who has just joined behind those who came before; `None` where it stands behind them.
    /// `self` is what the answer showed. Whoever waits no more must not come back by it.
    pub fn line_up(&self, term: Term) -> Option<Vec<Op>> {
        let (before, after) = self.place_behind_others(term)?;
        let place = || path(&["metadata", "annotations", &note(&format!("w.{term}"))]);
        Some(vec![Op::Test(place(), before.into()), Op::Set(place(), after.into())])
    }

    /// Carries out operations, as the API server would.
    ///
    /// # Errors
    /// [`Refused::Mismatch`] when one does not hold or has nowhere to go; nothing is changed then.
    pub fn run(&self, ops: &[Op]) -> Result<Self, Refused> {
        let mut next = self.clone();
        ops.iter().try_for_each(|op| next.carry_out(op)).map_err(|()| Refused::Mismatch)?;
        Ok(next)
    }

    fn is_ours(&self, term: Term) -> bool {
        self.holder() == Holder::Ours && self.pair().term == term
    }

    fn carry_out(&mut self, op: &Op) -> Result<(), ()> {
        let (Op::Test(place, _) | Op::Set(place, _) | Op::Remove(place)) = op;
        let parts: Vec<&str> = place.iter().map(String::as_str).collect();
        match (op, parts.as_slice()) {
            (Op::Test(_, value), parts) => self.at(parts).is_some_and(|at| at == *value).then_some(()).ok_or(()),
            (Op::Set(_, value), ["spec", field]) => {
                self.spec.insert((*field).to_owned(), value.clone());
                Ok(())
            }
            (Op::Set(_, value), ["metadata", "annotations"]) => texts(value).map(|map| self.annotations = Some(map)),
            (Op::Set(_, value), ["metadata", "labels"]) => texts(value).map(|map| self.labels = Some(map)),
            (Op::Set(_, value), ["metadata", map, key]) => {
                let (text, map) = (value.as_str().ok_or(())?, self.map(map)?);
                map.insert((*key).to_owned(), text.to_owned());
                Ok(())
            }
            (Op::Remove(_), ["metadata", map, key]) => self.map(map)?.remove(*key).map(drop).ok_or(()),
            _ => Err(()),
        }
    }

    /// What stands at a place, null where nothing does; `None` where there is no such place.
    fn at(&self, parts: &[&str]) -> Option<Value> {
        let whole = |map: &Option<BTreeMap<String, String>>| map.as_ref().map_or(Value::Null, |map| json!(map));
        Some(match parts {
            ["spec"] => json!(self.spec),
            ["spec", field] => self.spec.get(*field).cloned().unwrap_or_default(),
            ["metadata", "resourceVersion"] => json!(self.version.to_string()),
            ["metadata", "annotations"] => whole(&self.annotations),
            ["metadata", "labels"] => whole(&self.labels),
            ["metadata", "annotations", key] => self.annotations.as_ref()?.get(*key).map_or(Value::Null, |v| json!(v)),
            ["metadata", "labels", key] => self.labels.as_ref()?.get(*key).map_or(Value::Null, |v| json!(v)),
            _ => return None,
        })
    }

    fn map(&mut self, which: &str) -> Result<&mut BTreeMap<String, String>, ()> {
        let map = if which == "labels" { &mut self.labels } else { &mut self.annotations };
        map.as_mut().ok_or(())
    }
}

fn texts(value: &Value) -> Result<BTreeMap<String, String>, ()> {
    serde_json::from_value(value.clone()).map_err(drop)
}

/// The operations so far: conditions, what leaves, what is set.
struct Draft<'a> {
    seen: &'a Leased,
    ops: Vec<Op>,
    spec: Vec<(&'static str, Value)>,
    notes: BTreeMap<String, Value>,
    labels: BTreeMap<String, Value>,
}

// === impl Draft ===

impl<'a> Draft<'a> {
    fn new(seen: &'a Leased) -> Self {
        Self { seen, ops: Vec::new(), spec: Vec::new(), notes: BTreeMap::new(), labels: BTreeMap::new() }
    }

    fn test(&mut self, place: &[&str], value: Value) {
        self.ops.push(Op::Test(path(place), value));
    }

    fn test_note(&mut self, key: &str, value: impl Into<Value>) {
        self.test(&["metadata", "annotations", &note(key)], value.into());
    }

    /// That the engine that was seen still holds, under the same term. Its annotations alone may be of a hold long gone.
    fn test_held(&mut self) {
        self.test(&["spec", "holderIdentity"], json!(self.seen.identity()));
        self.test_note("term", self.seen.noted_text("term"));
    }

    /// That nothing has changed of what makes out who holds.
    fn test_seen(&mut self) {
        match self.seen.holder() {
            Holder::Nobody => {
                let holder = self.seen.spec.get("holderIdentity").cloned().unwrap_or_default();
                self.test(&["spec", "holderIdentity"], holder);
            }
            Holder::Ours => {
                self.test_held();
                self.test_note("beat", self.seen.noted_text("beat"));
            }
            Holder::Foreign | Holder::Wiped => self.test(&["spec"], json!(self.seen.spec)),
        }
        if matches!(self.seen.holder(), Holder::Nobody | Holder::Wiped) && self.seen.annotations.is_some() {
            for key in TRACES {
                self.test_note(key, self.seen.noted_text(key));
            }
        }
    }

    fn take_out(&mut self, entries: &[(usize, Entry)]) {
        let places = entries.iter().map(|(_, entry)| path(&["metadata", "annotations", &waiter(entry)]));
        self.ops.extend(places.map(Op::Remove));
    }

    fn note(&mut self, key: &str, value: &impl ToString) {
        self.note_as(note(key), value.to_string());
    }

    fn note_as(&mut self, key: String, value: String) {
        self.notes.insert(key, value.into());
    }

    /// Writes an engine for those who read, and as a label for those who select.
    fn mark(&mut self, key: &str, label: &str, engine: &str) {
        self.note(key, &engine);
        self.labels.insert(label.to_owned(), badge(engine).into());
    }

    /// Writes who was first in the queue; who that is to people is written where it is known.
    fn first(&mut self, engine: &str) {
        self.mark("next", NEXT_LABEL, engine);
        self.note("next-owner", &"");
    }

    fn hold_as(&mut self, engine: &str) {
        self.spec.push(("holderIdentity", json!(engine)));
        self.mark("engine", ENGINE_LABEL, engine);
    }

    /// Writes how long a hold lasts, for us and for others.
    fn last(&mut self, ttl: std::time::Duration, renewed: Wall) {
        self.note("ttl-ms", &ttl.as_millis());
        self.spec.push(("leaseDurationSeconds", json!(seconds(ttl))));
        self.spec.push(("renewTime", json!(micros(renewed))));
    }

    /// Names the session under which it is held. Only a hold with a beat of its own says when it would end.
    fn put_under(&mut self, session: Term, expiry: Wall) {
        if session.is_none() {
            self.note("expiry", &expiry);
        } else {
            self.note("expiry", &"");
        }
        if !session.is_none() || self.seen.noted_text("under").is_some() {
            self.note("under", &session);
        }
    }

    fn hold(&mut self, claim: &Claim, beat: Beat, renewals: u64, under: Term, wall: Wall) {
        self.hold_as(claim.engine.as_str());
        self.note("term", &claim.term);
        self.note("beat", &beat);
        self.note("renewals", &renewals);
        self.note("instant", &claim.instant);
        self.put_under(under, wall + claim.ttl);
        self.last(claim.ttl, wall);
        self.spec.push(("acquireTime", json!(micros(wall))));
        // Who left it free has counted the next holder.
        if self.seen.holder() != Holder::Nobody || self.seen.noted_text("engine") != Some("") {
            self.count();
        }
    }

    /// Counts a new holder.
    fn count(&mut self) {
        let count = self.seen.transitions().saturating_add(1).min(i64::from(i32::MAX));
        self.spec.push(("leaseTransitions", json!(count)));
    }

    /// Leaves it free as client-go does, with a second to live for those who go by dates. That nobody waits cannot be tested:
    /// so nothing at all may have happened since it was seen.
    fn free(&mut self, wall: Wall) {
        self.test_held();
        self.test(&["metadata", "resourceVersion"], json!(self.seen.version.to_string()));
        self.hold_as("");
        for key in ["term", "beat"] {
            self.note(key, &"");
        }
        self.first("");
        self.put_under(Term::NONE, wall);
        self.spec.push(("leaseDurationSeconds", json!(1)));
        self.spec.push(("renewTime", json!(micros(wall))));
        self.spec.push(("acquireTime", json!(micros(wall))));
        self.count();
    }

    fn finish(mut self) -> Vec<Op> {
        self.ops.extend(self.spec.into_iter().map(|(field, value)| Op::Set(path(&["spec", field]), value)));
        add_to("annotations", self.seen.annotations.is_some(), self.notes, &mut self.ops);
        add_to("labels", self.seen.labels.is_some(), self.labels, &mut self.ops);
        // A condition that does not hold is told before anything is changed.
        self.ops.sort_by_key(|op| !matches!(op, Op::Test(..)));
        self.ops
    }
}

/// Adds to a map of texts. One that is not there comes as a whole, and then must not be there.
fn add_to(map: &str, there: bool, entries: BTreeMap<String, Value>, ops: &mut Vec<Op>) {
    if there || entries.is_empty() {
        ops.extend(entries.into_iter().map(|(key, value)| Op::Set(path(&["metadata", map, &key]), value)));
        return;
    }
    ops.push(Op::Test(path(&["metadata", map]), Value::Null));
    ops.push(Op::Set(path(&["metadata", map]), json!(entries)));
}

fn path(parts: &[&str]) -> Place {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

//! A change as a JSON patch: its conditions as `test` operations, then its effect.
//!
//! [`Change::apply`] defines what a change means; a property test holds this equal to it.

use std::time::Duration;

use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, TestOperation,
    jsonptr::{PointerBuf, Token},
};
use serde_json::{Value, json};

use crate::{
    clock::Wall,
    record::{Beat, Change, Claim, Entry, Pair, Term},
    store::kube::crd::{in_units, kind, millis},
};

/// Builds the patch of a change; `None` when no patch could apply it: a creation, a grant to a dead waiter, or
/// an advertisement of nobody.
pub(super) fn of(change: &Change) -> Option<Patch> {
    let mut ops = Operations::default();
    match change {
        Change::Create { .. } => return None,
        Change::Claim { claim, beat, seen, removes, under, wall } => {
            ops.test_pair(*seen);
            ops.take_out(removes.iter());
            ops.hold(claim, *beat, 1, *under, *wall);
            ops.set("next", json!(""));
            ops.set("nextOwner", json!(""));
        }
        Change::Enqueue { claim, wall } => ops.add(["waiters", "-"], json!(claim.entry(*wall).as_str())),
        Change::Leave { index, entry } => ops.take_out([&(*index, entry.clone())]),
        Change::Renew { term, previous, beat, renewals, ttl, next_owner, under, wall } => {
            ops.test_pair(Pair { term: *term, beat: *previous });
            ops.set("beat", json!(beat.to_string()));
            ops.set("renewals", json!(i64::try_from(*renewals).unwrap_or(i64::MAX)));
            ops.set("nextOwner", json!(next_owner.as_deref().unwrap_or_default()));
            ops.set_ttl(*ttl);
            ops.put_under(*under, *wall + *ttl);
        }
        Change::Reserve { term, previous, beat, engine, ttl, until } => {
            ops.test_pair(Pair { term: *term, beat: *previous });
            ops.set("engine", json!(engine.reserved().as_str()));
            ops.set("owner", json!(engine.owner()));
            ops.set("beat", json!(beat.to_string()));
            ops.set_ttl(*ttl);
            ops.put_under(Term::NONE, *until);
        }
        Change::Grant { term, beat, index, entry, duplicates, next, wall } => {
            let claim = entry.claim()?;
            ops.test_term(*term);
            ops.take_out(duplicates.iter().chain([&(*index, entry.clone())]));
            ops.hold(&claim, *beat, 0, Term::NONE, *wall);
            ops.set("next", json!(next.as_str()));
            ops.set("nextOwner", json!(next.owner()));
        }
        Change::Advertise(advert) if advert.term.is_none() => return None,
        Change::Advertise(advert) => {
            ops.test_term(advert.term);
            ops.set("advertised", json!(advert.to_string()));
        }
        Change::Free { term, wall } => {
            ops.test_term(*term);
            ops.test(["waiters"], json!([]));
            for field in ["owner", "engine", "term", "beat", "next", "nextOwner", "under"] {
                ops.set(field, json!(""));
            }
            ops.set("acquired", json!(wall.to_string()));
            ops.set("expiry", json!(wall.to_string()));
        }
    }
    Some(Patch(ops.0))
}

/// The operations so far, all within `/spec`.
#[derive(Default)]
struct Operations(Vec<PatchOperation>);

// === impl Operations ===

impl Operations {
    fn test<'a, const N: usize>(&mut self, path: [impl Into<Token<'a>>; N], value: Value) {
        self.0.push(PatchOperation::Test(TestOperation { path: in_spec(path), value }));
    }

    /// `add` also replaces, and works where a field was removed by hand.
    fn add<'a, const N: usize>(&mut self, path: [impl Into<Token<'a>>; N], value: Value) {
        self.0.push(PatchOperation::Add(AddOperation { path: in_spec(path), value }));
    }

    fn set(&mut self, field: &'static str, value: Value) {
        self.add([field], value);
    }

    fn set_ttl(&mut self, ttl: Duration) {
        self.set("ttlMilliseconds", json!(millis(ttl)));
        self.set("ttl", json!(in_units(ttl)));
    }

    fn test_term(&mut self, term: Term) {
        self.test(["term"], json!(term.to_string()));
    }

    fn test_pair(&mut self, pair: Pair) {
        self.test_term(pair.term);
        self.test(["beat"], json!(pair.beat.to_string()));
    }

    /// Tests entries where they were seen, then removes them from the back, so that no index moves before its turn.
    fn take_out<'a>(&mut self, entries: impl IntoIterator<Item = &'a (usize, Entry)>) {
        let entries: Vec<_> = entries.into_iter().collect();
        for (index, entry) in &entries {
            self.test([Token::from("waiters"), Token::from(*index)], json!(entry.as_str()));
        }
        let mut indices: Vec<_> = entries.iter().map(|(index, _)| *index).collect();
        indices.sort_unstable();
        indices.dedup();
        for index in indices.into_iter().rev() {
            let path = in_spec([Token::from("waiters"), Token::from(index)]);
            self.0.push(PatchOperation::Remove(RemoveOperation { path }));
        }
    }

    /// Names the session under which it is held. Only a hold with a beat of its own says when it would end.
    fn put_under(&mut self, session: Term, expiry: Wall) {
        self.set("under", json!(session.to_string()));
        let expiry = if session.is_none() { expiry.to_string() } else { String::new() };
        self.set("expiry", json!(expiry));
    }

    fn hold(&mut self, claim: &Claim, beat: Beat, renewals: u64, under: Term, wall: Wall) {
        self.set("owner", json!(claim.engine.owner()));
        self.set("engine", json!(claim.engine.as_str()));
        self.set("term", json!(claim.term.to_string()));
        self.set("beat", json!(beat.to_string()));
        self.set("renewals", json!(renewals));
        self.set("instant", json!(claim.instant));
        self.set("kind", json!(kind(claim.instant)));
        self.set_ttl(claim.ttl);
        self.set("acquired", json!(wall.to_string()));
        self.put_under(under, wall + claim.ttl);
    }
}

fn in_spec<'a, const N: usize>(path: [impl Into<Token<'a>>; N]) -> PointerBuf {
    PointerBuf::from_tokens([Token::from("spec")].into_iter().chain(path.map(Into::into)))
}

#[cfg(test)]
pub(super) mod tests;

//! The record in a Lease, and somebody who elects by it as client-go does: the shipped rules of
//! [`msync::unstable::record::leased`], and around them what a store keeps in mind and what a stranger does.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use msync::unstable::{
    protocol::Call,
    record::{
        Change, Refused,
        leased::{Approach, Leased, Op},
    },
};
use serde_json::{Value, json};

use crate::{Desk, Promise, World};

/// What is known of the Lease, or what is sent of it. Its order is that of its text: any will do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Known<T>(pub Option<Arc<T>>);

/// What an engine's store knows.
pub type Seen = Known<Leased>;

/// What a request does.
pub type Ops = Known<Vec<Op>>;

impl<T: std::fmt::Debug + Eq> Ord for Known<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self == other { Ordering::Equal } else { format!("{:?}", self.0).cmp(&format!("{:?}", other.0)) }
    }
}

impl<T: std::fmt::Debug + Eq> PartialOrd for Known<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

// === impl Known ===

impl Seen {
    /// Takes a newer state.
    pub fn learn(&mut self, newer: &Self) {
        let version = |seen: &Self| seen.0.as_ref().map(|leased| leased.version);
        if version(newer) > version(self) {
            self.0.clone_from(&newer.0);
        }
    }

    /// Makes of a call what a store sends, `newest` being what a look would show.
    ///
    /// # Errors
    /// The call is not sent: it is refused as it stands.
    pub fn ops(&self, call: &Call, newest: &Self) -> Result<Ops, Refused> {
        let Call::Apply(change) = call else { return Ok(Ops::default()) };
        if matches!(change, Change::Create { .. }) {
            return Ok(Ops::default());
        }
        let approach = match (Leased::approach(self.0.as_deref(), change), &newest.0) {
            // Where there were no annotations yet, the store joins again at once.
            (_, Some(newest)) if matches!(change, Change::Enqueue { .. }) => newest.send(change),
            (Approach::Look, None) => return Err(Refused::Absent),
            (Approach::Look, Some(newest)) => newest.send(change),
            (approach, _) => approach,
        };
        match approach {
            Approach::Send(ops) => Ok(Known(Some(Arc::new(ops)))),
            Approach::Refused | Approach::Look => Err(Refused::Mismatch),
        }
    }
}

/// For how many ticks the stranger's Lease lasts.
const SECONDS: u64 = 3;
const WHO: &str = "stranger";

/// Somebody who elects as client-go does: GET, compare, PUT at the version that was read. Each look is one act, for a PUT
/// that meets another write changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stranger {
    /// The spec as it saw it last, and since when.
    observed: Option<(BTreeMap<String, Value>, u16)>,
    /// It believes to lead, until it looks.
    pub leads: bool,
}

// === impl World: the stranger ===

impl World {
    /// Says whether a look of the stranger would change anything.
    pub fn stranger_may_act(&self) -> bool {
        let nothing = BTreeMap::new();
        let spec = self.server.leased.0.as_ref().map_or(&nothing, |leased| &leased.spec);
        let Some((_, since)) = self.stranger.observed.as_ref().filter(|(observed, _)| observed == spec) else {
            return true;
        };
        self.stranger.leads != (holder(spec) == WHO) || may_take(spec, self.now - since)
    }

    /// The stranger looks, and takes what it may.
    pub fn stranger_looks(&mut self) {
        let found = self.server.leased.0.clone();
        let spec = found.as_ref().map(|leased| leased.spec.clone()).unwrap_or_default();
        if self.stranger.observed.as_ref().is_none_or(|(observed, _)| *observed != spec) {
            self.stranger.observed = Some((spec.clone(), self.now));
        }
        let since = self.stranger.observed.as_ref().map_or(self.now, |(_, since)| *since);
        self.stranger.leads = holder(&spec) == WHO;
        if !may_take(&spec, self.now - since) {
            return;
        }
        let before = self.server.stored.clone();
        if before.is_some_and(|stored| !stored.record.is_free() && !stored.record.engine.is_foreign())
            && self.holders() > 0
        {
            self.broken = Some(Promise::NobodyElseBegins);
        }
        let count = spec.get("leaseTransitions").and_then(Value::as_u64).unwrap_or_default();
        self.stranger_puts(WHO, SECONDS, count + 1);
        self.stranger.leads = true;
    }

    /// The stranger gives back what it believes to have, and compares nothing.
    pub fn stranger_releases(&mut self) {
        self.stranger.leads = false;
        let Some(leased) = self.server.leased.0.clone() else { return };
        let count = leased.spec.get("leaseTransitions").and_then(Value::as_u64).unwrap_or_default();
        self.stranger_puts("", 1, count);
    }

    fn stranger_puts(&mut self, holder: &str, seconds: u64, count: u64) {
        let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": count});
        let spec: BTreeMap<String, Value> = serde_json::from_value(spec).expect("an object");
        let before = self.server.stored.clone();
        let leased = self.server.leased.0.as_deref().cloned().unwrap_or_default();
        self.server.put(Leased { spec: spec.clone(), ..leased });
        self.stranger.observed = Some((spec, self.now));
        self.witness(Desk::Lock, before.as_ref());
    }
}

fn holder(spec: &BTreeMap<String, Value>) -> &str {
    spec.get("holderIdentity").and_then(Value::as_str).unwrap_or_default()
}

/// Says whether a Lease that has looked so for some ticks may be taken: client-go's rule.
fn may_take(spec: &BTreeMap<String, Value>, unchanged: u16) -> bool {
    let lasts = spec.get("leaseDurationSeconds").and_then(Value::as_u64).unwrap_or_default();
    holder(spec).is_empty() || (holder(spec) != WHO && u64::from(unchanged) >= lasts)
}

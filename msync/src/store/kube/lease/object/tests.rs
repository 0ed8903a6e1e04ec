//! Holds the operations of a change equal to [`Change::apply`], and their patch equal to both, as kube's own JSON patch
//! library applies it.

use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::*;
use crate::{
    clock::Wall,
    record::{Change, Entry, MAX_WAITERS, Pair, Refused, Term, leased::Holder},
    store::kube::patch::tests::{change, config, record},
};

const JOINED: Wall = Wall::from_millis(1_795_356_000_000);

/// What the API server makes of a patch. The library takes a path to nothing for an error, the server a test of it against
/// null for true.
fn patched(stored: &Value, ops: &[Op]) -> Result<Value, Refused> {
    let mut document = stored.clone();
    let pointer = |place: &[String]| PointerBuf::from_tokens(place.iter().map(Token::from));
    let (nulls, others): (Vec<_>, Vec<_>) = ops.iter().cloned().partition(|op| matches!(op, Op::Test(_, Value::Null)));
    for op in nulls {
        let Op::Test(place, _) = op else { unreachable!() };
        if document.pointer(pointer(&place).as_str()).is_some_and(|value| !value.is_null()) {
            return Err(Refused::Mismatch);
        }
    }
    json_patch::patch(&mut document, &patch(others)).map_err(|_| Refused::Mismatch)?;
    Ok(document)
}

fn object(leased: &Leased) -> Value {
    let (annotations, labels) = (leased.annotations.clone(), leased.labels.clone());
    let metadata = ObjectMeta {
        name: Some("invoices".to_owned()),
        resource_version: Some(leased.version.to_string()),
        annotations,
        labels,
        ..ObjectMeta::default()
    };
    serde_json::to_value(Lease { metadata, spec: leased.spec.clone() }).expect("a lease is JSON")
}

fn read(document: Value) -> Leased {
    let lease: Lease = serde_json::from_value(document).expect("it stays a lease");
    lease.leased().expect("its version is a number")
}

/// What somebody else writes over what is there.
fn put(mut leased: Leased, holder: &Value, count: i64, bare: bool) -> Leased {
    let spec = json!({
        "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": count,
        "acquireTime": "2026-11-22T14:00:00.000000Z", "renewTime": "2026-11-22T14:00:10.000001Z",
    });
    leased.spec = serde_json::from_value(spec).expect("an object");
    if bare {
        (leased.annotations, leased.labels) = (None, None);
    }
    leased
}

fn lease() -> impl Strategy<Value = Leased> {
    let holders = select(vec![json!(""), json!(null), json!("host_1"), json!("a.reserved")]);
    let how = (select(vec![0, 7]), any::<bool>(), 1..9_u64);
    (record(), any::<bool>(), holders, how).prop_map(|(record, ours, holder, (count, bare, version))| {
        let leased = Leased { version, ..Leased::of(&record) };
        if ours { leased } else { put(leased, &holder, count, bare) }
    })
}

/// Puts entries where they are: a Lease finds them by their terms. One that is nowhere stays nowhere.
fn settled(seen: &[(usize, Entry)], record: &Record) -> Vec<(usize, Entry)> {
    let word = |entry: &Entry| entry.as_str().split(' ').next().unwrap_or_default().to_owned();
    let there = |entry: &Entry| record.waiters.iter().position(|other| word(other) == word(entry));
    let found = |(_, entry): &(usize, Entry)| match there(entry) {
        Some(index) => (index, record.waiters[index].clone()),
        None => (99, entry.clone()),
    };
    let mut settled: Vec<_> = seen.iter().map(found).collect();
    settled.sort();
    settled.dedup();
    settled
}

/// Makes a change one that can be said of a Lease: places are where the terms are, nobody joins twice, and nobody before others.
fn sensible(mut change: Change, record: &Record) -> Change {
    match &mut change {
        Change::Claim { removes, .. } => *removes = settled(removes, record),
        Change::Enqueue { claim, wall } => {
            // After those who are there already.
            *wall = JOINED;
            if record.rank_of(claim.term).is_some() {
                claim.term = Term(7777);
            }
        }
        Change::Leave { index, entry } => {
            let place = settled(&[(*index, entry.clone())], record).remove(0);
            (*index, *entry) = place;
        }
        Change::Grant { index, entry, duplicates, .. } => {
            let place = settled(&[(*index, entry.clone())], record).remove(0);
            (*index, *entry) = place;
            *duplicates = settled(duplicates, record);
        }
        _ => {}
    }
    // No attempt is without a beat.
    if let Change::Claim { beat, .. }
    | Change::Renew { beat, .. }
    | Change::Reserve { beat, .. }
    | Change::Grant { beat, .. } = &mut change
    {
        beat.0 = beat.0.max(1);
    }
    change
}

/// Says whether only who holds could send such a change: nobody sends it about another.
fn is_of_holder(change: &Change) -> bool {
    !matches!(change, Change::Create { .. } | Change::Claim { .. } | Change::Enqueue { .. } | Change::Leave { .. })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn operations_do_what_apply_says_and_their_patch_does_too(
        (leased, change) in lease().prop_flat_map(|leased| {
            let change = change(&leased.record().expect("nobody decides but us"));
            (Just(leased), change)
        })
    ) {
        let record = leased.record().expect("nobody decides but us");
        let change = sensible(change, &record);
        let Some(ops) = leased.ops(&change) else {
            let others = is_of_holder(&change) && leased.holder() != Holder::Ours;
            prop_assert!(others || change.apply(Some(&record)).is_err(), "{:?}", change);
            return Ok(());
        };
        let left = leased.run(&ops);
        prop_assert_eq!(patched(&object(&leased), &ops).map(read), left.clone());
        match (change.apply(Some(&record)), left) {
            (Err(Refused::Full), Ok(left)) => prop_assert_eq!(left.record().unwrap().waiters.len(), MAX_WAITERS + 1),
            (expected, left) => prop_assert_eq!(left.map(|left| left.record().unwrap()), expected),
        }
    }

    #[test]
    fn what_was_seen_and_has_changed_is_refused(
        (seen, now, change) in (lease(), lease()).prop_flat_map(|(seen, now)| {
            let change = change(&seen.record().expect("nobody decides but us"));
            (Just(seen), Just(now), change)
        })
    ) {
        // As a late patch would find it: whatever it does, it does not what the definition refuses.
        let record = now.record().expect("nobody decides but us");
        let change = sensible(change, &record);
        let Some(ops) = seen.ops(&change) else { return Ok(()) };
        if let (Err(refused), Ok(_)) = (change.apply(Some(&record)), now.run(&ops)) {
            prop_assert!(refused == Refused::Full, "{:?} was not refused: {:?}", change, refused);
        }
    }
}

#[test]
fn a_lease_is_written_with_its_kind_and_read_without_a_spec() {
    let document = object(&Leased::left_free());
    assert_eq!((&document["kind"], &document["apiVersion"]), (&json!("Lease"), &json!("coordination.k8s.io/v1")));
    for spec in [json!({}), json!(null)] {
        let lease: Lease =
            serde_json::from_value(json!({"metadata": {"name": "x", "resourceVersion": "7"}, "spec": spec})).unwrap();
        let (name, snapshot) = lease.snapshot().unwrap();
        assert_eq!((name.as_str(), snapshot.record.is_free(), snapshot.version.number), ("x", true, 7));
    }
    let bare: Lease = serde_json::from_value(json!({"metadata": {"name": "x", "resourceVersion": "7"}})).unwrap();
    assert!(bare.snapshot().unwrap().1.record.is_free());
}

#[test]
fn whoever_wants_a_lease_that_others_decide_on_is_told_which() {
    let metadata = json!({"name": "x", "namespace": "shop", "resourceVersion": "7"});
    let spec = json!({"strategy": "OldestEmulationVersion", "holderIdentity": "h"});
    let lease: Lease = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
    let Err(Fault::Fatal(Fatal::Other(why))) = lease.snapshot() else { panic!("it is refused") };
    assert!(why.to_string().starts_with("lease shop/x: its strategy is"), "{why}");
    assert!(matches!(lease.sighting(&Scope::All), Ok(Sighting::Alive)), "others are not disturbed");
    assert!(lease.sighting(&Scope::Lock(LockName::new("x").unwrap())).is_err());
}

#[test]
fn conditions_come_before_effects() {
    let claim = crate::record::Claim {
        engine: crate::record::EngineId::new("c", 1),
        term: Term(3),
        ttl: std::time::Duration::from_secs(15),
        instant: true,
    };
    let (beat, removes) = (crate::record::Beat(9), vec![(0, Entry::from_text("a"))]);
    let claim = Change::Claim { claim, beat, seen: Pair::FREE, removes, under: Term::NONE, wall: JOINED };
    let ops = Leased::default().ops(&claim).unwrap();
    let tests = ops.iter().take_while(|op| matches!(op, Op::Test(..))).count();
    assert_eq!(tests, ops.iter().filter(|op| matches!(op, Op::Test(..))).count());
    assert!(tests >= 3, "who holds, and that there are neither annotations nor labels");
}

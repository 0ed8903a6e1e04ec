//! Holds the patch of a change equal to [`Change::apply`], as kube's own JSON patch library applies it.

use std::{sync::Arc, time::Duration};

use json_patch::PatchErrorKind;
use proptest::{collection::vec, prelude::*, sample::select, test_runner::RngSeed};

use super::*;
use crate::{
    LockName,
    record::{Advert, EngineId, MAX_WAITERS, Record, Refused},
    store::kube::crd::Lock,
};

/// What the API server stores and answers: the patch, then the schema's limit on the queue.
fn patched(stored: &Value, change: &Change) -> Result<Value, Refused> {
    let mut document = stored.clone();
    let patch = of(change).ok_or(Refused::Mismatch)?;
    json_patch::patch(&mut document, &patch).map_err(|error| match error.kind {
        PatchErrorKind::TestFailed | PatchErrorKind::InvalidPointer => Refused::Mismatch,
        other => panic!("the patch is malformed: {other:?}"),
    })?;
    let waiters = document["spec"]["waiters"].as_array().expect("the queue stays a list").len();
    if waiters > MAX_WAITERS { Err(Refused::Full) } else { Ok(document) }
}

fn object(record: &Record) -> Value {
    let name = LockName::new("invoices").expect("a valid name");
    serde_json::to_value(Lock::of(&name, record)).expect("a lock is JSON")
}

/// Few values, so that conditions hold about as often as not.
fn term() -> impl Strategy<Value = Term> {
    (0..4_u64).prop_map(Term)
}

fn beat() -> impl Strategy<Value = Beat> {
    (0..3_u64).prop_map(Beat)
}

fn wall() -> impl Strategy<Value = Wall> {
    (0..4_102_444_800_000_i64).prop_map(Wall::from_millis)
}

fn ttl() -> impl Strategy<Value = Duration> {
    (1_000..86_400_000_u64).prop_map(Duration::from_millis)
}

fn engine() -> impl Strategy<Value = EngineId> {
    (select(vec!["a", "web-7f9c.eu", "x~1/y"]), any::<u64>()).prop_map(|(owner, bits)| EngineId::new(owner, bits))
}

fn owner() -> impl Strategy<Value = Option<Arc<str>>> {
    select(vec![None, Some("b"), Some("web-7f9c.eu")]).prop_map(|owner| owner.map(Arc::from))
}

fn claim() -> impl Strategy<Value = Claim> {
    (engine(), (1..4_u64).prop_map(Term), ttl(), any::<bool>()).prop_map(|(engine, term, ttl, instant)| Claim {
        engine,
        term,
        ttl,
        instant,
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let fixed = |term: u64| {
        let (engine, ttl) = (EngineId::new("w", term), Duration::from_secs(15));
        Claim { engine, term: Term(term), ttl, instant: true }.entry(Wall::default())
    };
    prop_oneof![
        4 => (1..4_u64).prop_map(fixed),
        1 => select(vec![Entry::from_text(""), Entry::from_text("edited by hand")]),
        1 => (claim(), wall()).prop_map(|(claim, wall)| claim.entry(wall)),
    ]
}

pub(in crate::store::kube) fn record() -> impl Strategy<Value = Record> {
    let waiters = prop_oneof![8 => vec(entry(), 0..6), 1 => vec(entry(), 62..=64)];
    let dates = (proptest::option::of(wall()), proptest::option::of(wall()));
    ((engine(), engine(), owner(), term()), term(), beat(), 0..9_u64, any::<bool>(), ttl(), dates, waiters).prop_map(
        |((engine, next, next_owner, under), term, beat, renewals, instant, ttl, (acquired, expiry), waiters)| Record {
            engine,
            term,
            beat,
            renewals,
            instant,
            ttl,
            acquired,
            expiry,
            waiters,
            next,
            next_owner,
            advertised: None,
            // A record that nobody holds is under nothing.
            under: if term.is_none() { Term::NONE } else { under },
        },
    )
}

/// Entries of the record at their places, and now and then one that is elsewhere.
fn seen_in(record: &Record) -> impl Strategy<Value = Vec<(usize, Entry)>> + use<> {
    let places: Vec<_> = record.waiters.iter().cloned().enumerate().collect();
    let most = places.len().min(4);
    let right = proptest::sample::subsequence(places, 0..=most);
    let wrong = proptest::option::weighted(0.2, (0..7_usize, entry()));
    (right, wrong).prop_map(|(mut seen, wrong)| {
        seen.extend(wrong);
        seen
    })
}

fn place_in(record: &Record) -> impl Strategy<Value = (usize, Entry)> + use<> {
    let waiters = record.waiters.clone();
    (0..7_usize, entry(), prop::bool::weighted(0.8)).prop_map(move |(index, other, right)| {
        let there = waiters.get(index % waiters.len().max(1)).filter(|_| right);
        there.map_or((index, other), |entry| (index % waiters.len().max(1), entry.clone()))
    })
}

pub(in crate::store::kube) fn change(record: &Record) -> impl Strategy<Value = Change> + use<> {
    let own = (record.pair(), record.term);
    let pair = prop_oneof![
        3 => Just(own.0),
        1 => (term(), beat()).prop_map(|(term, beat)| Pair { term, beat }),
    ];
    let holder = prop_oneof![3 => Just(own.1), 1 => term()];
    let claims = (claim(), beat(), pair.clone(), seen_in(record), (term(), wall()));
    let renews = (pair.clone(), beat(), 0..9_u64, ttl(), owner(), (term(), wall()));
    let reserves = (pair, beat(), engine(), ttl(), wall());
    let grants = (holder.clone(), beat(), place_in(record), seen_in(record), (engine(), wall()));
    prop_oneof![
        claims.prop_map(|(claim, beat, seen, removes, (under, wall))| {
            Change::Claim { claim, beat, seen, removes, under, wall }
        }),
        (claim(), wall()).prop_map(|(claim, wall)| Change::Enqueue { claim, wall }),
        place_in(record).prop_map(|(index, entry)| Change::Leave { index, entry }),
        renews.prop_map(|(pair, beat, renewals, ttl, next_owner, (under, wall))| {
            Change::Renew { term: pair.term, previous: pair.beat, beat, renewals, ttl, next_owner, under, wall }
        }),
        reserves.prop_map(|(pair, beat, engine, ttl, until)| {
            Change::Reserve { term: pair.term, previous: pair.beat, beat, engine, ttl, until }
        }),
        grants.prop_map(|(term, beat, (index, entry), duplicates, (next, wall))| {
            Change::Grant { term, beat, index, entry, duplicates, next, wall }
        }),
        (holder.clone(), wall()).prop_map(|(term, wall)| Change::Free { term, wall }),
        (holder, ".{0,20}").prop_map(|(term, text)| Change::Advertise(Advert { term, text: text.into() })),
    ]
}

/// A run is repeated with the seed that a failure shows.
pub(in crate::store::kube) fn config() -> ProptestConfig {
    let given = std::env::var("MSYNC_SEED").ok().map(|seed| seed.parse().expect("MSYNC_SEED is a number"));
    let seed = given.unwrap_or_else(|| getrandom::u64().expect("the operating system gives random numbers"));
    eprintln!("MSYNC_SEED={seed}");
    ProptestConfig { cases: 5_000, failure_persistence: None, rng_seed: RngSeed::Fixed(seed), ..Default::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_patch_does_what_apply_says(
        (record, change) in record().prop_flat_map(|record| { let change = change(&record); (Just(record), change) })
    ) {
        let expected = change.apply(Some(&record)).map(|next| object(&next));
        prop_assert_eq!(patched(&object(&record), &change), expected);
    }
}

#[test]
fn a_failed_test_and_a_missing_path_are_the_same_refusal() {
    let entry = Entry::from_text("x");
    let record = Record { waiters: vec![entry.clone()], ..Record::default() };
    let elsewhere = Change::Leave { index: 0, entry: Entry::from_text("y") };
    let nowhere = Change::Leave { index: 5, entry };
    for change in [elsewhere, nowhere] {
        assert_eq!(patched(&object(&record), &change), Err(Refused::Mismatch));
        assert_eq!(change.apply(Some(&record)), Err(Refused::Mismatch));
    }
}

#[test]
fn conditions_come_before_effects() {
    let entries = [(0, Entry::from_text("a")), (1, Entry::from_text("b"))];
    let claim = Claim { engine: EngineId::new("c", 1), term: Term(3), ttl: Duration::from_secs(15), instant: true };
    let (seen, removes, wall) = (Pair { term: Term(1), beat: Beat(2) }, entries.to_vec(), Wall::default());
    let patch = of(&Change::Claim { claim, beat: Beat(9), seen, removes, under: Term::NONE, wall }).unwrap();
    let is_test = |op: &PatchOperation| matches!(op, PatchOperation::Test(_));
    assert_eq!(patch.0.iter().take_while(|op| is_test(op)).count(), 4);
    assert_eq!(patch.0.iter().filter(|op| is_test(op)).count(), 4);
}

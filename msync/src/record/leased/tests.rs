mod queue;

use serde_json::json;

use super::*;
use crate::record::{Change, Claim, Refused, Term};

const TTL: Duration = Duration::from_millis(14_500);
const WALL: Wall = Wall::from_millis(1_795_356_000_000);
const A_WHILE: Duration = Duration::from_secs(5);

fn claim(owner: &str, term: u64) -> Claim {
    Claim { engine: EngineId::new(owner, 1), term: Term(term), ttl: TTL, instant: true }
}

/// Held by `a` under term 1 with beat 10.
fn held() -> Leased {
    let create = Change::Create { claim: claim("a", 1), beat: Beat(10), under: Term::NONE, wall: WALL };
    Leased { version: 5, ..Leased::of(&create.apply(None).unwrap()) }
}

fn change(leased: &Leased, change: &Change) -> Result<Leased, Refused> {
    let ops = leased.ops(change).ok_or(Refused::Mismatch)?;
    leased.run(&ops)
}

fn take(seen: Pair) -> Change {
    Change::Claim {
        claim: claim("b", 2),
        beat: Beat(20),
        seen,
        removes: vec![],
        under: Term::NONE,
        wall: WALL + A_WHILE,
    }
}

fn renew(previous: u64, beat: u64, wall: Wall) -> Change {
    let (term, previous, beat) = (Term(1), Beat(previous), Beat(beat));
    Change::Renew { term, previous, beat, renewals: 2, ttl: TTL, next_owner: None, under: Term::NONE, wall }
}

fn enqueue(owner: &str, term: u64) -> Change {
    enqueue_at(owner, term, WALL)
}

fn enqueue_at(owner: &str, term: u64, wall: Wall) -> Change {
    Change::Enqueue { claim: claim(owner, term), wall }
}

/// What client-go writes when it takes a Lease: the whole spec, and nothing else.
fn put(mut leased: Leased, holder: &str, renewed: &str) -> Leased {
    let spec = json!({
        "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 7,
        "acquireTime": "2026-11-22T14:00:00.000000Z", "renewTime": renewed,
    });
    leased.spec = serde_json::from_value(spec).unwrap();
    Leased { version: leased.version + 1, ..leased }
}

fn foreign() -> Leased {
    put(Leased::default(), "host_1.foreign-looking", "2026-11-22T14:00:10.000001Z")
}

// === who holds ===

#[test]
fn a_lease_that_was_written_reads_back() {
    let record = held().record().unwrap();
    assert_eq!(held().holder(), Holder::Ours);
    assert_eq!((record.engine.owner(), record.pair(), record.ttl), ("a", Pair { term: Term(1), beat: Beat(10) }, TTL));
    assert_eq!((record.acquired, record.expiry, record.renewals), (Some(WALL), Some(WALL + TTL), 1));
}

#[test]
fn others_see_the_ttl_rounded_up_never_down() {
    let spec = held().spec;
    assert_eq!((&spec["leaseDurationSeconds"], &spec["holderIdentity"]), (&json!(15), &json!("a.0000000000000001")));
    assert_eq!(spec["renewTime"], json!("2026-11-22T14:00:00.000000Z"), "with six digits, as others parse it");
    for (ttl, rounded) in [(1_000, 1), (1_001, 2), (1_999, 2), (14_500, 15), (15_000, 15), (86_400_000, 86_400)] {
        assert_eq!(seconds(Duration::from_millis(ttl)), rounded);
    }
}

#[test]
fn a_lease_without_anything_is_free() {
    for spec in
        [json!({}), json!({"holderIdentity": ""}), json!({"holderIdentity": null}), json!({"leaseDurationSeconds": 9})]
    {
        let leased = Leased { spec: serde_json::from_value(spec).unwrap(), ..Leased::default() };
        assert_eq!(leased.holder(), Holder::Nobody);
        assert!(leased.record().unwrap().is_free());
        let taken = change(&leased, &take(Pair::FREE)).unwrap();
        assert_eq!((taken.holder(), taken.record().unwrap().engine.owner()), (Holder::Ours, "b"));
    }
}

#[test]
fn another_ones_put_makes_the_annotations_mean_nothing() {
    let taken = put(held(), "host_1", "2026-11-22T14:00:20.000000Z");
    assert_eq!(taken.holder(), Holder::Foreign);
    let record = taken.record().unwrap();
    assert_eq!((record.engine.owner(), record.ttl), ("host_1", Duration::from_secs(15)));
    assert_ne!(record.term, Term(1));
    assert!(!record.is_free());
}

/// client-go's release: it empties the holder, and counts nobody.
fn emptied(leased: Leased) -> Leased {
    let count = leased.spec["leaseTransitions"].clone();
    let mut emptied = put(leased, "", "2026-11-22T14:00:20.000000Z");
    emptied.spec.insert("leaseTransitions".to_owned(), count);
    emptied.spec.insert("leaseDurationSeconds".to_owned(), json!(1));
    emptied
}

#[test]
fn who_was_wiped_out_has_lost_it_and_others_wait_for_its_time_to_end() {
    let wiped = emptied(held());
    assert_eq!(wiped.holder(), Holder::Wiped);
    let record = wiped.record().unwrap();
    assert!(!record.is_free() && record.engine.is_foreign() && record.renewals > 0);
    assert_eq!((record.engine.owner(), record.patience()), ("a", TTL), "not the second that client-go left");
    assert_ne!(record.term, Term(1), "it is no hold of anybody");
    assert_eq!(change(&wiped, &take(Pair::FREE)), Err(Refused::Mismatch));
    let taken = change(&wiped, &take(record.pair())).unwrap();
    assert_eq!((taken.holder(), &taken.spec["leaseTransitions"]), (Holder::Ours, &json!(1)));
    let queued = change(&held(), &enqueue("b", 2)).unwrap();
    let granted = change(&queued, &queued.record().unwrap().hand_on(0, || Beat(20), WALL).unwrap()).unwrap();
    assert_eq!(emptied(granted).holder(), Holder::Wiped, "whoever had it");
}

/// The engine may be cut off, and believe until its time is over, whoever has come and gone meanwhile.
#[test]
fn who_was_wiped_out_is_waited_for_after_another_has_come_and_gone() {
    let mut led = put(emptied(held()), "host_1", "2026-11-22T14:00:20.000000Z");
    led.spec.insert("leaseDurationSeconds".to_owned(), json!(1));
    let gone = emptied(led.clone());
    assert_eq!((led.holder(), gone.holder()), (Holder::Foreign, Holder::Wiped));
    for leased in [led, gone] {
        assert_eq!(leased.record().unwrap().patience(), TTL, "not the second of who came");
        assert_eq!(change(&leased, &take(Pair::FREE)), Err(Refused::Mismatch));
        let taken = change(&leased, &take(leased.pair())).unwrap();
        assert_eq!((taken.holder(), &taken.spec["leaseTransitions"]), (Holder::Ours, &json!(8)));
    }
}

/// By hand somebody may spoil more than the holder: any trace of the engine is enough to wait for it, and long where nothing
/// says for how long.
#[test]
fn who_was_wiped_out_is_waited_for_whatever_else_was_spoilt() {
    let mut led = put(emptied(held()), "host_1", "2026-11-22T14:00:20.000000Z");
    led.spec.insert("leaseDurationSeconds".to_owned(), json!(1));
    for wiped in [emptied(held()), led.clone(), emptied(led)] {
        for (key, patience) in [("engine", TTL), ("term", TTL), ("beat", TTL), ("ttl-ms", Duration::from_secs(300))] {
            for text in [None, Some(""), Some("by hand")] {
                let mut leased = wiped.clone();
                let notes = leased.annotations.as_mut().unwrap();
                notes.remove(&note(key));
                notes.extend(text.map(|text| (note(key), text.to_owned())));
                let record = leased.record().unwrap();
                assert_eq!((record.is_free(), record.patience()), (false, patience), "{key} is {text:?}");
                assert_eq!(change(&leased, &take(Pair::FREE)), Err(Refused::Mismatch));
                let guess = Leased::left_free().ops(&take(Pair::FREE)).unwrap();
                assert_eq!(leased.run(&guess), Err(Refused::Mismatch), "nor does who has not looked have it");
                assert_eq!(change(&leased, &take(record.pair())).unwrap().holder(), Holder::Ours);
            }
        }
    }
}

#[test]
fn who_came_after_an_engine_had_left_leaves_it_free() {
    let freed = change(&held(), &Change::Free { term: Term(1), wall: WALL + A_WHILE }).unwrap();
    let mut led = put(freed, "host_1", "2026-11-22T14:00:20.000000Z");
    led.spec.insert("leaseDurationSeconds".to_owned(), json!(1));
    assert_eq!(led.record().unwrap().patience(), Duration::from_secs(1));
    assert_eq!(emptied(led).holder(), Holder::Nobody);
}

#[test]
fn who_was_wiped_out_renews_no_more() {
    let freed = put(held(), "", "2026-11-22T14:00:20.000000Z");
    assert_eq!(change(&freed, &renew(10, 11, WALL + A_WHILE)), Err(Refused::Mismatch), "it holds no more");
    // Nor does a renewal that was on its way come true: it tests who holds.
    let on_its_way = held().ops(&renew(10, 11, WALL + A_WHILE)).unwrap();
    assert_eq!(freed.run(&on_its_way), Err(Refused::Mismatch));
}

#[test]
fn annotations_that_are_not_legible_make_nobody_ours() {
    for (key, text) in [("engine", "b.0000000000000001"), ("term", ""), ("term", "x"), ("beat", ""), ("beat", "12")] {
        let mut leased = held();
        leased.annotations.as_mut().unwrap().insert(note(key), text.to_owned());
        assert_eq!(leased.holder(), Holder::Foreign, "{key}={text}");
        leased.annotations.as_mut().unwrap().remove(&note(key));
        assert_eq!(leased.holder(), Holder::Foreign, "without {key}");
    }
    let bare = Leased { annotations: None, ..held() };
    assert_eq!(bare.holder(), Holder::Foreign);
}

#[test]
fn a_foreign_holder_is_none_of_ours_whatever_it_is_called() {
    for holder in ["a.0000000000000001", "a.reserved", "a.l0000000a10000000000000002", "."] {
        let record = put(Leased::default(), holder, "2026-11-22T14:00:10.000000Z").record().unwrap();
        assert_eq!((record.engine.owner(), record.is_reserved()), (holder, false));
        assert_ne!(record.engine.as_str(), holder);
        assert!(record.engine.is_foreign() && !record.engine.is_kin_of(&EngineId::from_text(holder)));
    }
    assert!(!EngineId::new("a.foreign", 1).is_foreign());
}

#[test]
fn each_field_of_a_foreign_spec_is_a_sign_of_life() {
    let before = foreign().pair();
    assert_eq!(foreign().pair(), before);
    let changes = [
        ("renewTime", json!("2026-11-22T14:00:10.000002Z")),
        ("leaseDurationSeconds", json!(16)),
        ("leaseTransitions", json!(8)),
        ("holderIdentity", json!("other")),
        ("acquireTime", json!(null)),
        ("somethingNew", json!({"deep": [1]})),
    ];
    for (field, value) in changes {
        let mut leased = foreign();
        leased.spec.insert(field.to_owned(), value);
        assert_ne!(leased.pair().beat, before.beat, "{field}");
    }
    let renewed = put(Leased::default(), "host_1.foreign-looking", "2026-11-22T14:00:12.000001Z");
    assert_eq!(renewed.pair().term, before.term, "the same leader");
}

#[test]
fn a_foreign_lease_waits_by_its_own_seconds_and_long_where_they_make_no_sense() {
    for (value, patience) in
        [(json!(1), 1), (json!(40), 40), (json!(0), 300), (json!(-7), 300), (json!(null), 300), (json!("x"), 300)]
    {
        let mut leased = foreign();
        leased.spec.insert("leaseDurationSeconds".to_owned(), value);
        assert_eq!(leased.record().unwrap().patience(), Duration::from_secs(patience));
    }
}

#[test]
fn absurd_dates_are_unknown() {
    for date in [json!("9999-12-31T23:59:59.999999Z"), json!("yesterday"), json!(7), json!(null)] {
        let mut leased = foreign();
        leased.spec.insert("renewTime".to_owned(), date.clone());
        leased.spec.insert("acquireTime".to_owned(), date);
        let record = leased.record().unwrap();
        assert_eq!((record.acquired, record.expiry), (None, None));
        assert!(change(&leased, &take(record.pair())).is_ok());
    }
}

#[test]
fn coordinated_election_is_refused_by_name() {
    for (field, value) in [("strategy", "OldestEmulationVersion"), ("preferredHolder", "host_2")] {
        for mut leased in [held(), foreign(), Leased::default()] {
            leased.spec.insert(field.to_owned(), json!(value));
            let why = leased.record().expect_err("it is not ours to decide");
            assert!(why.contains(field) && why.contains(value), "{why}");
            leased.spec.insert(field.to_owned(), json!(null));
            assert!(leased.record().is_ok());
        }
    }
}

#[test]
fn a_ttl_that_was_edited_by_hand_is_the_longer_of_both() {
    let ttl = |exact: &str, rounded: i64| {
        let mut leased = held();
        leased.annotations.as_mut().unwrap().insert(note("ttl-ms"), exact.to_owned());
        leased.spec.insert("leaseDurationSeconds".to_owned(), json!(rounded));
        leased.record().unwrap().ttl.as_millis()
    };
    assert_eq!(
        [ttl("14500", 15), ttl("14500", 3), ttl("1000", 15), ttl("x", 15), ttl("14500", -1)],
        [14_500, 14_500, 15_000, 15_000, 14_500]
    );
}

#[test]
fn a_grant_is_taken_for_unconfirmed_only_where_all_of_it_is_legible() {
    let renewals = |remove: &str| {
        let mut leased = held();
        let notes = leased.annotations.as_mut().unwrap();
        notes.insert(note("renewals"), "0".to_owned());
        notes.remove(&note(remove));
        leased.record().unwrap().renewals
    };
    assert_eq!((renewals("nothing"), renewals("renewals"), renewals("instant")), (0, 1, 1));
}

// === changes ===

#[test]
fn a_claim_from_a_foreign_holder_tests_all_that_was_seen() {
    let seen = foreign();
    let ops = seen.ops(&take(seen.pair())).unwrap();
    let taken = seen.run(&ops).unwrap();
    let record = taken.record().unwrap();
    assert_eq!((taken.holder(), record.engine.owner(), record.ttl), (Holder::Ours, "b", TTL));
    assert_eq!(taken.spec["leaseTransitions"], json!(8));
    for field in seen.spec.keys() {
        let mut changed = seen.clone();
        changed.spec.insert(field.clone(), json!("renewed meanwhile"));
        assert_eq!(changed.run(&ops), Err(Refused::Mismatch), "{field}");
    }
    let mut more = seen.clone();
    more.spec.insert("strategy".to_owned(), json!("OldestEmulationVersion"));
    assert_eq!(more.run(&ops), Err(Refused::Mismatch));
}

#[test]
fn a_claim_from_an_engine_tests_who_holds_beside_the_pair() {
    let ops = held().ops(&take(held().pair())).unwrap();
    assert!(held().run(&ops).is_ok());
    assert_eq!(put(held(), "host_1", "2026-11-22T14:00:20.000000Z").run(&ops), Err(Refused::Mismatch));
    let renewed = change(&held(), &renew(10, 11, WALL + A_WHILE)).unwrap();
    assert_eq!(renewed.run(&ops), Err(Refused::Mismatch));
}

#[test]
fn a_claim_of_what_msync_left_free_needs_no_look() {
    let free = Change::Free { term: Term(1), wall: WALL + A_WHILE };
    let freed = change(&held(), &free).unwrap();
    let ops = Leased::left_free().ops(&take(Pair::FREE)).unwrap();
    assert_eq!(freed.run(&ops).unwrap().holder(), Holder::Ours);
    assert_eq!(freed.run(&ops).unwrap().spec["leaseTransitions"], json!(1), "counted when it was left");
    for other in [held(), foreign(), Leased::default(), emptied(held())] {
        assert_eq!(other.run(&ops), Err(Refused::Mismatch));
    }
}

#[test]
fn a_lease_is_left_free_only_if_nothing_happened_since_it_was_seen() {
    let free = Change::Free { term: Term(1), wall: WALL + A_WHILE };
    let ops = held().ops(&free).unwrap();
    let freed = held().run(&ops).unwrap();
    assert_eq!((freed.holder(), &freed.spec["holderIdentity"]), (Holder::Nobody, &json!("")));
    assert_eq!(freed.labels.as_ref().unwrap()[ENGINE_LABEL], "");
    let mut joined = change(&held(), &enqueue("b", 2)).unwrap();
    joined.version += 1;
    assert_eq!(joined.run(&ops), Err(Refused::Mismatch));
    assert_eq!(change(&joined, &free), Err(Refused::Mismatch));
}

#[test]
fn a_reservation_is_of_no_engine_and_in_no_inbox() {
    let (term, until) = (Term(1), WALL + A_WHILE);
    let engine = EngineId::from_text(held().identity());
    let reserve = Change::Reserve { term, previous: Beat(10), beat: Beat(11), engine: engine.clone(), ttl: TTL, until };
    let reserved = change(&held(), &reserve).unwrap();
    let record = reserved.record().unwrap();
    assert_eq!((reserved.holder(), record.is_reserved(), record.expiry), (Holder::Ours, true, Some(until)));
    assert_eq!((record.engine.owner(), record.pair()), ("a", Pair { term, beat: Beat(11) }));
    assert_ne!(reserved.labels.as_ref().unwrap()[ENGINE_LABEL], badge(engine.as_str()));
}

#[test]
fn every_hold_has_a_label_and_every_new_holder_is_counted() {
    let queued = change(&held(), &enqueue("b", 2)).unwrap();
    let granted = change(&queued, &queued.record().unwrap().hand_on(0, || Beat(20), WALL).unwrap()).unwrap();
    assert_eq!(granted.labels.as_ref().unwrap()[ENGINE_LABEL], badge(EngineId::new("b", 1).as_str()));
    assert_eq!((&granted.spec["leaseTransitions"], granted.record().unwrap().renewals), (&json!(1), 0));
    assert_eq!(badge("web-7f9c.9f2c41d07be3a856").len(), 16);
    assert_ne!(badge("a.1"), badge("a.2"));
}

// === dates for others ===

#[test]
fn no_renewal_shows_a_second_that_was_shown_before() {
    let second = |date: Wall| date.as_millis().div_euclid(1000);
    for (interval, ahead) in
        [(100, 1_000_000), (333, 1_000_000), (999, 1_000_000), (1_000, 1_000_000), (1_333, 1), (5_000, 0)]
    {
        let (mut wall, mut last) = (WALL, WALL);
        for _ in 0..1_000 {
            // Now and then one follows the other at once.
            let soon = last.as_millis() % 7 == 0;
            wall = wall + Duration::from_millis(if soon { interval / 9 } else { interval });
            let next = renew_time(Some(last), wall);
            assert!(second(next) > second(last), "client-go sees no other");
            last = next;
        }
        assert!(last <= wall + SECOND * (ahead + 1), "{last} at {wall}, every {interval} ms");
    }
}

#[test]
fn a_lease_that_is_made_anew_within_a_second_does_not_look_as_it_did_before() {
    let whole_seconds = |wall: Wall| {
        let create = Change::Create { claim: claim("a", 1), beat: Beat(10), under: Term::NONE, wall };
        let mut spec = Leased::of(&create.apply(None).unwrap()).spec;
        for date in ["acquireTime", "renewTime"] {
            spec.insert(date.to_owned(), spec[date].as_str().unwrap()[..19].into());
        }
        spec
    };
    let made = whole_seconds(WALL + Duration::from_millis(100));
    assert_eq!(made["acquireTime"], json!("2026-11-22T14:00:00"));
    assert_ne!(made, whole_seconds(WALL + Duration::from_millis(103)), "client-go would count from the first");
}

#[test]
fn a_renewal_heals_a_date_that_nobody_can_read() {
    assert_eq!(renew_time(None, WALL), WALL);
    let mut leased = held();
    leased.spec.insert("renewTime".to_owned(), json!("9999-12-31T23:59:59.999999Z"));
    let renewed = change(&leased, &renew(10, 11, WALL + A_WHILE)).unwrap();
    assert_eq!(renewed.spec["renewTime"], json!("2026-11-22T14:00:05.000000Z"));
}

#[test]
fn what_others_have_put_there_is_not_kept_in_mind() {
    let mut leased = held();
    leased.annotations.as_mut().unwrap().insert("kubectl.kubernetes.io/note".to_owned(), "x".repeat(1_000));
    assert_eq!(leased.pruned(), held());
    assert!(held().is_marked() && !foreign().is_marked());
}

//! The rules of the changes (design section 4.1), one test each.

use super::*;

const T: fn(u64) -> Term = Term;
const WALL: Wall = Wall::from_millis(1_795_356_000_000);
const LATER: Wall = Wall::from_millis(1_795_356_005_000);
const TTL: Duration = Duration::from_secs(15);

fn claim(owner: &str, term: u64) -> Claim {
    Claim { engine: EngineId::new(owner, 0xab), term: T(term), ttl: TTL, instant: true }
}

fn entry(owner: &str, term: u64) -> Entry {
    claim(owner, term).entry(WALL)
}

/// Held by `a` under term 1, beat 10; `b` (term 2) and `c` (term 3) wait.
fn held() -> Record {
    let waiters = vec![entry("b", 2), entry("c", 3)];
    Record { waiters, ..Record::held_by(&claim("a", 1), Beat(10), 4, WALL) }
}

fn free() -> Record {
    Record { expiry: Some(WALL), ..Record::default() }
}

fn pair(term: u64, beat: u64) -> Pair {
    Pair { term: T(term), beat: Beat(beat) }
}

fn create() -> Change {
    Change::Create { claim: claim("a", 1), beat: Beat(10), under: Term::NONE, wall: WALL }
}

fn take(seen: Pair, removes: Vec<(usize, Entry)>) -> Change {
    Change::Claim { claim: claim("c", 3), beat: Beat(30), seen, removes, under: Term::NONE, wall: LATER }
}

fn renew(term: u64, previous: u64) -> Change {
    let ttl = Duration::from_secs(20);
    Change::Renew {
        term: T(term),
        previous: Beat(previous),
        beat: Beat(11),
        renewals: 5,
        ttl,
        next_owner: Some("b".into()),
        under: Term::NONE,
        wall: LATER,
    }
}

fn grant(term: u64, index: usize, entry: Entry, duplicates: Vec<(usize, Entry)>) -> Change {
    Change::Grant { term: T(term), beat: Beat(12), index, entry, duplicates, next: EngineId::new("n", 9), wall: LATER }
}

fn release(term: u64) -> Change {
    Change::Free { term: T(term), wall: LATER }
}

// === Create ===

#[test]
fn create_makes_a_record_held_with_one_renewal_and_its_own_dates() {
    let made = create().apply(None).unwrap();
    assert_eq!((made.engine.owner(), made.pair(), made.renewals), ("a", pair(1, 10), 1));
    assert_eq!((made.ttl, made.instant), (TTL, true));
    assert_eq!((made.acquired, made.expiry), (Some(WALL), Some(WALL + TTL)));
    assert!(made.waiters.is_empty() && !made.is_free());
}

#[test]
fn create_is_refused_when_there_is_an_object_even_a_free_one() {
    assert_eq!(create().apply(Some(&free())), Err(Refused::Exists));
    assert_eq!(create().apply(Some(&held())), Err(Refused::Exists));
}

#[test]
fn every_other_change_is_refused_when_there_is_no_object() {
    let leave = Change::Leave { index: 0, entry: entry("b", 2) };
    let enqueue = Change::Enqueue { claim: claim("b", 2), wall: WALL };
    let grant = grant(1, 0, entry("b", 2), vec![]);
    for change in [take(Pair::FREE, vec![]), enqueue, leave, renew(1, 10), grant, release(1)] {
        assert_eq!(change.apply(None), Err(Refused::Absent), "{change:?}");
    }
}

// === Claim ===

#[test]
fn claim_takes_a_record_seen_free() {
    let taken = take(Pair::FREE, vec![]).apply(Some(&free())).unwrap();
    assert_eq!((taken.engine.owner(), taken.pair(), taken.renewals), ("c", pair(3, 30), 1));
    assert_eq!((taken.acquired, taken.expiry), (Some(LATER), Some(LATER + TTL)));
}

#[test]
fn claim_tests_the_term_and_the_newest_beat() {
    for seen in [pair(1, 9), pair(2, 10), Pair::FREE] {
        assert_eq!(take(seen, vec![]).apply(Some(&held())), Err(Refused::Mismatch), "{seen:?}");
    }
    assert!(take(pair(1, 10), vec![]).apply(Some(&held())).is_ok());
}

#[test]
fn claim_removes_its_own_entry_and_those_ahead_and_keeps_those_behind() {
    let mut record = held();
    record.waiters.push(entry("d", 4));
    let taken = take(pair(1, 10), vec![(0, entry("b", 2)), (1, entry("c", 3))]).apply(Some(&record)).unwrap();
    assert_eq!(taken.waiters, [entry("d", 4)]);
}

#[test]
fn claim_is_refused_when_an_entry_is_not_where_it_was_seen() {
    for (index, entry) in [(0, entry("c", 3)), (1, entry("b", 2)), (2, entry("c", 3))] {
        assert_eq!(take(pair(1, 10), vec![(index, entry)]).apply(Some(&held())), Err(Refused::Mismatch));
    }
}

#[test]
fn claim_removes_a_dead_entry_like_any_other() {
    let mut record = held();
    record.waiters[0] = Entry::from_text("edited by hand");
    let removes = vec![(0, Entry::from_text("edited by hand")), (1, entry("c", 3))];
    assert!(take(pair(1, 10), removes).apply(Some(&record)).unwrap().waiters.is_empty());
}

// === Enqueue and Leave ===

#[test]
fn enqueue_appends_and_changes_nothing_else() {
    let queued = Change::Enqueue { claim: claim("d", 4), wall: WALL }.apply(Some(&held())).unwrap();
    let mut expected = held();
    expected.waiters.push(entry("d", 4));
    assert_eq!(queued, expected);
}

#[test]
fn enqueue_delivered_twice_stands_twice() {
    let change = Change::Enqueue { claim: claim("b", 2), wall: WALL };
    let once = change.apply(Some(&free())).unwrap();
    assert_eq!(change.apply(Some(&once)).unwrap().waiters, [entry("b", 2), entry("b", 2)]);
}

#[test]
fn enqueue_is_refused_when_64_wait() {
    let mut record = held();
    record.waiters = (1..MAX_WAITERS as u64).map(|term| entry("w", term)).collect();
    let change = Change::Enqueue { claim: claim("d", 99), wall: WALL };
    record = change.apply(Some(&record)).expect("the 64th has room");
    assert_eq!(change.apply(Some(&record)), Err(Refused::Full));
}

#[test]
fn leave_removes_the_entry_that_stands_at_the_index() {
    let left = Change::Leave { index: 0, entry: entry("b", 2) }.apply(Some(&held())).unwrap();
    assert_eq!(left, Record { waiters: vec![entry("c", 3)], ..held() });
}

#[test]
fn leave_is_refused_when_the_entry_is_elsewhere_or_gone() {
    for (index, entry) in [(1, entry("b", 2)), (0, entry("x", 9)), (2, entry("c", 3))] {
        assert_eq!(Change::Leave { index, entry }.apply(Some(&held())), Err(Refused::Mismatch));
    }
}

// === Renew ===

#[test]
fn renew_leaves_a_fresh_beat_with_its_ttl_and_expiry_and_keeps_the_rest() {
    let renewed = renew(1, 10).apply(Some(&held())).unwrap();
    let (ttl, next_owner) = (Duration::from_secs(20), Some(Arc::from("b")));
    assert_eq!(renewed, Record { beat: Beat(11), renewals: 5, ttl, next_owner, expiry: Some(LATER + ttl), ..held() });
}

#[test]
fn renew_tests_its_term() {
    assert_eq!(renew(2, 10).apply(Some(&held())), Err(Refused::Mismatch));
}

#[test]
fn renew_tests_the_previous_beat() {
    assert_eq!(renew(1, 9).apply(Some(&held())), Err(Refused::Mismatch));
    let once = renew(1, 10).apply(Some(&held())).unwrap();
    assert_eq!(renew(1, 10).apply(Some(&once)), Err(Refused::Mismatch), "a late duplicate changes nothing");
}

// === Grant ===

#[test]
fn grant_makes_the_head_the_holder_unconfirmed() {
    let granted = grant(1, 0, entry("b", 2), vec![]).apply(Some(&held())).unwrap();
    assert_eq!((granted.engine.owner(), granted.pair(), granted.renewals), ("b", pair(2, 12), 0));
    assert_eq!((granted.acquired, granted.expiry), (Some(LATER), Some(LATER + TTL)));
    assert_eq!((&granted.waiters[..], granted.next_owner.as_deref()), (&[entry("c", 3)][..], Some("n")));
}

#[test]
fn grant_takes_ttl_and_instant_from_the_entry() {
    let patient = Claim { ttl: Duration::from_secs(60), instant: false, ..claim("b", 2) };
    let record = Record { waiters: vec![patient.entry(WALL)], ..held() };
    let granted = grant(1, 0, patient.entry(WALL), vec![]).apply(Some(&record)).unwrap();
    assert_eq!((granted.ttl, granted.instant), (patient.ttl, false));
}

#[test]
fn grant_to_a_named_successor_keeps_those_ahead_of_it() {
    let granted = grant(1, 1, entry("c", 3), vec![]).apply(Some(&held())).unwrap();
    assert_eq!((granted.term, granted.waiters), (T(3), vec![entry("b", 2)]));
}

#[test]
fn grant_removes_later_entries_of_the_same_term() {
    let mut record = held();
    record.waiters.push(entry("b", 2));
    let granted = grant(1, 0, entry("b", 2), vec![(2, entry("b", 2))]).apply(Some(&record)).unwrap();
    assert_eq!(granted.waiters, [entry("c", 3)]);
}

#[test]
fn grant_tests_its_term_the_entry_and_the_duplicates() {
    let refused = [
        grant(2, 0, entry("b", 2), vec![]),
        grant(1, 0, entry("c", 3), vec![]),
        grant(1, 2, entry("b", 2), vec![]),
        grant(1, 0, entry("b", 2), vec![(1, entry("b", 2))]),
    ];
    for change in refused {
        assert_eq!(change.apply(Some(&held())), Err(Refused::Mismatch), "{change:?}");
    }
}

#[test]
fn grant_does_not_test_the_beat() {
    let other_beat = Record { beat: Beat(77), ..held() };
    assert!(grant(1, 0, entry("b", 2), vec![]).apply(Some(&other_beat)).is_ok());
}

#[test]
fn grant_to_a_dead_waiter_is_refused_not_a_panic() {
    let dead = Entry::from_text("edited by hand");
    let record = Record { waiters: vec![dead.clone()], ..held() };
    assert_eq!(grant(1, 0, dead, vec![]).apply(Some(&record)), Err(Refused::Mismatch));
}

// === Free ===

#[test]
fn free_leaves_nobody_and_expires_now() {
    let nobody_waits = Record { waiters: vec![], next_owner: Some("b".into()), ..held() };
    let freed = release(1).apply(Some(&nobody_waits)).unwrap();
    assert_eq!((freed.engine.as_str(), freed.pair(), freed.expiry), ("", Pair::FREE, Some(LATER)));
    assert_eq!((freed.acquired, &freed.next_owner), (Some(LATER), &None), "since when it is free");
    assert!(freed.is_free());
}

#[test]
fn free_tests_its_term() {
    assert_eq!(release(2).apply(Some(&Record { waiters: vec![], ..held() })), Err(Refused::Mismatch));
}

#[test]
fn free_is_refused_while_somebody_waits() {
    assert_eq!(release(1).apply(Some(&held())), Err(Refused::Mismatch));
}

// === what stands in a record ===

#[test]
fn only_changes_that_the_holder_itself_makes_have_a_beat_of_its_own() {
    assert_eq!(create().makes(), Some((T(1), Beat(10))));
    assert_eq!(take(Pair::FREE, vec![]).makes(), Some((T(3), Beat(30))));
    assert_eq!(renew(1, 10).makes(), Some((T(1), Beat(11))));
    assert_eq!(grant(1, 0, entry("b", 2), vec![]).makes(), None);
}

#[test]
fn an_entry_reads_back_as_its_claim() {
    for instant in [true, false] {
        let claim = Claim { instant, ..claim("web-7f9c.eu", 0xa41f_09c2_d7e8_5b13) };
        assert_eq!(claim.entry(WALL).claim(), Some(claim.clone()));
        assert_eq!(claim.entry(WALL).term(), Some(claim.term));
    }
    assert_eq!(entry("b", 2).as_str(), "0000000000000002 b.00000000000000ab 15000 instant 2026-11-22T14:00:00.000Z");
    assert_eq!(entry("b", 2).since(), Some(WALL));
}

/// Earlier ones wrote no date, later ones may write more, and a date may be spoilt by hand: all of them wait.
#[test]
fn a_date_is_for_people_and_nobody_waits_by_it() {
    let written = entry("b", 2);
    for rest in ["", " ", " tomorrow", " 9999-12-31T23:59:59Z", " 2026-11-22T14:00:00.000Z and more"] {
        let other = Entry::from_text(&format!("0000000000000002 b.00000000000000ab 15000 instant{rest}"));
        assert_eq!((other.claim(), other.term()), (written.claim(), written.term()), "{rest:?}");
        assert!(other.is_of(&claim("b", 2).engine));
        assert_eq!(other.since(), Some(WALL).filter(|_| rest.ends_with("more")), "{rest:?}");
    }
}

#[test]
fn an_entry_that_does_not_parse_is_a_dead_waiter() {
    let dead = [
        "",
        " ",
        "0000000000000002",
        "0000000000000002 b.ab 15000",
        "0000000000000002 b.ab 15000 maybe",
        "0000000000000002  15000 instant",
        "0000000000000002 b.ab -1 instant",
        "0000000000000002 b.ab +15000 instant",
        "0000000000000002 b.ab 999 instant",
        "0000000000000002 b.ab 86400001 instant",
        "0000000000000002 b.ab 99999999999999999999999 instant",
        "0000000000000000 b.ab 15000 instant",
        "000000000000000A b.ab 15000 instant",
        "2 b.ab 15000 instant",
        "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4} b.ab 15000 instant",
    ];
    for text in dead {
        assert_eq!(Entry::from_text(text).claim(), None, "{text:?}");
    }
}

#[test]
fn a_term_is_found_in_an_entry_whose_rest_does_not_parse() {
    assert_eq!(Entry::from_text("0000000000000002 what").term(), Some(T(2)));
    assert_eq!(Entry::from_text("what 0000000000000002").term(), None);
}

#[test]
fn rank_is_the_place_of_the_first_entry_of_a_term() {
    let mut record = held();
    record.waiters.push(entry("b", 2));
    assert_eq!((record.rank_of(T(2)), record.rank_of(T(3)), record.rank_of(T(4))), (Some(0), Some(1), None));
}

#[test]
fn an_engine_id_is_its_owner_and_64_random_bits() {
    let id = EngineId::new("web-7f9c.eu", 0x9f2c_41d0_7be3_a856);
    assert_eq!((id.as_str(), id.owner()), ("web-7f9c.eu.9f2c41d07be3a856", "web-7f9c.eu"));
    assert_eq!(EngineId::from_text(id.as_str()), id);
    assert_eq!(EngineId::new("web", 1).as_str(), "web.0000000000000001");
}

#[test]
fn an_engine_id_edited_by_hand_still_has_an_owner() {
    for (text, owner) in [("", ""), ("web", "web"), (".", ""), ("web.", "web"), ("a b.c", "a b")] {
        assert_eq!(EngineId::from_text(text).owner(), owner);
    }
}

#[test]
fn an_engine_id_shows_itself_to_people() {
    assert_eq!(format!("{:?}", EngineId::new("web", 1)), "EngineId(web.0000000000000001)");
}

#[test]
fn only_another_start_of_the_same_pod_is_kin() {
    let id = EngineId::of_pod("web", Role::Library, 0xa1, 1);
    let kin = |owner: &str, role: Role, pod: u32| EngineId::of_pod(owner, role, pod, 2);
    assert!(id.is_kin_of(&kin("web", Role::Library, 0xa1)));
    let (elsewhere, other_owner) = (kin("web", Role::Library, 0xa2), kin("api", Role::Library, 0xa1));
    for other in [id.clone(), elsewhere, other_owner, kin("web", Role::Sidecar, 0xa1), id.reserved()] {
        assert!(!id.is_kin_of(&other), "{other}");
    }
    // Without a pod there is none, even if the random bits begin alike, or a hand has made them as long as a pod's.
    assert!(!EngineId::new("web", 1).is_kin_of(&EngineId::new("web", 2)));
    let edited = ["web.zzzzzzzzzzzzzzzzzzzzzzz1", "web.zzzzzzzzzzzzzzzzzzzzzzz2"].map(EngineId::from_text);
    assert!(!edited[0].is_kin_of(&edited[1]));
}

#[test]
fn a_nonce_is_written_as_16_digits_and_nobody_as_nothing() {
    assert_eq!(T(0x5f0c).to_string(), "0000000000005f0c");
    assert_eq!(Term::NONE.to_string(), "");
    assert_eq!("0000000000005f0c".parse(), Ok(T(0x5f0c)));
    assert_eq!("".parse(), Ok(Beat::NONE));
}

#[test]
fn a_random_nonce_is_never_nobody() {
    assert!(!Term::random(0).is_none() && !Beat::random(0).is_none());
    assert_eq!(Term::random(7), T(7));
}

#[test]
fn a_nonce_that_would_not_be_written_so_is_illegible() {
    for text in ["0", "5f0c", "0000000000005F0C", "000000000000000g", "00000000000005f0c", "+00000000000005f"] {
        assert_eq!(text.parse::<Term>(), Err(Illegible), "{text:?}");
    }
    // It would read as nobody, and `test` operations, which compare texts, would never fit it.
    assert_eq!("0000000000000000".parse::<Term>(), Err(Illegible));
}

#[test]
fn patience_with_an_absurd_ttl_is_five_minutes() {
    for ttl in [Duration::ZERO, Duration::from_millis(999), MAX_TTL + Duration::from_millis(1), Duration::MAX] {
        assert_eq!(Record { ttl, ..held() }.patience(), FALLBACK_TTL);
    }
    assert_eq!(held().patience(), TTL);
}

// === Advertise ===

fn advert(term: u64, text: &str) -> Advert {
    Advert { term: T(term), text: text.into() }
}

#[test]
fn advertise_tests_its_term_and_changes_nothing_else() {
    let held = create().apply(None).unwrap();
    let own = Advert { term: held.term, text: "10.0.0.7:80".into() };
    let told = Change::Advertise(own.clone()).apply(Some(&held)).unwrap();
    assert_eq!(told, Record { advertised: Some(own), ..held.clone() });
    assert_eq!((told.advert(), held.advert()), (Some("10.0.0.7:80"), None));
    assert_eq!(Change::Advertise(advert(99, "x")).apply(Some(&held)), Err(Refused::Mismatch));
    assert_eq!(Change::Advertise(advert(99, "x")).apply(None), Err(Refused::Absent));
    let nobody = Advert { term: Term::NONE, text: "x".into() };
    assert_eq!(Change::Advertise(nobody).apply(Some(&Record::default())), Err(Refused::Mismatch));
}

#[test]
fn an_advertisement_of_another_term_is_out_of_date() {
    let held = create().apply(None).unwrap();
    assert_eq!(Record { advertised: Some(advert(99, "x")), ..held }.advert(), None);
}

#[test]
fn advertisements_are_read_as_they_are_written_and_nothing_else_is() {
    for text in ["", "10.0.0.7:80", "a b  c", "ä\n"] {
        let advert = advert(7, text);
        assert_eq!(Advert::parse(&advert.to_string()), Some(advert));
    }
    for bad in ["", "x", " x", "0000000000000000 x", "7 x", "000000000000000G x"] {
        assert_eq!(Advert::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn r4_each_write_that_makes_prolongs_or_ends_a_hold_names_its_session_or_none() {
    let at = |change: &Change, stored: Option<&Record>| change.apply(stored).unwrap();
    let (under, claim, wall) = (T(7), claim("a", 1), WALL);
    let made = at(&Change::Create { claim: claim.clone(), beat: Beat(1), under, wall }, None);
    assert_eq!((made.under, made.expiry), (T(7), None), "when it would end is its session's business");
    let renew = |under| Change::Renew {
        term: T(1),
        previous: Beat(1),
        beat: Beat(2),
        renewals: 2,
        ttl: claim.ttl,
        next_owner: None,
        under,
        wall,
    };
    let out = at(&renew(Term::NONE), Some(&made));
    assert_eq!((out.under, out.expiry), (Term::NONE, Some(WALL + claim.ttl)));
    assert_eq!(at(&renew(T(8)), Some(&made)).under, T(8));
    let taken = Change::Claim { claim: claim.clone(), beat: Beat(3), seen: out.pair(), removes: vec![], under, wall };
    assert_eq!(at(&taken, Some(&out)).under, T(7));
    let queued = at(&Change::Enqueue { claim: claim.clone(), wall }, Some(&made));
    assert_eq!((queued.under, queued.expiry), (T(7), None), "whoever joins leaves it as it is");
    let granted = at(&queued.hand_on(0, || Beat(4), wall).unwrap(), Some(&queued));
    assert_eq!((granted.under, granted.expiry), (Term::NONE, Some(WALL + claim.ttl)));
    assert_eq!(at(&Change::Free { term: T(1), wall }, Some(&made)).under, Term::NONE);
    let (engine, ttl) = (claim.engine.clone(), claim.ttl);
    let left = Change::Reserve { term: T(1), previous: Beat(1), beat: Beat(5), engine, ttl, until: wall };
    assert_eq!((at(&left, Some(&made)).under, at(&left, Some(&made)).expiry), (Term::NONE, Some(wall)));
}

//! The order of the queue, and who joins it where.

use super::*;
use crate::record::{Entry, MAX_WAITERS, WALL_SKEW};

const HOUR: i64 = 3_600_000;

fn at(millis: i64) -> Wall {
    Wall::from_millis(WALL.as_millis() + millis)
}

fn line_up(leased: &Leased, term: u64) -> Leased {
    leased.run(&leased.line_up(Term(term)).expect("it stands before others")).unwrap()
}

fn owners(leased: &Leased) -> String {
    let claims = leased.record().unwrap().waiters.into_iter().filter_map(|entry| entry.claim());
    claims.map(|claim| claim.engine.owner().to_owned()).collect()
}

#[test]
fn waiters_join_where_there_are_no_annotations() {
    let bare = foreign();
    assert_eq!((bare.annotations.clone(), bare.labels.clone()), (None, None));
    let ops = bare.ops(&enqueue("b", 2)).unwrap();
    let joined = bare.run(&ops).unwrap();
    assert_eq!(joined.record().unwrap().waiters, [claim("b", 2).entry(WALL)]);
    assert_eq!(joined.run(&ops), Err(Refused::Mismatch), "they came meanwhile, and are not overwritten");
    let both = change(&joined, &enqueue("c", 3)).unwrap();
    assert_eq!(both.record().unwrap().waiters.len(), 2);
    assert!(change(&both, &take(bare.pair())).unwrap().labels.is_some());
}

/// By dates alone, as by those who have seen nothing of the queue.
#[test]
fn the_queue_has_the_order_of_its_dates_and_then_of_its_terms() {
    let mut leased = held();
    for (owner, term, date) in [("c", 3, 2), ("d", 4, 2), ("b", 2, 7), ("e", 9, 1)] {
        let ops = held().ops(&enqueue_at(owner, term, Wall::from_millis(date))).unwrap();
        leased = leased.run(&ops).unwrap();
    }
    assert_eq!(owners(&leased), "ecdb");
}

#[test]
fn nobody_dates_itself_before_whom_it_has_seen_in_the_queue() {
    let seen = change(&held(), &enqueue_at("b", 2, at(0))).unwrap();
    for (wall, place) in [(at(-HOUR), "bc"), (at(HOUR), "bc")] {
        let joined = change(&seen, &enqueue_at("c", 3, wall)).unwrap();
        assert_eq!((owners(&joined).as_str(), joined.line_up(Term(3))), (place, None), "and needs to move no more");
        let entry = joined.record().unwrap().waiters[1].clone();
        assert_eq!(entry.since(), Some(wall), "people read its own clock");
    }
    let mut leased = seen;
    for term in 3..10 {
        leased = change(&leased, &enqueue_at("c", term, at(-HOUR))).unwrap();
    }
    assert_eq!(owners(&leased), "bccccccc", "in their order");
    let terms: Vec<_> = leased.record().unwrap().waiters.iter().filter_map(Entry::term).collect();
    assert!(terms.is_sorted());
}

#[test]
fn who_joins_unseeing_moves_behind_those_who_came_before() {
    let queued = change(&held(), &enqueue_at("b", 2, at(0))).unwrap();
    let queued = change(&queued, &enqueue_at("c", 3, at(HOUR))).unwrap();
    let unseeing = held().ops(&enqueue_at("d", 4, at(0))).unwrap();
    let joined = queued.run(&unseeing).unwrap();
    assert_eq!(owners(&joined), "bdc");
    let moved = line_up(&joined, 4);
    assert_eq!((owners(&moved).as_str(), moved.line_up(Term(4))), ("bcd", None), "once is enough");
    assert_eq!(moved.record().unwrap().waiters[2], claim("d", 4).entry(at(0)), "the entry is what it was");
    assert_eq!((joined.line_up(Term(2)).is_some(), joined.line_up(Term(3))), (true, None));
}

#[test]
fn who_joins_a_moment_apart_stays_where_it_is() {
    let skew = i64::try_from(WALL_SKEW.as_millis()).unwrap();
    for (behind, moves) in [(0, false), (skew, false), (skew + 1, true)] {
        let queued = change(&held(), &enqueue_at("b", 2, at(0))).unwrap();
        let joined = queued.run(&held().ops(&enqueue_at("c", 3, at(-behind))).unwrap()).unwrap();
        assert_eq!(joined.line_up(Term(3)).is_some(), moves, "{behind} ms");
    }
    let alone = change(&held(), &enqueue_at("b", 2, at(-HOUR))).unwrap();
    assert_eq!(alone.line_up(Term(2)), None);
}

#[test]
fn who_waits_no_more_does_not_come_back_by_lining_up() {
    let queued = change(&held(), &enqueue_at("b", 2, at(0))).unwrap();
    let joined = queued.run(&held().ops(&enqueue_at("c", 3, at(-HOUR))).unwrap()).unwrap();
    let ops = joined.line_up(Term(3)).unwrap();
    let granted = change(&joined, &joined.record().unwrap().hand_on(0, || Beat(20), WALL).unwrap()).unwrap();
    assert_eq!(granted.record().unwrap().engine.owner(), "c");
    assert_eq!(granted.run(&ops), Err(Refused::Mismatch));
    assert_eq!(joined.line_up(Term(9)), None, "nor does who never joined");
}

#[test]
fn no_date_keeps_the_next_from_standing_behind_it() {
    let dated = |date: &str| {
        let mut leased = held();
        let text = format!("{date} {} 14500 instant", claim("b", 2).engine);
        leased.annotations.as_mut().unwrap().insert(note("w.0000000000000002"), text);
        let joined = leased.run(&held().ops(&enqueue_at("c", 3, at(0))).unwrap()).unwrap();
        let moved = joined.line_up(Term(3)).map_or(joined.clone(), |ops| joined.run(&ops).unwrap());
        let next = change(&moved, &enqueue_at("d", 4, at(0))).unwrap();
        (owners(&moved), owners(&next))
    };
    let both = |moved: &str, next: &str| (moved.to_owned(), next.to_owned());
    assert_eq!(dated("253370764800000"), both("bc", "bcd"), "the last year");
    assert_eq!(dated("4611686018427387000"), both("bc", "bcd"), "beyond any calendar");
    for illegible in ["9223372036854775807", "18446744073709551615", "99999999999999999999", "-1", ""] {
        assert_eq!(dated(illegible), both("c", "cd"), "{illegible:?} is of a dead waiter");
    }
    let before_1970 = change(&held(), &enqueue_at("b", 2, Wall::from_millis(-7))).unwrap();
    assert_eq!(owners(&before_1970), "b");
}

#[test]
fn an_entry_that_is_not_legible_comes_first_and_can_leave() {
    let mut leased = change(&held(), &enqueue("b", 2)).unwrap();
    leased.annotations.as_mut().unwrap().insert("msync.dev/w.scribble".to_owned(), "by hand".to_owned());
    let record = leased.record().unwrap();
    assert_eq!((record.waiters[0].as_str(), record.waiters[0].claim()), ("scribble by hand", None));
    let left = change(&leased, &record.hand_on(0, || unreachable!(), WALL).unwrap()).unwrap();
    assert_eq!(left.record().unwrap().waiters, [claim("b", 2).entry(WALL)]);
}

#[test]
fn what_has_no_place_in_the_queue_finds_that_out() {
    let mut leased = held();
    for term in 0..=MAX_WAITERS as u64 {
        let ops = leased.ops(&enqueue_at("w", term + 2, Wall::from_millis(1_000))).unwrap();
        leased = leased.run(&ops).unwrap();
        assert_eq!(leased.has_no_room_for(Term(term + 2)), term == MAX_WAITERS as u64);
    }
    assert!(!leased.has_no_room_for(Term(2)));
}

//! What is told of a lock: each thing once, from what goes into a keeper and what comes out of it.

use super::*;
use crate::{
    FencingToken,
    protocol::{Answer, Holding, Renewal, Standing, Story, Wait},
};

fn token() -> FencingToken {
    FencingToken::new(7, 0).unwrap()
}

/// A story whose lock is held for ticket 1 since 100 s.
fn holding() -> Story<&'static str> {
    let mut story = Story::default();
    story.acquired(Holding { ticket: Ticket(1), token: token(), since: Bench::at(100_000), asked: "by me" });
    story
}

fn ended(reason: Option<LossReason>) -> Standing {
    Standing { ended: reason, ..Standing::default() }
}

fn sends(story: &mut Story<&'static str>, change: Change, holds: bool) {
    story.sends(&Action { call: Some(Call::Apply(change)), ..Action::default() }, holds);
}

fn renewal() -> Change {
    let (term, previous, beat, wall) = (Term(1), Beat(1), Beat(2), Wall::default());
    Change::Renew { term, previous, beat, renewals: 2, ttl: ms(TTL), next_owner: None, under: Term::NONE, wall }
}

#[test]
fn who_has_it_gives_it_back_once() {
    for event in [Event::Release(Ticket(1), None), Event::Cancel(Ticket(1))] {
        let mut story = holding();
        assert_eq!(story.gives_back(&Event::Release(Ticket(2), None)), None, "somebody else");
        let holding = story.gives_back(&event).expect("it is given back");
        assert_eq!((holding.asked, holding.held(Bench::at(103_000))), ("by me", ms(3_000)));
        assert_eq!(story.gives_back(&event), None);
    }
}

#[test]
fn what_is_lost_is_told_once_and_not_given_back() {
    let mut story = holding();
    assert_eq!(story.loses(None, &ended(None)), None);
    let (lost, reason) = story.loses(None, &ended(Some(LossReason::Deadline))).expect("it is lost");
    assert_eq!((lost.map(|lost| lost.token), reason), (Some(token()), LossReason::Deadline));
    assert_eq!(story.loses(Some(LossReason::Deadline), &ended(Some(LossReason::Deadline))), None, "known already");
    assert_eq!(story.gives_back(&Event::Release(Ticket(1), None)), None);
}

/// Nobody else can have it before its guard is gone.
#[test]
fn a_shutdown_is_no_loss_but_a_loss_in_it_is() {
    let mut story = holding();
    assert_eq!(story.loses(None, &ended(Some(LossReason::ShutDown))), None);
    let lost = story.loses(Some(LossReason::ShutDown), &ended(Some(LossReason::Deadline)));
    assert!(matches!(lost, Some((Some(_), LossReason::Deadline))), "{lost:?}");
}

#[test]
fn the_loss_of_what_nobody_uses_names_nobody() {
    let mut story = Story::<()>::default();
    assert_eq!(story.loses(None, &ended(Some(LossReason::TakenOver))), Some((None, LossReason::TakenOver)));
}

#[test]
fn renewals_of_a_hold_are_told_by_how_they_end() {
    let mut story = holding();
    let applied = Outcome::Applied(Bench::holding().stored.unwrap());
    let ends = [
        (applied, Some(Renewal::Done)),
        (Outcome::Refused(Refused::Mismatch), Some(Renewal::Refused)),
        (Outcome::Denied, Some(Renewal::Denied)),
        (Outcome::Fatal, Some(Renewal::Denied)),
        (Outcome::Busy(None), Some(Renewal::Failed)),
        (Outcome::Unknown, Some(Renewal::Failed)),
        (Outcome::Unsent, None),
    ];
    for (outcome, told) in ends {
        sends(&mut story, renewal(), true);
        assert_eq!(story.answers(&Event::Tick), None, "it is on its way");
        assert_eq!(story.answers(&Event::Reply(outcome.clone())), told.map(Answer::Renewed), "{outcome:?}");
        assert_eq!(story.answers(&Event::Reply(outcome)), None, "once");
    }
    sends(&mut story, renewal(), false);
    assert_eq!(story.answers(&Event::Reply(Outcome::Unknown)), None, "an accept is no renewal");
}

#[test]
fn a_grant_tells_to_whom_when_it_is_written() {
    let grant = || {
        let (entry, next, wall) = (rival(3, TTL).entry(Wall::default()), EngineId::default(), Wall::default());
        Change::Grant { term: Term(1), beat: Beat(9), index: 0, entry, duplicates: vec![], next, wall }
    };
    let mut story = holding();
    sends(&mut story, grant(), false);
    assert_eq!(story.answers(&Event::Reply(Outcome::Refused(Refused::Mismatch))), None);
    sends(&mut story, grant(), false);
    let mut granted = Bench::holding().stored.unwrap();
    granted.record.engine = rival(3, TTL).engine;
    assert_eq!(story.answers(&Event::Reply(Outcome::Applied(granted))), Some(Answer::HandedOver(rival(3, TTL).engine)));
}

#[test]
fn a_place_in_the_queue_is_told_when_it_is_first_seen() {
    let bench = Bench::waiting(want(1));
    let mut story = Story::<()>::default();
    assert_eq!(story.queues(&bench.keeper), Some((1, rival(1, TTL).engine)));
    assert_eq!(story.queues(&bench.keeper), None);
    assert_eq!(Story::<()>::default().queues(&Bench::holding().keeper), None, "who holds waits for nothing");
}

#[test]
fn a_queue_without_room_is_told_once_for_each_who_wants_in() {
    let full = Event::Reply(Outcome::Refused(Refused::Full));
    let mut story = Story::<()>::default();
    assert_eq!([story.answers(&full), story.answers(&full)], [Some(Answer::QueueFull), None], "and not at each look");
    story.queues(&Bench::new().keeper);
    assert_eq!(story.answers(&full), Some(Answer::QueueFull), "nobody wanted in meanwhile");
}

#[test]
fn every_end_of_a_wait_is_told_and_nothing_else_is_one() {
    let ticket = Ticket(1);
    let ends = [
        (Notice::Acquired(ticket, token()), Some(Wait::Acquired)),
        (Notice::Busy(ticket), Some(Wait::Busy)),
        (Notice::Failed(ticket), Some(Wait::Failed)),
        (Notice::ShutDown(ticket), Some(Wait::ShutDown)),
        (Notice::Recall(ticket), None),
        (Notice::Released(ticket), None),
        (Notice::HandedOver(ticket), None),
        (Notice::Abandoned(ticket), None),
    ];
    for (notice, end) in ends {
        assert_eq!(Wait::of(&notice), end.map(|end| (ticket, end)), "{notice:?}");
    }
}

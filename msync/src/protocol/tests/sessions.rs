//! Sessions: what a hold under one believes, what a challenger must know, how one lives and ends (design 4.10).

use super::*;
use crate::{
    protocol::{Own, Patience, Rest, Shelter, Standing, Verdict, may_beat, pays, shelter},
    record::Role,
};

/// The session of this engine.
const T: Term = Term(0x7777);
/// That of another.
const S: Term = Term(0x5555);

fn own(deadline: u64) -> Shelter {
    Shelter { term: T, timing: timing(TTL), deadline: Bench::at(deadline), lost: None }
}

impl Bench {
    fn knows(&mut self, own: &[Shelter]) {
        self.keeper.know_sessions(Some(own.into()));
        self.step(Event::Tick);
    }

    /// A bench whose keeper has the lock for ticket 1 under a session that is believed until a time.
    fn sheltered(deadline: u64) -> Self {
        let mut bench = Self::new();
        bench.knows(&[own(deadline)]);
        bench.want(want(1));
        bench.settle();
        assert_eq!((bench.record().under, bench.has(1)), (T, true));
        bench
    }

    /// A bench whose keeper has the lock for ticket 1 by itself.
    fn plain() -> Self {
        let mut bench = Self::new();
        bench.knows(&[]);
        bench.want(want(1));
        bench.settle();
        bench
    }

    /// A bench whose keeper waits for a lock that another engine holds under a session.
    fn behind_a_session(ask: Want) -> Self {
        let mut bench = Self::new();
        bench.other(&Change::Create { claim: rival(1, TTL), beat: Beat(1), under: S, wall: Wall::default() });
        bench.want(ask);
        bench.settle();
        bench
    }

    fn judged(&mut self, verdict: Verdict) {
        self.step(Event::Judged(S, verdict));
    }

    fn under(&self) -> Term {
        match self.change() {
            Change::Create { under, .. } | Change::Claim { under, .. } | Change::Renew { under, .. } => *under,
            other => panic!("names no session: {other:?}"),
        }
    }
}

#[test]
fn r1_a_session_is_a_lock_held_under_the_term_of_its_name_and_made_once_at_the_most() {
    let mut bench = Bench::new();
    bench.want(Want { session: Some(T), patience: Patience::Try, ..want(1) });
    assert!(matches!(bench.change(), Change::Create { claim, .. } if claim.term == T));
    bench.lose();
    bench.pass(500);
    assert!(bench.told(&Notice::Busy(Ticket(1))), "lost on the way, or made and gone: a new term is needed");
    let creates = bench.sent.iter().filter(|call| matches!(call, Call::Apply(Change::Create { .. }))).count();
    assert_eq!(creates, 1);
}

#[test]
fn r2_a_session_is_lost_at_its_deadline_or_when_it_is_gone_and_that_is_final() {
    let standing = |until| Standing { ticket: Some(Ticket(1)), until: Bench::at(until), ..Standing::default() };
    for gone in [None, Some(LossReason::Deleted), Some(LossReason::TakenOver)] {
        let mut own = Own::new(T, timing(TTL), Ticket(1));
        own.stands(&standing(109_000), Bench::at(100_000));
        own.stands(&standing(112_000), Bench::at(103_500));
        assert_eq!(own.shelter().unwrap().deadline, Bench::at(112_000), "anchored at its send");
        own.stands(
            &Standing { ended: gone, ..standing(112_000) },
            Bench::at(if gone.is_some() { 104_000 } else { 112_000 }),
        );
        let lost = own.shelter().unwrap();
        assert_eq!(lost.lost, gone.or(Some(LossReason::Deadline)));
        own.stands(&standing(120_000), Bench::at(112_500));
        assert_eq!(own.shelter(), Some(lost), "never again");
        assert!(!own.serves(&timing(TTL)));
    }
}

#[test]
fn r2_nothing_is_believed_under_a_session_that_is_lost() {
    for (lost, at) in [(LossReason::Deadline, 109_000), (LossReason::Deleted, 104_000)] {
        let mut bench = Bench::sheltered(109_000);
        bench.sleep(at - bench.now);
        bench.knows(&[Shelter { lost: Some(lost), ..own(109_000) }]);
        assert_eq!(bench.loss(1), Some(lost));
        bench.knows(&[own(150_000)]);
        assert_eq!(bench.loss(1), Some(lost), "final");
    }
    let mut bench = Bench::sheltered(109_000);
    bench.knows(&[]);
    assert!(bench.loss(1).is_some(), "a session that nobody knows of proves nothing");
}

#[test]
fn s4_what_a_guard_could_see_lost_stays_lost_though_its_session_goes_on() {
    let mut bench = Bench::sheltered(109_000);
    bench.sleep(9_000);
    bench.knows(&[own(120_000)]);
    assert_eq!(bench.loss(1), Some(LossReason::Deadline), "its beat was seen in time, and told to this lock too late");
    bench.settle();
    assert_eq!(bench.record().under, Term::NONE, "and it leads out");
}

#[test]
fn r3_a_session_is_opened_when_a_renewal_is_due_and_two_locks_are_held() {
    let (at, ttl) = (Bench::at(100_000), ms(TTL));
    assert_eq!([0, 1, 2, 3].map(|held| pays(held, at, ttl, at)), [false, false, true, true]);
    assert!(!pays(2, Bench::at(9_000), ttl, at), "who would not hear of its locks");
    let mut bench = Bench::plain();
    assert_eq!(bench.last.opens, None);
    bench.wake();
    assert_eq!((bench.last.opens, bench.under()), (Some(timing(TTL)), Term::NONE));
}

#[test]
fn r3_a_session_is_used_once_its_beat_was_seen_while_time_is_left_and_for_its_timing_alone() {
    assert_eq!(Own::new(T, timing(TTL), Ticket(1)).shelter(), None);
    let (own, at) = (own(109_000), Bench::at(100_000));
    assert_eq!(shelter(&[own], &timing(TTL), at), T);
    assert_eq!(shelter(&[own], &timing(TTL), Bench::at(109_000 - 1_666)), T);
    assert_eq!(shelter(&[own], &timing(TTL), Bench::at(109_000 - 1_665)), Term::NONE);
    assert_eq!(shelter(&[own], &timing(5_000), at), Term::NONE);
    assert_eq!(shelter(&[Shelter { lost: Some(LossReason::Deadline), ..own }], &timing(TTL), at), Term::NONE);
    for (ask, under) in
        [(want(1), T), (campaign(1), Term::NONE), (Want { timing: timing(5_000), ..want(1) }, Term::NONE)]
    {
        let mut bench = Bench::new();
        bench.knows(&[own]);
        bench.want(ask);
        assert_eq!(bench.under(), under);
    }
}

#[test]
fn r3_the_first_acquire_under_a_session_is_one_request_and_so_is_the_release() {
    let mut bench = Bench::sheltered(109_000);
    bench.release(1);
    bench.settle();
    assert_eq!((bench.sent.len(), bench.stored.is_none()), (2, true));
}

#[test]
fn r5_a_hold_is_believed_up_to_the_deadline_of_its_session() {
    let mut bench = Bench::sheltered(105_000);
    assert_eq!(bench.until(), 105_000, "not up to its own 109,000");
    bench.knows(&[own(120_000)]);
    assert_eq!(bench.until(), 120_000);
    bench.sleep(20_000);
    assert_eq!(bench.loss(1), Some(LossReason::Deadline));
}

#[test]
fn r5_a_move_is_believed_by_the_lesser_of_both_until_another_beat_is_seen() {
    let mut bench = Bench::plain();
    bench.pass(1_000);
    bench.knows(&[own(107_000)]);
    bench.sleep(2_400);
    bench.step(Event::Tick);
    assert_eq!((bench.under(), bench.until()), (T, 107_000), "it may be there already");
    bench.lose();
    assert_eq!(bench.until(), 107_000, "a time-out refutes nothing");
    bench.knows(&[]);
    assert!(bench.loss(1).is_some(), "what may stand under a session is lost with it");
}

#[test]
fn r5_a_write_out_of_a_session_bounds_what_is_believed_until_it_is_refuted() {
    let mut bench = Bench::sheltered(109_000);
    bench.step(Event::Prolong(Ticket(1)));
    let out = bench.call.clone().unwrap();
    bench.lose();
    bench.knows(&[own(150_000)]);
    assert_eq!(bench.until(), 109_000, "sent at 100,000: it may be applied, and count from then");
    bench.reply_refused_then_seen_otherwise(&out);
    assert_eq!(bench.until(), 150_000, "another beat was seen: that write can come true no more");
}

impl Bench {
    /// Whatever writes the record, under the same session and with another beat.
    fn reply_refused_then_seen_otherwise(&mut self, _late: &Call) {
        let record = Record { beat: Beat(0x99), ..self.record().clone() };
        self.store(record);
        self.seen();
    }
}

#[test]
fn r6_a_renewal_that_is_due_moves_in_and_there_are_none_after_it() {
    let mut bench = Bench::plain();
    bench.knows(&[own(109_000)]);
    bench.wake();
    assert_eq!(bench.under(), T);
    let previous = bench.record().beat;
    bench.settle();
    assert!(bench.record().under == T && bench.record().beat != previous && bench.record().expiry.is_none());
    bench.knows(&[own(300_000)]);
    bench.pass(100_000);
    assert_eq!((bench.renewals(), bench.loss(1)), (1, None));
}

#[test]
fn r6_it_leads_out_when_the_timing_changes_when_time_is_asked_for_and_at_the_end_of_max_hold() {
    let mut bench = Bench::sheltered(109_000);
    bench.want(Want { timing: timing(5_000), ..want(2) });
    bench.release(1);
    assert!(matches!(bench.change(), Change::Renew { under: Term::NONE, ttl, .. } if *ttl == ms(5_000)));

    let mut bench = Bench::sheltered(105_000);
    bench.step(Event::Prolong(Ticket(1)));
    assert_eq!(bench.under(), Term::NONE);
    bench.settle();
    assert_eq!(bench.until(), 109_000);

    let mut bench = Bench::new();
    bench.knows(&[own(200_000)]);
    bench.want(Want { max_hold: Some(ms(5_000)), ..want(1) });
    bench.settle();
    bench.pass(5_000);
    assert_eq!(bench.loss(1), Some(LossReason::MaxHold));
    assert_eq!(bench.record().under, Term::NONE, "or its session would keep it for ever");
    let writes = bench.sent.len();
    bench.pass(3 * TTL);
    assert_eq!(bench.sent.len(), writes, "then silence");
}

#[test]
fn r6_what_its_session_would_keep_alive_for_nobody_leads_out_whyever_it_is_over() {
    let mut bench = Bench::sheltered(109_000);
    bench.step(Event::Prolong(Ticket(1)));
    bench.lose();
    bench.knows(&[own(150_000)]);
    bench.sleep(9_000);
    bench.knows(&[own(150_000)]);
    assert_eq!(bench.loss(1), Some(LossReason::Deadline));
    bench.pass(1_000);
    assert_eq!(bench.record().under, Term::NONE);
}

#[test]
fn r6_new_token_numbers_cost_a_renewal_that_stays() {
    let mut bench = Bench::sheltered(300_000);
    for ticket in 2..=65_537 {
        bench.want(want(ticket));
        bench.release(ticket - 1);
        bench.settle();
        bench.notices.clear();
    }
    assert_eq!((bench.renewals(), bench.record().under), (1, T));
}

#[test]
fn s6_what_nobody_collects_is_recalled_though_its_session_goes_on() {
    let mut bench = Bench::new();
    (bench.collects, bench.now) = (false, 100_000);
    bench.knows(&[own(109_000)]);
    bench.want(want(1));
    bench.settle();
    bench.knows(&[own(900_000)]);
    bench.pass(TTL);
    assert!(bench.told(&Notice::Recall(Ticket(1))));
    bench.pass(1_000);
    assert!(bench.stored.is_none(), "{:?}", bench.stored);
}

#[test]
fn r9_a_lock_under_a_session_is_claimed_only_when_that_is_dead() {
    let mut bench = Bench::behind_a_session(want(1));
    assert_eq!(bench.last.ask.map(|ask| (ask.session, ask.watch)), Some((S, true)));
    bench.pass(5 * TTL);
    for verdict in [Verdict::Alive, Verdict::Due] {
        bench.judged(verdict);
        bench.pass(3 * TTL);
    }
    let claims = |bench: &Bench| bench.sent.iter().any(|call| matches!(call, Call::Apply(Change::Claim { .. })));
    assert!(!claims(&bench));
    bench.judged(Verdict::Dead);
    let pair = bench.record().pair();
    assert!(matches!(bench.change(), Change::Claim { seen, .. } if *seen == pair), "at once: it is the first");
    bench.settle();
    assert!(bench.has(1) && bench.last.ask.is_none());
}

#[test]
fn r9_the_stagger_counts_from_when_its_death_is_known() {
    let mut bench = Bench::new();
    bench.other(&Change::Create { claim: rival(1, TTL), beat: Beat(1), under: S, wall: Wall::default() });
    bench.other(&Change::Enqueue { claim: rival(2, TTL), wall: Wall::default() });
    bench.want(want(1));
    bench.settle();
    bench.pass(3 * TTL);
    bench.judged(Verdict::Dead);
    assert!(bench.call.is_none(), "another goes before it");
    bench.pass(299);
    assert!(!bench.has(1));
    bench.pass(151);
    assert!(bench.has(1), "3 % of 10 s, and half as much at random");
}

#[test]
fn r9_the_death_of_another_session_proves_nothing() {
    let mut bench = Bench::behind_a_session(want(1));
    bench.step(Event::Judged(Term(0x4444), Verdict::Dead));
    bench.pass(3 * TTL);
    assert!(!bench.has(1));
}

#[test]
fn r9_who_tries_is_told_busy_of_what_lives_and_has_what_is_dead() {
    let mut bench = Bench::behind_a_session(attempt(1));
    assert!(bench.last.ask.is_some_and(|ask| ask.hasty) && bench.notices.is_empty());
    bench.judged(Verdict::Alive);
    assert!(bench.told(&Notice::Busy(Ticket(1))));
    let mut bench = Bench::behind_a_session(attempt(1));
    bench.judged(Verdict::Dead);
    bench.settle();
    assert!(bench.has(1));
    let mut bench = Bench::behind_a_session(attempt(1));
    bench.pass(2 * TTL);
    assert!(bench.told(&Notice::Busy(Ticket(1))), "nothing can be found out");
}

#[test]
fn r10_a_grant_names_no_session_and_the_first_renewal_of_who_has_it_does() {
    let mut bench = Bench::sheltered(109_000);
    bench.rival_joins(3);
    bench.release(1);
    bench.settle();
    assert_eq!((bench.record().engine.owner(), bench.record().under), ("rival", Term::NONE));

    let mut bench = Bench::waiting(want(1));
    bench.knows(&[own(109_000)]);
    bench.grant(0xaa);
    bench.seen();
    assert!(bench.has(1) && bench.until() == 109_000 && bench.call.is_none());
    bench.wake();
    assert_eq!(bench.under(), T);
}

#[test]
fn r11_a_session_is_renewed_only_while_its_inbox_is_heard() {
    let (at, ttl) = (Bench::at(500_000), ms(TTL));
    assert!(may_beat(Bench::at(410_000), ttl, at) && !may_beat(Bench::at(409_999), ttl, at));
    assert!(may_beat(Bench::at(300_000), ms(100_000), at), "two ttl, if that is longer");
    let mut bench = Bench::new();
    bench.want(Want { session: Some(T), patience: Patience::Try, ..want(1) });
    bench.settle();
    bench.keeper.has_heard(Bench::at(100_000));
    bench.pass(89_000);
    assert_eq!(bench.loss(1), None);
    bench.pass(11_000);
    assert_eq!(bench.loss(1), Some(LossReason::Deadline));
}

#[test]
fn r11_what_stands_under_a_session_and_nobody_wants_is_given_back() {
    let mut bench = Bench::new();
    bench.knows(&[own(109_000)]);
    bench.want(want(1));
    let create = bench.call.clone().unwrap();
    bench.step(Event::Cancel(Ticket(1)));
    bench.lose();
    bench.pass(1_000);
    bench.deliver(&create);
    bench.seen();
    bench.settle();
    assert!(bench.stored.is_none(), "{:?}", bench.stored);
}

#[test]
fn r12_a_session_goes_when_nothing_needs_it_and_closes_first() {
    let standing = Standing { ticket: Some(Ticket(1)), until: Bench::at(109_000), ..Standing::default() };
    let mut own = Own::new(T, timing(TTL), Ticket(1));
    own.stands(&standing, Bench::at(100_000));
    assert_eq!(own.rest(1, true, Bench::at(100_000)), Rest::Stay(Bench::at(110_000)), "not at the end either");
    assert_eq!(own.rest(0, false, Bench::at(101_000)), Rest::Stay(Bench::at(111_000)));
    assert_eq!(own.rest(2, false, Bench::at(105_000)), Rest::Stay(Bench::at(115_000)));
    assert_eq!(own.rest(0, false, Bench::at(106_000)), Rest::Stay(Bench::at(116_000)), "unused for a ttl in a row");
    assert!(own.shelter().is_some());
    assert_eq!(own.rest(0, false, Bench::at(116_000)), Rest::Remove);
    assert_eq!((own.shelter(), own.serves(&timing(TTL))), (None, false));
}

#[test]
fn r12_a_hold_needs_its_session_and_that_of_each_write_that_is_not_refuted() {
    let needs = |bench: &Bench| bench.keeper.needs().collect::<Vec<_>>();
    let mut bench = Bench::plain();
    assert!(needs(&bench).is_empty());
    bench.knows(&[own(109_000)]);
    bench.wake();
    assert_eq!(needs(&bench), [T], "on its way");
    bench.lose();
    assert_eq!(needs(&bench), [T], "perhaps applied");
    bench.pass(1_000);
    assert_eq!(needs(&bench), [T]);
    bench.release(1);
    assert!(needs(&bench).is_empty(), "its user is gone: nothing is believed");
}

#[test]
fn r12_a_bequest_leaves_its_session() {
    let mut bench = Bench::new();
    bench.knows(&[own(200_000)]);
    bench.want(Want { at_least: ms(30_000), ..want(1) });
    bench.settle();
    bench.release(1);
    bench.step(Event::ShutDown);
    assert_eq!(bench.keeper.needs().collect::<Vec<_>>(), [T], "until it is confirmed");
    bench.settle();
    assert!(bench.record().is_reserved() && bench.record().under.is_none());
    assert_eq!(bench.keeper.needs().count(), 0);
}

#[test]
fn r13_what_kin_holds_under_a_session_is_claimed_at_once() {
    let of_pod = |bits| EngineId::of_pod("me", Role::Sidecar, 1, bits);
    let mut bench = Bench::new();
    bench.keeper = Keeper::new(of_pod(2));
    let claim = Claim { engine: of_pod(1), ..rival(1, TTL) };
    bench.other(&Change::Create { claim, beat: Beat(1), under: S, wall: bench.wall() });
    bench.want(Want { adopt: true, retained: true, ..want(1) });
    bench.settle();
    assert!(bench.has(1), "{:?}", bench.sent);
}

#[test]
fn after_the_loss_of_a_session_releases_are_spread() {
    let mut bench = Bench::sheltered(109_000);
    bench.sleep(9_000);
    bench.knows(&[Shelter { lost: Some(LossReason::Deadline), ..own(109_000) }]);
    bench.release(1);
    assert!(bench.call.is_none(), "thousands are released now");
    bench.pass(TTL / 2);
    assert!(bench.stored.is_none(), "{:?}", bench.stored);
}

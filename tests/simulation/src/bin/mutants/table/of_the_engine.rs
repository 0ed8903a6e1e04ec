//! What the core does not have: engine, guards and bodies, with a rule broken.

use super::{CALL, DRIVER, ENGINE, EVENT, HELD, LEASE, Mutant, OFFER, TURN, mutant};

pub(crate) const OF_THE_ENGINE: &[Mutant] = &[
    mutant(
        "a lost body is not dropped",
        HELD,
        "let mut body = pin!(body());",
        "let mut body = std::mem::ManuallyDrop::new(Box::pin(body()));",
    ),
    mutant(
        "a body is polled without a look at the clock",
        HELD,
        "no timer has fired yet.\n        self.check(leases)?;",
        "no timer has fired yet.",
    ),
    mutant(
        "a body that sleeps is not woken by its loss",
        HELD,
        "self.on_lost != OnLost::Signal && self.poll_lost",
        "self.on_lost != OnLost::Signal && leases.is_empty() && self.poll_lost",
    ),
    mutant(
        "a guard trusts the timer and not the clock",
        EVENT,
        "self.ended.or_else(|| (now >= self.until).then_some(late))",
        "self.ended.or_else(|| (now >= self.until && false).then_some(late))",
    ),
    mutant(
        "a guard's first loss is not final",
        LEASE,
        "end.get().copied().or_else(|| self.loss_by_clock().map(|reason| *end.get_or_init(|| reason)))",
        "end.get().copied().filter(|_| false).or_else(|| self.loss_by_clock())",
    ),
    mutant(
        "a cancelled acquisition does not say so",
        ENGINE,
        "if let Some(messages) = &self.messages {",
        "if let Some(messages) = self.messages.as_ref().filter(|_| false) {",
    ),
    mutant(
        "what nobody hears is not given back",
        DRIVER,
        "(acquired && self.offer.is_none()).then_some(Event::Cancel(ticket))",
        "(acquired && self.offer.is_none() && false).then_some(Event::Cancel(ticket))",
    )
    .because("whoever stops to listen says so as well, by the drop of `Waiting`: the lock goes back one message later"),
    mutant(
        "the driver does not look whether its user has collected",
        DRIVER,
        "            events.push_front(collected);",
        "            let _ = collected;",
    ),
    mutant(
        "what was collected is withdrawn",
        OFFER,
        "(word < COLLECTED).then_some(mark)",
        "(word < u64::MAX).then_some(mark)",
    ),
    mutant(
        "what was withdrawn is collected",
        OFFER,
        "(word == OPEN || word == URGENT)",
        "(word == OPEN || word == URGENT || word >= WITHDRAWN)",
    ),
    mutant(
        "what a set had is not given up with it",
        OFFER,
        "self.forfeit.as_ref().filter(|_| withdrawn)",
        "self.forfeit.as_ref().filter(|_| withdrawn && false)",
    )
    .because("there is one lock in the simulation; `a_set_that_is_not_polled_gives_all_back` of the lock tests tells"),
    mutant(
        "a set keeps its locks before it is complete",
        "msync/src/lock.rs",
        "Options { at_least: Duration::ZERO, ..self.options.clone() }",
        "Options { ..self.options.clone() }",
    )
    .because("there is one lock in the simulation; `a_set_that_is_not_complete_keeps_nothing` of the lock tests tells"),
    mutant("a cancelled acquisition stays with the driver", DRIVER, "    self.forget(ticket);", "    let _ = ticket;"),
    mutant("a dropped guard does not release", TURN, "            self.tell(None);", ""),
    mutant(
        "the inbox shows only locks that are wanted",
        ENGINE,
        "if known || stray() {",
        "if known || (stray() && false) {",
    ),
    mutant(
        "news start a keeper after the end",
        ENGINE,
        "None if self.is_shut_down() => return None,",
        "None if self.id.as_str().is_empty() => return None,",
    )
    .because("`what_lands_after_the_end_of_its_client_is_left_to_its_ttl` of the lock tests tells"),
    mutant(
        "a call without an answer counts as not applied",
        CALL,
        "Fault::Unknown(_) => Outcome::Unknown,",
        "Fault::Unknown(_) => Outcome::Busy(None),",
    )
    .because("what has landed is shown by the inbox; without one `what_became_of_a_call_without_an_answer` tells"),
];

//! One call to the store: its turn at the gate, its time-out, and what its end says of the server.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use super::{
    Engine,
    gate::{Arrival, Permit, Purpose},
};
use crate::{
    LockName,
    clock::Moment,
    error::told,
    listener::{Answer, Verb},
    protocol::{Call, Outcome},
    record::Change,
    store::Fault,
};

/// What became of the last eight attempts to make a lock, as bits: 1 is "exists already".
#[derive(Default)]
pub(super) struct Attempts(AtomicU8);

// === impl Attempts ===

impl Attempts {
    fn note(&self, call: &Call, answer: &Result<Outcome, Fault>) {
        let exists = match (call, answer) {
            (Call::Apply(Change::Create { .. }), Ok(_)) => 0,
            (Call::Apply(Change::Create { .. }), Err(Fault::Refused(_))) => 1,
            _ => return,
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(last << 1 | exists));
    }

    /// Says whether all of them were in vain.
    pub(super) fn are_vain(&self) -> bool {
        self.0.load(Ordering::Relaxed) == u8::MAX
    }
}

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// When it asked for its turn first.
    pub(super) arrival: Arrival,
    /// Who may go before it.
    pub(super) purpose: Purpose,
    /// How long it may wait for its turn.
    pub(super) turn: Duration,
    /// How long it may then wait for its answer.
    pub(super) timeout: Duration,
    /// It is to be thought over when it has its turn and no such call has succeeded of late.
    pub(super) guesses: bool,
}

// === impl Terms ===

impl Terms {
    /// Judges how urgent a call is, for a keeper whose hold ends at `deadline`, if it has one.
    pub(super) fn of(call: &Call, deadline: Option<Moment>, arrival: Arrival, timeout: Duration) -> Self {
        let purpose = match (call, deadline) {
            (_, Some(deadline)) => Purpose::Keep(deadline),
            // A grant that is not accepted soon is another's.
            (Call::Apply(Change::Renew { .. }), None) => Purpose::Keep(Moment::default()),
            (
                Call::Delete(_) | Call::Apply(Change::Grant { .. } | Change::Free { .. } | Change::Leave { .. }),
                None,
            ) => Purpose::GiveBack,
            (Call::Apply(Change::Enqueue { .. }), None) => Purpose::Join,
            (Call::Read | Call::Apply(_), None) => Purpose::Other,
        };
        Self { arrival, purpose, turn: timeout, timeout, guesses: false }
    }
}

// === impl Engine: calling ===

impl Engine {
    /// Notes that a call wants to be sent.
    pub(super) fn arrive(&self) -> Arrival {
        self.gate.arrive()
    }

    /// Makes a call, when it is its turn. The time-out counts from the send; who has no turn for as long is told so, and
    /// has sent nothing.
    pub(super) async fn call(&self, name: &LockName, call: &Call, terms: Terms) -> (Outcome, Option<Fault>) {
        let too_late = self.clock.sleep_until(self.clock.now() + terms.turn);
        let permit = tokio::select! {
            biased;
            permit = self.gate.enter(terms.purpose, terms.arrival) => permit,
            () = too_late => return (Outcome::Unsent, Some(unsent(terms.turn))),
        };
        if terms.guesses && self.attempts.are_vain() {
            return (Outcome::Unsent, None);
        }
        let sent = self.clock.now();
        let limit = self.clock.sleep_until(sent + terms.timeout);
        let answer = tokio::select! {
            biased;
            answer = self.ask(name, call) => answer,
            () = limit => Err(self.unanswered(&permit, sent)),
            () = permit.displaced(&*self.clock) => Err(self.unanswered(&permit, sent)),
        };
        self.attempts.note(call, &answer);
        if let Some(ears) = &self.ears {
            ears.tell_of_call(verb(call), ended(&answer), self.clock.now().since(sent));
        }
        match &answer {
            Err(Fault::Busy(_)) => permit.congested(sent, self.clock.now()),
            // Reads pass no admission: what they take is no measure for writes.
            Ok(_) | Err(Fault::Refused(_)) if *call != Call::Read => permit.answered(sent, self.clock.now()),
            Ok(_) | Err(Fault::Refused(_) | Fault::Unknown(_) | Fault::Fatal(_)) => {}
        }
        match answer {
            Ok(outcome) => (outcome, None),
            Err(fault) => (outcome_of(&fault), Some(fault)),
        }
    }

    async fn ask(&self, name: &LockName, call: &Call) -> Result<Outcome, Fault> {
        match call {
            Call::Read => self.store.read(name).await.map(Outcome::Read),
            Call::Apply(change) => self.store.apply(name, change).await.map(Outcome::Applied),
            Call::Delete(version) => self.store.delete(name, version).await.map(|()| Outcome::Deleted),
        }
    }

    fn unanswered(&self, permit: &Permit, sent: Moment) -> Fault {
        let now = self.clock.now();
        permit.congested(sent, now);
        Fault::Unknown(told(format!("no answer within {:?}", now.since(sent))))
    }
}

fn verb(call: &Call) -> Verb {
    match call {
        Call::Read => Verb::Get,
        Call::Apply(Change::Create { .. }) => Verb::Create,
        Call::Apply(_) => Verb::Patch,
        Call::Delete(_) => Verb::Delete,
    }
}

fn ended(answer: &Result<Outcome, Fault>) -> Answer {
    match answer {
        Ok(_) => Answer::Done,
        Err(Fault::Refused(_)) => Answer::Refused,
        Err(Fault::Busy(_)) => Answer::Busy,
        Err(Fault::Unknown(_)) => Answer::Unknown,
        Err(Fault::Fatal(_)) => Answer::Denied,
    }
}

fn outcome_of(fault: &Fault) -> Outcome {
    match fault {
        Fault::Refused(refused) => Outcome::Refused(*refused),
        Fault::Busy(after) => Outcome::Busy(*after),
        Fault::Unknown(_) => Outcome::Unknown,
        Fault::Fatal(fatal) if fatal.may_pass() => Outcome::Denied,
        Fault::Fatal(_) => Outcome::Fatal,
    }
}

fn unsent(timeout: Duration) -> Fault {
    Fault::Unknown(told(format!("not sent within {timeout:?}: too many calls before it are not answered yet")))
}

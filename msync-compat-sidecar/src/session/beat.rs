//! Beats: a lock begins to be held for a client, is kept, and ends with its lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::desk::{Desk, Session};
use super::lease::{Beat, Lease, SAFE, TTL};
use super::{Backend, Hold, Sessions};
use crate::api::{Call, Name, Outcome, Verb};
use crate::clock::Moment;
use crate::metrics::Ended;

/// How long a beat that must not be answered yet waits for a renewal.
const FRESHEN: Duration = Duration::from_millis(4_900);
/// How long a beat that could be answered waits for a renewal, so that its expiry is the whole TTL.
const PROLONG: Duration = Duration::from_secs(1);

impl<B: Backend> Sessions<B> {
    /// What memory alone can answer.
    pub(super) fn at_once(&self, call: &Call) -> Option<Outcome> {
        let (now, name) = (self.now(), &call.name);
        let mut desk = self.desk();
        let Desk { held, .. } = &mut *desk;
        let session = held.get_mut(name)?;
        let (judged, mine) = (session.judge(), session.client == call.client);
        if judged == Beat::Lost {
            self.end(&mut desk, name, now, Ended::Lost);
            return None;
        }
        match call.verb {
            Verb::Get | Verb::Watch { .. } => Some(Outcome::Good(self.own(session, name, now, mine))),
            Verb::Post { .. } => Some(Outcome::Exists),
            Verb::Put { wait, .. } if !mine => {
                wait.is_zero().then(|| Outcome::Taken(self.own(session, name, now, false)))
            }
            Verb::Put { .. } if judged == Beat::Stale => None,
            Verb::Put { ttl: None, .. } if session.is_due(now) => None,
            Verb::Put { ttl, .. } => Some(self.beat(session, name, now, ttl)),
            Verb::Delete => None,
        }
    }

    fn beat(&self, session: &mut Session<B::Hold>, name: &Name, now: Moment, ttl: Option<Duration>) -> Outcome {
        session.lease.beat(now, ttl, || session.hold.version());
        self.0.metrics.beat();
        Outcome::Good(self.own(session, name, now, true))
    }

    /// A beat that needs a renewal first: because the hold leaves too little time to say 200, or because the client
    /// is due for a new expiry, which may not be past our own deadline.
    ///
    /// Nobody's turn is waited for: a renewal changes nobody's hold, and all beats that wait for one share it.
    pub(super) async fn freshen(&self, call: &Call) -> Option<Outcome> {
        let (hold, wanted, patience) = {
            let desk = self.desk();
            let session = desk.held.get(&call.name).filter(|session| session.client == call.client)?;
            let (wanted, patience) = match session.judge() {
                Beat::Good => (session.prolonged(), PROLONG),
                Beat::Stale | Beat::Lost => (SAFE, FRESHEN),
            };
            (Arc::clone(&session.hold), wanted, patience)
        };
        // Settling looks at what the renewal has brought, in time or not.
        let _ = timeout(patience, hold.fresh(wanted)).await;
        self.settle(call)
    }

    fn settle(&self, call: &Call) -> Option<Outcome> {
        let (now, name) = (self.now(), &call.name);
        let mut desk = self.desk();
        let session = desk.held.get_mut(name).filter(|session| session.client == call.client)?;
        if session.judge() == Beat::Good {
            return Some(self.beat(session, name, now, call.verb.ttl()));
        }
        let picture = self.own(session, name, now, false);
        self.end(&mut desk, name, now, Ended::Lost);
        Some(Outcome::Taken(picture))
    }

    /// A lock that the engine has just got is held for a client from now on.
    pub(super) async fn begin(&self, call: &Call, hold: B::Hold) -> Outcome {
        let (now, name) = (self.now(), &call.name);
        let lease = Lease::begin(now, call.verb.ttl().unwrap_or(TTL), hold.version());
        let session = Session { lease, hold: Arc::new(hold), client: call.client.clone() };
        let judged = session.judge();
        let picture = {
            let mut desk = self.desk();
            // One that was lost, and not yet looked at since.
            self.end(&mut desk, name, now, Ended::Lost);
            let picture = self.own(&session, name, now, judged == Beat::Good);
            desk.held.insert(name.clone(), session);
            desk.tell(name, call.client.as_ref());
            picture
        };
        self.0.metrics.acquired();
        match judged {
            Beat::Good => Outcome::Good(picture),
            Beat::Stale | Beat::Lost => self.freshen(call).await.unwrap_or(match call.verb {
                Verb::Post { .. } => Outcome::Exists,
                _ => Outcome::Taken(picture),
            }),
        }
    }

    /// Releases what no client wants any more and forgets what was lost; the time until the next lease ends.
    ///
    /// Must be called within a tokio runtime, which releases in the background.
    pub fn sweep(&self) -> Option<Duration> {
        let now = self.now();
        let mut desk = self.desk();
        let over: Vec<Name> =
            desk.held.iter().filter(|(_, session)| session.is_over(now)).map(|(name, _)| name.clone()).collect();
        for name in &over {
            let lost = desk.held.get(name).is_some_and(|session| session.judge() == Beat::Lost);
            self.end(&mut desk, name, now, if lost { Ended::Lost } else { Ended::Silent });
        }
        desk.held.values().map(|session| session.lease.left(now)).min()
    }

    /// Ends a session: the lock is remembered as it was last shown, and released while its name is locked here.
    pub(super) fn end(&self, desk: &mut Desk<B::Hold>, name: &Name, now: Moment, why: Ended) {
        let Some(session) = desk.held.remove(name) else { return };
        desk.seen.remember(name, Box::new(self.own(&session, name, now, false)));
        self.0.metrics.ended(why);
        let turn = Arc::clone(desk.turns.entry(name.clone()).or_default()).try_lock_owned();
        let (sessions, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            if let Err(trouble) = session.hold.release().await {
                tracing::debug!(lock = %name, error = %trouble.0, "others may have to wait for its ttl");
            }
            drop(turn);
            sessions.forget_turn(&name);
        });
    }
}

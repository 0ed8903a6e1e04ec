//! What is known of the sessions of other engines: one view and one watch each, however many locks are waited for. How one
//! is judged is told in [`protocol::Foreign`](crate::protocol::Foreign).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures::future::{BoxFuture, OptionFuture};
use tokio::sync::Notify;

use super::{Engine, call::Terms, keeper::SHORT_WAIT, lookouts::Listener};
use crate::{
    LockName,
    protocol::{Ask, Call, Event, Foreign, Glance, Outcome, Verdict},
    record::Term,
    runtime,
    store::Sighting,
};

/// How long one is kept in mind that nobody asks for: somebody who polls comes again.
const KEPT: Duration = Duration::from_secs(120);

/// How long a call may take.
const CALL: Duration = Duration::from_secs(3);

/// The foreign sessions that an engine looks at.
#[derive(Default)]
pub(super) struct Witnesses(Mutex<HashMap<Term, Witness>>);

#[derive(Default)]
struct Witness {
    /// Who asks, and whether it is to be watched for that.
    asks: BTreeMap<LockName, Ask>,
    verdict: Verdict,
    changed: Arc<Notify>,
}

// === impl Witnesses ===

impl Witnesses {
    pub(super) fn leave(&self, session: Term, name: &LockName) {
        if let Some(witness) = self.all().get_mut(&session) {
            witness.asks.remove(name);
            witness.changed.notify_one();
        }
    }

    /// Says whether anybody asks, whether it is to be watched, and at once.
    fn wishes(&self, session: Term) -> (bool, bool, bool) {
        let all = self.all();
        let asks = || all.get(&session).into_iter().flat_map(|witness| witness.asks.values());
        (asks().next().is_some(), asks().any(|ask| ask.watch), asks().any(|ask| ask.hasty))
    }

    /// Notes what is known now, and returns who wants to be told.
    fn judged(&self, session: Term, verdict: Verdict) -> Vec<LockName> {
        let mut all = self.all();
        let Some(witness) = all.get_mut(&session) else { return Vec::new() };
        if std::mem::replace(&mut witness.verdict, verdict) == verdict {
            return Vec::new();
        }
        witness.asks.keys().cloned().collect()
    }

    /// Forgets a session, unless somebody asks again.
    fn forget(&self, session: Term) -> bool {
        let mut all = self.all();
        let unwanted = all.get(&session).is_none_or(|witness| witness.asks.is_empty());
        if unwanted {
            all.remove(&session);
        }
        unwanted
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Term, Witness>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Engine: witnesses ===

impl Engine {
    /// Finds out about a session for the keeper of a lock, which is told of each verdict.
    pub(super) fn witness(self: &Arc<Self>, ask: Ask, name: &LockName) {
        let mut all = self.witnesses.all();
        let new = !all.contains_key(&ask.session);
        let witness = all.entry(ask.session).or_default();
        let first = witness.asks.insert(name.clone(), ask).is_none();
        let (verdict, changed) = (witness.verdict, Arc::clone(&witness.changed));
        drop(all);
        changed.notify_one();
        if new {
            let watch = Watch::new(self, ask.session, changed);
            runtime::spawn(self.home, watch.run());
        } else if first && verdict != Verdict::Unknown {
            self.tell(name, Event::Judged(ask.session, verdict));
        }
    }
}

/// The task of one foreign session.
struct Watch {
    engine: Weak<Engine>,
    foreign: Foreign,
    name: LockName,
    changed: Arc<Notify>,
    listener: Option<Listener>,
    flight: OptionFuture<BoxFuture<'static, Outcome>>,
}

// === impl Watch ===

impl Watch {
    fn new(engine: &Arc<Engine>, session: Term, changed: Arc<Notify>) -> Self {
        let foreign = Foreign::new(session, (engine.random)());
        let (engine, name) = (Arc::downgrade(engine), LockName::session(session));
        Self { engine, foreign, name, changed, listener: None, flight: None.into() }
    }

    async fn run(mut self) {
        let Some(engine) = self.engine.upgrade() else { return };
        let ended = engine.ended();
        drop(engine);
        tokio::select! {
            () = ended => {}
            () = self.look() => {}
        }
    }

    async fn look(&mut self) {
        self.bide().await;
        let mut glance = Glance::Tick;
        let mut idle = None;
        loop {
            let Some(engine) = self.engine.upgrade() else { return };
            let (wanted, watched, _) = engine.witnesses.wishes(self.foreign.session());
            self.serve(&engine, wanted, watched);
            let now = engine.clock.read();
            let step = self.foreign.step(glance, now);
            if let Some(call) = step.call {
                self.flight = Some(send(&engine, &self.name, call)).into();
            }
            for name in engine.witnesses.judged(self.foreign.session(), step.verdict) {
                engine.tell(&name, Event::Judged(self.foreign.session(), step.verdict));
            }
            let gone = if wanted { None } else { Some(*idle.get_or_insert(now.local + KEPT)) };
            if wanted {
                idle = None;
            } else if gone.is_some_and(|gone| now.local >= gone) && engine.witnesses.forget(self.foreign.session()) {
                return;
            }
            let due = step.wake.into_iter().chain(gone).min();
            let alarm: OptionFuture<_> = due.map(|at| engine.clock.sleep_until(at)).into();
            drop(engine);
            glance = self.next(alarm).await;
        }
    }

    /// A short wait looks at no session. Those who come and go meanwhile do not make it longer.
    async fn bide(&mut self) {
        let mut end = None;
        loop {
            let Some(engine) = self.engine.upgrade() else { return };
            if engine.witnesses.wishes(self.foreign.session()).2 {
                return;
            }
            let wait = engine.clock.sleep_until(*end.get_or_insert(engine.clock.now() + SHORT_WAIT));
            drop(engine);
            tokio::select! {
                () = wait => return,
                () = self.changed.notified() => {}
            }
        }
    }

    fn serve(&mut self, engine: &Engine, wanted: bool, watched: bool) {
        if watched != self.listener.is_some() {
            self.listener = watched.then(|| Listener::new(engine, self.name.clone()));
        }
        self.foreign.serve(wanted, watched);
    }

    async fn next(&mut self, alarm: OptionFuture<BoxFuture<'static, ()>>) -> Glance {
        let mut alarm = std::pin::pin!(alarm);
        loop {
            let sighting: OptionFuture<_> = self.listener.as_mut().map(Listener::next).into();
            tokio::select! {
                biased;
                Some(outcome) = &mut self.flight => {
                    self.flight = None.into();
                    return Glance::Reply(outcome);
                }
                Some(sighting) = sighting => match sighting {
                    Sighting::Listed(found) => {
                        return found.into_iter().next().map_or(Glance::Missing, |(_, seen)| Glance::Seen(seen));
                    }
                    Sighting::Changed(_, seen) => return Glance::Seen(seen),
                    Sighting::Gone(_, version) => return Glance::Deleted(version),
                    Sighting::Alive => {}
                },
                Some(()) = &mut alarm => return Glance::Tick,
                () = self.changed.notified() => return Glance::Tick,
            }
        }
    }
}

fn send(engine: &Arc<Engine>, name: &LockName, call: Call) -> BoxFuture<'static, Outcome> {
    let (engine, name) = (Arc::clone(engine), name.clone());
    Box::pin(async move {
        let terms = Terms::of(&call, None, engine.arrive(), CALL);
        engine.call(&name, &call, terms).await.0
    })
}

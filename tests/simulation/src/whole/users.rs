//! The users of a process: each acquires in one of the ways that the library offers, works, looks at its guard, writes to
//! the fenced register, and ends: in order, by a drop at any await, or long after its loss.

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture, poll};
use msync::{Client, Error, FencingToken, Lease, Lock, LockGuard, LockName, LossReason, Timing, locked};
use tokio::task::yield_now;

use super::{
    judge::Grip,
    machine::Machine,
    stage::{LOCK, Stage, lock},
};
use crate::{plan::MILLI, rng::Rng};

/// A user: one task of a process.
pub(crate) struct User {
    pub(crate) stage: Arc<Stage>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) client: Client,
    pub(crate) rng: Rng,
    /// The lock that it wants now.
    pub(crate) name: LockName,
}

/// What a user has drawn for its next acquisition.
struct Want {
    way: Way,
    timing: Timing,
    at_least: Duration,
    max_hold: Option<Duration>,
    retained: bool,
    adopt: bool,
}

/// The ways to have the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Acquire,
    Timeout(Duration),
    Try,
    Run,
    Locked,
    Campaign,
    Lead,
}

/// A guard of either kind.
enum Guard {
    Lock(LockGuard),
    Term(msync::Leadership),
}

/// A guard that its user has, and that may be asked from outside how long it believes.
type Slot = Arc<Mutex<Option<Guard>>>;

/// An acquisition in use. The judge hears of its end when this is dropped: just before the guard, or with the body.
struct Held {
    stage: Arc<Stage>,
    name: LockName,
    id: u64,
}

/// An acquisition that is waited for; in vain unless it is had.
struct Asking {
    stage: Arc<Stage>,
    name: LockName,
    id: u64,
}

// === impl Held, Asking ===

impl Drop for Held {
    fn drop(&mut self) {
        let now = self.stage.time.now();
        self.stage.say(|| format!("  {} is given up", self.id));
        self.stage.judge(&self.name, |judge| judge.gone(now, self.id));
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let now = self.stage.time.now();
        self.stage.judge(&self.name, |judge| judge.in_vain(now, self.id));
    }
}

// === impl Guard ===

impl Guard {
    fn check(&self) -> Result<(), Error> {
        match self {
            Self::Lock(guard) => guard.check(),
            Self::Term(term) => term.check(),
        }
    }

    fn remaining(&self) -> Duration {
        match self {
            Self::Lock(guard) => guard.remaining(),
            Self::Term(term) => term.remaining(),
        }
    }

    fn token(&self) -> FencingToken {
        match self {
            Self::Lock(guard) => guard.token(),
            Self::Term(term) => term.token(),
        }
    }

    fn lost(&self) -> BoxFuture<'static, LossReason> {
        match self {
            Self::Lock(guard) => guard.lost().boxed(),
            Self::Term(term) => term.lost().boxed(),
        }
    }

    async fn release(self, successor: Option<String>) -> Result<(), Error> {
        match (self, successor) {
            (Self::Lock(guard), _) => guard.release().await,
            (Self::Term(term), None) => term.resign().await,
            (Self::Term(term), Some(owner)) => term.hand_over_to(owner).await.map(drop),
        }
    }
}

// === impl User ===

impl User {
    /// Acquires again and again until the faults end.
    pub(crate) async fn live(mut self, think: u64) {
        loop {
            let pause = self.rng.below(think);
            self.machine.sleep(pause).await;
            if !self.stage.begin() {
                return;
            }
            if self.stage.plan.locks > 1 {
                self.name = lock(usize::try_from(self.rng.below(self.stage.plan.locks as u64)).unwrap_or(0));
            }
            let want = self.draw();
            if let Err(Error::ShutDown) = self.session(&want).await {
                return;
            }
        }
    }

    /// Acquires once more, when nothing goes wrong any longer.
    pub(crate) async fn last(mut self) {
        for index in 0..self.stage.plan.locks {
            self.name = lock(index);
            let want = Want { way: Way::Acquire, at_least: Duration::ZERO, max_hold: None, ..self.draw() };
            let _ = self.session(&want).await;
        }
    }

    fn draw(&mut self) -> Want {
        let (stage, rng) = (Arc::clone(&self.stage), &mut self.rng);
        let plan = &stage.plan;
        let timing = plan.timings[usize::try_from(rng.below(plan.timings.len() as u64)).unwrap_or(0)];
        let at_least = if rng.chance(plan.at_least) { rng.below(2 * plan.ttl) } else { 0 };
        let max_hold = rng.chance(plan.max_hold).then(|| Duration::from_nanos(at_least + rng.below(3 * plan.ttl)));
        let limit = Duration::from_nanos(rng.below(2 * plan.ttl));
        let instant = rng.chance(plan.instant);
        let waits = [Way::Acquire, Way::Acquire, Way::Timeout(limit), Way::Run, Way::Locked];
        let way = match instant {
            _ if rng.chance(plan.tries) => Way::Try,
            true => rng.pick(&waits),
            false => rng.pick(&[Way::Campaign, Way::Campaign, Way::Lead]),
        };
        // Elections and macros take no such options.
        let plain = matches!(way, Way::Campaign | Way::Lead | Way::Locked);
        let at_least = if plain { Duration::ZERO } else { Duration::from_nanos(at_least) };
        let max_hold = max_hold.filter(|_| !plain);
        Want { way, timing, at_least, max_hold, retained: plan.retained, adopt: plan.adopt }
    }

    /// Acquires, works and ends; or gives up, at a random await.
    async fn session(&mut self, want: &Want) -> Result<(), Error> {
        let (stage, machine) = (Arc::clone(&self.stage), Arc::clone(&self.machine));
        let patient = !matches!(want.way, Way::Try);
        let at_least = u64::try_from(want.at_least.as_nanos()).unwrap_or(0);
        let id = stage
            .judge(&self.name, |judge| judge.asks(&machine, patient, machine.true_span(want.at_least).max(at_least)));
        stage.say(|| format!("{machine:?} asks {id} {}: {:?}", self.name, want.way));
        let asked = stage.time.now();
        let asking = Asking { stage: Arc::clone(&stage), name: self.name.clone(), id };
        let gives_up = !stage.is_calm() && self.rng.chance(stage.plan.cancel);
        let until = self.moment(gives_up);
        let outcome = tokio::select! {
            biased;
            outcome = self.acquire(want, id) => outcome,
            () = until => {
                stage.say(|| format!("{id} is given up by its user"));
                Ok(())
            }
        };
        drop(asking);
        let expected = match &outcome {
            Ok(()) | Err(Error::ShutDown | Error::Lost { .. }) => true,
            Err(Error::Timeout { .. } | Error::Unavailable { .. }) => matches!(want.way, Way::Timeout(_)),
            Err(Error::Store { .. }) => want.way == Way::Try && !stage.plan.is_orderly(),
            // Who waits fails of a denial only when it has lasted.
            Err(Error::Forbidden(_)) => {
                let (hasty, now) = (matches!(want.way, Way::Try | Way::Timeout(_)), stage.time.now());
                stage.with(|state| state.denial.may_fail(asked, now) || (hasty && state.denial.until() > 0))
            }
            Err(_) => false,
        };
        if !expected {
            let at = stage.time.now();
            let what = format!("{machine:?} asked {id} {:?} and had {outcome:?}", want.way);
            stage.with(|state| state.judge.broken(at, what));
        }
        outcome
    }

    /// Completes at a random moment, if at all: after some time, or after some turns of the other tasks.
    fn moment(&mut self, ever: bool) -> BoxFuture<'static, ()> {
        let (machine, turns, span) = (Arc::clone(&self.machine), self.rng.below(12), self.duration());
        match (ever, self.rng.chance(500)) {
            (false, _) => std::future::pending().boxed(),
            (true, false) => async move { machine.sleep(span).await }.boxed(),
            (true, true) => async move {
                for _ in 0..turns {
                    yield_now().await;
                }
            }
            .boxed(),
        }
    }

    async fn acquire(&mut self, want: &Want, id: u64) -> Result<(), Error> {
        let guard = match want.way {
            Way::Acquire => {
                let lock = self.lock(want)?;
                Guard::Lock(self.neglected(id, lock.acquire()).await?)
            }
            Way::Timeout(limit) => Guard::Lock(self.lock(want)?.acquire_timeout(limit).await?),
            Way::Try => match self.lock(want)?.try_acquire().await? {
                Some(guard) => Guard::Lock(guard),
                None => return Ok(()),
            },
            Way::Campaign => {
                let election = self.client.election(&self.name)?.timing(want.timing);
                Guard::Term(self.neglected(id, election.campaign()).await?)
            }
            Way::Run => return self.run(want, id).await,
            Way::Locked if self.name.as_str() != LOCK => return self.run(want, id).await,
            Way::Locked => return self.locked(id).await,
            Way::Lead => return self.lead(want, id).await,
        };
        self.hold(guard, id).await
    }

    /// Awaits an acquisition, which may be left alone first: alive, and not polled.
    async fn neglected<T>(&mut self, id: u64, acquiring: impl Future<Output = T>) -> T {
        let mut acquiring = pin!(acquiring);
        if !self.stage.is_calm() && self.rng.chance(self.stage.plan.unpolled) {
            if let Poll::Ready(acquired) = poll!(acquiring.as_mut()) {
                return acquired;
            }
            let span = self.duration();
            self.stage.judge(&self.name, |judge| judge.neglects(id, true));
            self.machine.sleep(span).await;
            self.stage.judge(&self.name, |judge| judge.neglects(id, false));
        }
        acquiring.await
    }

    fn lock(&self, want: &Want) -> Result<Lock, Error> {
        let mut lock = self.client.lock(&self.name)?.timing(want.timing).at_least(want.at_least);
        if let Some(max) = want.max_hold {
            lock = lock.max_hold(max);
        }
        if want.retained {
            lock = lock.retained();
        }
        Ok(if want.adopt { lock.adopt() } else { lock })
    }

    /// Uses a guard held by hand.
    async fn hold(&mut self, guard: Guard, id: u64) -> Result<(), Error> {
        let (token, lost) = (guard.token(), guard.lost());
        let slot: Slot = Arc::new(Mutex::new(Some(guard)));
        let asked = Arc::downgrade(&slot);
        let remaining = move || {
            let slot = asked.upgrade();
            let guard = slot.as_ref().and_then(|slot| slot.lock().ok());
            guard.and_then(|guard| guard.as_ref().map(Guard::remaining)).unwrap_or_default()
        };
        let held = self.acquired(id, Grip { token, lost, remaining: Some(Box::new(remaining)), body: false });
        let check = || slot.lock().expect("never poisoned").as_ref().map_or(Ok(()), Guard::check);
        let lost = self.work(&held, &check).await;
        if lost.is_err() && self.rng.chance(200) {
            // A careless user goes on for a while, and writes.
            let span = self.duration();
            self.machine.sleep(span).await;
            let _ = self.look(&held, &check);
        }
        let guard = slot.lock().expect("never poisoned").take();
        drop(held);
        match guard {
            Some(guard) => self.end(guard).await,
            None => Ok(()),
        }
    }

    /// Drops a guard, or releases it and waits for the answer, or not until its end.
    async fn end(&mut self, guard: Guard) -> Result<(), Error> {
        if self.rng.chance(350) {
            return Ok(());
        }
        let successor = (matches!(guard, Guard::Term(_)) && self.rng.chance(300)).then(|| {
            let other = self.rng.below(self.stage.plan.processes as u64);
            let owner = format!("p{other}");
            self.stage.judge(&self.name, |judge| judge.wishes(&self.machine, &owner));
            owner
        });
        let cancelled = self.rng.chance(150);
        let until = self.moment(cancelled);
        let released = tokio::select! {
            biased;
            released = guard.release(successor) => released,
            () = until => Ok(()),
        };
        match released {
            Err(Error::Store { .. } | Error::Forbidden(_)) if !self.stage.plan.is_orderly() => Ok(()),
            released => released,
        }
    }

    async fn run(&mut self, want: &Want, id: u64) -> Result<(), Error> {
        let lock = self.lock(want)?;
        let mut token = None;
        let body = async |guard: &LockGuard| {
            token = Some(guard.token());
            let held = self
                .acquired(id, Grip { token: guard.token(), lost: guard.lost().boxed(), remaining: None, body: true });
            let _ = self.work(&held, &|| guard.check()).await;
        };
        let ran = lock.run(body).await;
        self.told(token, ran)
    }

    async fn locked(&mut self, id: u64) -> Result<(), Error> {
        let (client, mut token) = (self.client.clone(), None);
        let ran = under_lock(client, self, &mut token, id).await;
        self.told(token, ran)
    }

    async fn lead(&mut self, want: &Want, id: u64) -> Result<(), Error> {
        let term = self.client.election(&self.name)?.timing(want.timing).campaign().await?;
        let (token, lost) = (term.token(), term.lost().boxed());
        let held = self.acquired(id, Grip { token, lost, remaining: None, body: true });
        let led = term.run(async { self.work(&{ held }, &|| term.check()).await }).await;
        let led = self.told(Some(token), led.map(|_| ()));
        self.end(Guard::Term(term)).await.and(led)
    }

    /// Passes on how a body ended; a loss that ended it is told to the judge.
    fn told(&self, token: Option<FencingToken>, ran: Result<(), Error>) -> Result<(), Error> {
        if let (Some(token), Err(Error::Lost { reason, .. })) = (token, &ran) {
            let now = self.stage.time.now();
            self.stage.judge(&self.name, |judge| judge.lost(now, token, *reason));
        }
        ran
    }

    fn acquired(&mut self, id: u64, grip: Grip) -> Held {
        let (now, token) = (self.stage.time.now(), grip.token);
        self.stage.judge(&self.name, |judge| judge.acquired(now, id, grip));
        self.stage.say(|| format!("{:?} has {id} with {token}", self.machine));
        if !self.stage.is_calm() && self.rng.chance(self.stage.plan.pause / 4) {
            let span = self.stage.long(&mut self.rng);
            self.stage.freeze(&self.machine, span);
        }
        Held { stage: Arc::clone(&self.stage), name: self.name.clone(), id }
    }

    /// Works for a while, and looks at the guard between.
    async fn work(&mut self, held: &Held, check: &impl Fn() -> Result<(), Error>) -> Result<(), Error> {
        let (steps, span) = (self.rng.between(1, 4), self.duration());
        for _ in 0..steps {
            self.look(held, check)?;
            self.machine.sleep(span / steps).await;
        }
        self.look(held, check)
    }

    /// Looks at the guard and, whatever it says, may write to the register.
    fn look(&mut self, held: &Held, check: &impl Fn() -> Result<(), Error>) -> Result<(), Error> {
        let (now, said) = (self.stage.time.now(), check());
        let loss = match &said {
            Err(Error::Lost { reason, .. }) => Some(*reason),
            _ => None,
        };
        let writes = self.rng.chance(500);
        self.stage.judge(&held.name, |judge| {
            judge.looked(now, held.id, loss);
            if writes {
                judge.writes(now, held.id, said.is_ok());
            }
        });
        said
    }

    /// How long a user works, or waits before it gives up: mostly moments, sometimes three ttl.
    fn duration(&mut self) -> u64 {
        let long = !self.stage.is_calm() && self.rng.chance(self.stage.plan.long);
        self.rng.below(if long { 3 * self.stage.plan.ttl } else { 20 * MILLI })
    }
}

#[locked(name = LOCK, via = client, guard = lease)]
async fn under_lock(client: Client, user: &mut User, token: &mut Option<FencingToken>, id: u64) -> Result<(), Error> {
    *token = Some(lease.token());
    let asked: Lease = lease.clone();
    let lost = lease.lost().boxed();
    let remaining: Box<dyn Fn() -> Duration + Send> = Box::new(move || asked.remaining());
    let held = user.acquired(id, Grip { token: lease.token(), lost, remaining: Some(remaining), body: true });
    let _ = user.work(&held, &|| lease.check()).await;
    Ok(())
}

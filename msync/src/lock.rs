//! Locks: named, acquired for a guard or for the length of a body.

mod polling;

use std::{slice::from_ref, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    Error, FencingToken, Lease, LockName, LossReason, Timing,
    clock::Clock,
    engine::{Forfeit, Grip, Turn},
    held::{OnLost, Stopped, held},
    protocol::{Patience, Ticket, Want},
    scope,
};

/// A cluster-wide lock, to be acquired. Cloning is cheap; tasks of one process queue up for it, first come first served.
#[derive(Clone, Debug)]
#[must_use = "a lock excludes nobody until it is acquired"]
pub struct Lock {
    engine: Grip,
    name: LockName,
    options: Options,
}

/// How a lock is acquired and kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) timing: Timing,
    pub(crate) at_least: Duration,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) token_floor: Option<FencingToken>,
    pub(crate) retained: bool,
    pub(crate) instant: bool,
    pub(crate) adopt: bool,
}

/// A held lock. It is held until this guard is dropped or [released](Self::release), or until it is lost.
///
/// Dropping hands the release to a background task and never blocks; others have the lock a moment later.
#[must_use = "the lock is released as soon as the guard is dropped; `let _ =` drops it at once"]
pub struct LockGuard {
    turn: Turn,
}

// === impl Options ===

impl Options {
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            timing,
            at_least: Duration::ZERO,
            max_hold: None,
            token_floor: None,
            retained: false,
            instant: true,
            adopt: false,
        }
    }

    /// Says whether the options fit each other.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.max_hold.is_some_and(|most| most < self.at_least) {
            return Err(Error::InvalidTiming { reason: "`at_least` is longer than `max_hold`" });
        }
        Ok(())
    }

    fn want(&self, ticket: Ticket, patience: Patience) -> Want {
        Want {
            ticket,
            timing: self.timing,
            retained: self.retained,
            instant: self.instant,
            adopt: self.adopt,
            patience,
            at_least: self.at_least,
            max_hold: self.max_hold,
        }
    }
}

/// Acquires for whoever awaits this: the one way to a turn, for locks and elections.
pub(crate) async fn acquire(
    engine: &Grip,
    name: &LockName,
    options: &Options,
    patience: Patience,
) -> Result<Turn, Error> {
    acquire_beside(engine, name, options, patience, || None).await
}

/// Acquires as [`acquire`] does for whoever has something else already, to be given up if this is not polled in time.
async fn acquire_beside(
    engine: &Grip,
    name: &LockName,
    options: &Options,
    patience: Patience,
    forfeit: impl Fn() -> Option<Forfeit>,
) -> Result<Turn, Error> {
    options.check()?;
    scope::check(&engine.id, name)?;
    let judge = |token: FencingToken| match options.token_floor {
        Some(floor) if token <= floor => {
            Err(Error::TokenTooLow { name: name.to_string(), token: token.get(), floor: floor.get() })
        }
        _ => Ok(()),
    };
    engine.acquire(name, engine, |ticket| options.want(ticket, patience), judge, forfeit).await
}

// === impl Lock ===

impl Lock {
    pub(crate) fn new(engine: Grip, name: LockName, timing: Timing) -> Self {
        Self { engine, name, options: Options::new(timing) }
    }

    /// Acquires the lock as one of a set: `at_least` does not count before the set is [complete](LockGuard::complete), and
    /// the others are given up if this is not polled in time.
    pub(crate) async fn acquire_of_set(
        &self,
        patience: Patience,
        forfeit: impl Fn() -> Forfeit,
    ) -> Result<LockGuard, Error> {
        self.options.check()?;
        let options = Options { at_least: Duration::ZERO, ..self.options };
        let turn = acquire_beside(&self.engine, &self.name, &options, patience, || Some(forfeit())).await?;
        Ok(LockGuard { turn })
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.engine.clock
    }

    /// Returns the name.
    pub fn name(&self) -> &LockName {
        &self.name
    }

    /// Sets how long a hold lives without renewal, and how it is renewed.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.options.timing = timing;
        self
    }

    /// Keeps the lock at least this long from the moment its guard is there, even if the guard is dropped before: so that a
    /// quick job does not run again on another machine within its period. What is cancelled or fails keeps nothing.
    ///
    /// Ends with the process if it crashes, not if its client is [shut down](crate::Client::shutdown): then the lock stays
    /// reserved until the date of its end, and others have it two seconds later, for that is how far the wall clocks of a
    /// cluster may be apart. With clocks further apart it ends so much sooner or later. More than `max_hold` is refused by
    /// the acquisition, with [`Error::InvalidTiming`].
    pub fn at_least(mut self, duration: Duration) -> Self {
        self.options.at_least = duration;
        self
    }

    /// Holds the lock at the most this long from the moment its guard is there: then renewal stops, and the guard says lost. A stuck body must not keep the
    /// lock for ever.
    pub fn max_hold(mut self, duration: Duration) -> Self {
        self.options.max_hold = Some(duration);
        self
    }

    /// Refuses acquisitions whose token is not above a number that the protected resource has seen: after an etcd
    /// restore, tokens may start over.
    pub fn token_floor(mut self, floor: FencingToken) -> Self {
        self.options.token_floor = Some(floor);
        self
    }

    /// Keeps the `Lock` object when it is released: it is freed, not deleted.
    #[doc(hidden)]
    pub fn retained(mut self) -> Self {
        self.options.retained = true;
        self
    }

    /// Takes back at once what an earlier start of this very pod held; see [`ClientBuilder::pod_uid`](crate::ClientBuilder::pod_uid).
    #[doc(hidden)]
    pub fn adopt(mut self) -> Self {
        self.options.adopt = true;
        self
    }

    /// Acquires the lock, waiting in the queue for as long as it takes, as a mutex does.
    ///
    /// A store that cannot be reached is waited for as well; use [`acquire_timeout`](Self::acquire_timeout) for a limit.
    ///
    /// # Errors
    /// [`Error::Forbidden`] and [`Error::CrdMissing`] at once; [`Error::WouldDeadlock`] inside a body of this lock;
    /// [`Error::ShutDown`]; [`Error::TokenTooLow`] if a floor was set; [`Error::InvalidTiming`] for options that contradict
    /// each other.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue, and gives back what was granted meanwhile; the place in the queue is lost.
    ///
    /// A future that is kept and not polled, such as `&mut acquiring` of a `select!` whose other branch goes on for long, may
    /// get the lock without anybody to use it. It is not renewed for such a one: what is not taken well before it ends is
    /// given back, within a ttl, and the future queues up again when it is next polled.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// let guard = client.lock("invoices")?.acquire().await?;
    /// println!("held with fencing token {}", guard.token());
    /// guard.check()?; // still held?
    /// guard.release().await?;
    /// # Ok(()) }
    /// ```
    pub async fn acquire(&self) -> Result<LockGuard, Error> {
        let turn = acquire(&self.engine, &self.name, &self.options, Patience::Wait).await?;
        Ok(LockGuard { turn })
    }

    /// Acquires the lock if it is free; `None` if somebody has it.
    ///
    /// Answers at once where the holder's date promises life, and where [`at_least`](Self::at_least) keeps the lock for a
    /// process that is no more. A record that looks dead is watched for at most its ttl. Never joins the queue.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Error::Store`] when the store does not answer for a third of the ttl.
    ///
    /// # Cancel safety
    /// Dropping the future gives back what was acquired meanwhile.
    pub async fn try_acquire(&self) -> Result<Option<LockGuard>, Error> {
        match acquire(&self.engine, &self.name, &self.options, Patience::Try).await {
            Ok(turn) => Ok(Some(LockGuard { turn })),
            Err(Error::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Acquires the lock, waiting no longer than `limit`.
    ///
    /// # Errors
    /// [`Error::Timeout`] after the limit, otherwise as [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_timeout(&self, limit: Duration) -> Result<LockGuard, Error> {
        let clock = &self.engine.clock;
        let over = clock.sleep_until(clock.now() + limit);
        tokio::select! {
            biased;
            acquired = self.acquire() => acquired,
            () = over => Err(Error::Timeout { name: self.name.to_string(), after: limit }),
        }
    }

    /// Runs a body while the lock is held. The body is dropped at the deadline if the lock is lost, and always before the
    /// release is sent.
    ///
    /// The hold is checked before every poll of the body: after a pause of the process, not one line of it runs on.
    /// Code that does not yield cannot be interrupted. The body must not outlive itself: tasks it spawned go on.
    ///
    /// # Errors
    /// [`Error::Lost`] when the lock was lost before the body ended, otherwise as [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// Dropping the future drops the body, then releases.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// let sum = client.lock("invoices")?.run(async |guard| guard.token().get() + 1).await?;
    /// # Ok(()) }
    /// ```
    pub async fn run<T>(&self, body: impl AsyncFnOnce(&LockGuard) -> T) -> Result<T, Error> {
        let guard = self.acquire().await?;
        guard.protect(body(&guard)).await
    }
}

// === impl LockGuard ===

impl LockGuard {
    pub(crate) fn new(turn: Turn) -> Self {
        Self { turn }
    }

    pub(crate) fn turn_mut(&mut self) -> &mut Turn {
        &mut self.turn
    }

    /// Begins the `at_least` of a lock whose set has been acquired.
    pub(crate) fn complete(&self, lock: &Lock) {
        if !lock.options.at_least.is_zero() {
            self.turn.keep(lock.options.at_least);
        }
    }

    /// Returns a view of the hold, for a body that runs under it.
    pub(crate) fn lease(&self) -> &Lease {
        self.turn.lease()
    }

    /// Returns the name of the lock.
    pub fn name(&self) -> &LockName {
        self.lease().name()
    }

    /// Returns the fencing token of this acquisition (promise S1).
    pub fn token(&self) -> FencingToken {
        self.lease().token()
    }

    /// Says whether the lock is still held. Costs one look at the clock.
    ///
    /// A good answer is a statement about now, not about the next moment; give the [token](Self::token) to whatever must
    /// be safe even from a pause right after this check.
    ///
    /// # Errors
    /// [`Error::Lost`], for ever from then on (promise S4).
    pub fn check(&self) -> Result<(), Error> {
        self.lease().check()
    }

    /// Says whether the lock is safe for some time more, even if no renewal succeeds.
    ///
    /// # Errors
    /// [`Error::Lost`] when it is lost, [`Error::TooShort`] when less time remains.
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        self.lease().ensure(duration)
    }

    /// Returns for how long the lock is safe if no renewal succeeds; zero when it is lost. After a wait in the queue it begins
    /// with at least half of what its timing allows, the ttl less the margin.
    pub fn remaining(&self) -> Duration {
        self.lease().remaining()
    }

    /// Completes when the lock is lost, by the local deadline at the latest, whatever the network does (promise S3).
    /// Never completes after an orderly release.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let lost = self.lease().lost();
        async move {
            match lost.await {
                LossReason::Released => std::future::pending().await,
                reason => reason,
            }
        }
    }

    /// Returns a token that is cancelled when the lock is lost: for code that takes one.
    ///
    /// Each call returns a token of its own, which may be cancelled by others as well. An orderly release does not cancel it.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.lease().cancellation_token()
    }

    /// Runs a body for as long as the lock is held; see [`Lock::run`].
    pub(crate) async fn protect<F: Future>(&self, body: F) -> Result<F::Output, Error> {
        held(from_ref(self.lease()), OnLost::Cancel, || body).await.map_err(Stopped::into_error)
    }

    /// Releases the lock and waits until the store has acknowledged it.
    ///
    /// # Errors
    /// [`Error::Lost`] when it had been lost before; [`Error::Store`] when the release could not be made known: others
    /// then wait for the ttl.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the release, only the waiting for it.
    pub async fn release(self) -> Result<(), Error> {
        self.turn.release().await
    }
}

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, token, loss) = (self.name(), self.token(), self.lease().loss());
        f.debug_struct("LockGuard").field("name", name).field("token", &token).field("loss", &loss).finish()
    }
}

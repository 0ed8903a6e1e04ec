//! Locks: named, acquired for a guard or for the length of a body.

mod guard;
mod polling;
mod set;

use std::{future::poll_fn, pin::pin, slice::from_ref, sync::Arc, time::Duration};

pub use guard::LockGuard;
pub use set::{LockSet, LockSetGuard};
use tracing::{debug_span, field};

use crate::{
    Client, Error, FencingToken, LockName, Timing,
    clock::{Clock, Moment},
    engine::{Forfeit, Grip, Turn, Why},
    held::{OnLost, Stopped, held, scope},
    listener::Label,
    protocol::{Patience, Ticket, Want},
};

/// A cluster-wide lock, to be acquired. Cloning is cheap; tasks of one process queue up for it, first come first served.
#[derive(Clone, Debug)]
#[must_use = "a lock excludes nobody until it is acquired"]
pub struct Lock {
    engine: Grip,
    name: LockName,
    options: Options,
    beside: Option<Beside>,
}

/// What the set of a lock has besides.
#[derive(Clone)]
struct Beside(Arc<dyn Fn() + Send + Sync>);

/// How a lock is acquired and kept.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) timing: Timing,
    pub(crate) at_least: Duration,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) token_floor: Option<FencingToken>,
    pub(crate) retained: bool,
    pub(crate) instant: bool,
    pub(crate) adopt: bool,
    /// What stands for its lock in figures.
    pub(crate) label: Option<Label>,
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
            label: None,
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
            again: None,
            session: None,
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
    let want = |ticket| options.want(ticket, patience);
    let span = debug_span!("msync.acquire", lock = %name, token = field::Empty, waited = field::Empty);
    let mut acquiring = pin!(engine.acquire(name, engine, options.label.as_ref(), want, judge, forfeit));
    let acquired = poll_fn(|cx| {
        let _span = span.enter();
        acquiring.as_mut().poll(cx)
    })
    .await;
    if let (false, Ok(turn)) = (span.is_disabled(), &acquired) {
        let lease = turn.lease();
        span.record("token", lease.token().get()).record("waited", field::debug(lease.waited()));
    }
    acquired
}

/// Awaits an acquisition until a moment. One that was begun with a limit at another moment is told why it was in vain.
pub(crate) async fn within<T>(
    engine: &Grip,
    name: &LockName,
    acquiring: impl Future<Output = Result<T, Error>>,
    (since, over): (Moment, Moment),
    limit: Duration,
) -> Result<T, Error> {
    let mut acquiring = pin!(acquiring);
    let over = engine.clock.sleep_until(over);
    tokio::select! {
        biased;
        acquired = &mut acquiring => return acquired,
        () = over => {}
    }
    // It still waits, so that there is somebody to ask.
    tokio::select! {
        biased;
        acquired = &mut acquiring => acquired,
        why = engine.why_not(name, since) => Err(match why {
            Why::Held => timeout(name, limit),
            Why::Unseen(fault) => Error::unavailable(name.to_string(), limit, fault.as_ref()),
        }),
    }
}

/// Makes the error of a wait behind a holder.
pub(crate) fn timeout(name: &LockName, after: Duration) -> Error {
    Error::Timeout { name: name.to_string(), after }
}

// === impl Beside ===

impl Beside {
    fn forfeit(&self) -> Forfeit {
        let forfeit = Arc::clone(&self.0);
        Box::new(move || forfeit())
    }
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Beside")
    }
}

// === impl Client: locks ===

impl Client {
    /// Names a lock. Nothing is sent before it is acquired.
    ///
    /// Any text will do, or a [`LockName`]: one that Kubernetes would refuse is escaped, as in annotated functions; see
    /// [there](LockName#one-rule-for-all-names).
    ///
    /// # Errors
    /// [`Error::InvalidName`] when the name is empty.
    pub fn lock(&self, name: impl AsRef<str>) -> Result<Lock, Error> {
        Ok(self.lock_named(LockName::of(name.as_ref())?))
    }

    pub(crate) fn lock_named(&self, name: LockName) -> Lock {
        Lock::new(self.engine().clone(), name, self.timing())
    }
}

// === impl Lock ===

impl Lock {
    pub(crate) fn new(engine: Grip, name: LockName, timing: Timing) -> Self {
        Self { engine, name, options: Options::new(timing), beside: None }
    }

    /// Makes it one of a set: `at_least` does not count before the set is [complete](LockGuard::complete), and what the set
    /// has already is given up if this one is not polled in time.
    pub(crate) fn of_set(&self, forfeit: impl Fn() + Send + Sync + 'static) -> Result<Self, Error> {
        self.options.check()?;
        let options = Options { at_least: Duration::ZERO, ..self.options.clone() };
        Ok(Self { options, beside: Some(Beside(Arc::new(forfeit))), ..self.clone() })
    }

    async fn turn(&self, patience: Patience) -> Result<Turn, Error> {
        let forfeit = || self.beside.as_ref().map(Beside::forfeit);
        acquire_beside(&self.engine, &self.name, &self.options, patience, forfeit).await
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

    /// Says what stands for this lock in [figures](crate::listener): for one of many names that are made at run time, as
    /// `invoices` for `invoices-17`. Without it the name does, for the first hundred names of a process.
    ///
    /// ```
    /// # fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::standalone();
    /// let customer = 17;
    /// let lock = client.lock(format!("invoices-{customer}"))?.label("invoices");
    /// # Ok(()) }
    /// ```
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.options.label = Some(Label::Made(label.into()));
        self
    }

    /// Says what stands for this lock in figures: a template that is in the program.
    pub(crate) fn label_fixed(mut self, label: Option<&'static str>) -> Self {
        self.options.label = label.map(Label::Fixed);
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
    /// A store that cannot be reached is waited for as well, with a warning in the log after five seconds and whenever that
    /// time has doubled; use [`acquire_timeout`](Self::acquire_timeout) for a limit.
    ///
    /// # Errors
    /// [`Error::Forbidden`] and [`Error::CrdMissing`] when they have lasted ten seconds, as they do not right after a start
    /// of the API server; an outdated resource, and what admission refuses ([`Error::Store`]), at once;
    /// [`Error::WouldDeadlock`] inside a body of this lock;
    /// [`Error::ShutDown`]; [`Error::TokenTooLow`] if a floor was set; [`Error::InvalidTiming`]
    /// for options that contradict each other.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue, and gives back what was granted meanwhile; the place in the queue is lost.
    ///
    /// A future that is kept and not polled, such as `&mut acquiring` of a `select!` whose other branch goes on for long, may
    /// get the lock without anybody to use it. It is not renewed for such a one: what is not taken well before it ends is
    /// given back, within a ttl, and the future queues up again when it is next polled: behind the others, unless it comes at
    /// once, as after a pause of the whole process.
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
        let turn = self.turn(Patience::Wait).await?;
        Ok(LockGuard { turn })
    }

    /// Acquires the lock if it is free; `None` if somebody has it.
    ///
    /// Answers at once where the holder's date promises life, and where [`at_least`](Self::at_least) keeps the lock for a
    /// process that is no more. A record that looks dead is watched for at most its ttl. Never joins the queue.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Error::Store`] when the store does not answer for a third of the ttl,
    /// or for up to twice that if one call takes so long.
    ///
    /// # Cancel safety
    /// Dropping the future gives back what was acquired meanwhile.
    pub async fn try_acquire(&self) -> Result<Option<LockGuard>, Error> {
        match self.turn(Patience::Try).await {
            Ok(turn) => Ok(Some(LockGuard { turn })),
            Err(Error::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Acquires the lock, waiting no longer than `limit`. A limit of zero is one try, which takes as long as a request.
    ///
    /// # Errors
    /// After the limit [`Error::Timeout`] if somebody had the lock, [`Error::Unavailable`] if nobody was seen to have it
    /// because the store could not be used; otherwise as [`acquire`](Self::acquire). For one try as
    /// [`try_acquire`](Self::try_acquire), and [`Error::Timeout`] if it is not free.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_timeout(&self, limit: Duration) -> Result<LockGuard, Error> {
        if limit.is_zero() {
            let tried = self.attempt(false).await?;
            return tried.ok_or_else(|| self.timeout(limit));
        }
        let since = self.engine.clock.now();
        self.acquire_by(since, since + limit, limit).await
    }

    /// Acquires until `over`, as [`within`].
    pub(crate) async fn acquire_by(&self, since: Moment, over: Moment, limit: Duration) -> Result<LockGuard, Error> {
        within(&self.engine, &self.name, self.acquire(), (since, over), limit).await
    }

    pub(crate) fn timeout(&self, after: Duration) -> Error {
        timeout(&self.name, after)
    }

    /// Runs a body while the lock is held. The body is dropped at the deadline if the lock is lost, and always before the
    /// release is sent. Returns when the lock is released, or its release has failed, which is logged: the ttl then ends it.
    ///
    /// The body is an async closure, `async |guard| { … }`. A closure that returns an async block, `|guard| async move { … }`,
    /// could not borrow the guard. The compiler says only that it does not know a type (E0282), or, once that is written,
    /// that a lifetime may not live long enough:
    /// ```compile_fail,E0282
    /// # async fn f(lock: msync::Lock) {
    /// lock.run(|guard| async move { guard.token() }).await; // write: async |guard| guard.token()
    /// # }
    /// ```
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
        let ended = held(from_ref(guard.view()), OnLost::Cancel, || body(&guard)).await;
        log_release(guard.release().await);
        ended.map_err(Stopped::into_error)
    }
}

/// Takes the end of a body's lock, whose caller is told of the body: what is lost needs no release.
pub(crate) fn log_release(released: Result<(), Error>) {
    match released {
        Ok(()) | Err(Error::Lost { .. }) => {}
        Err(error) => tracing::warn!(%error, "the lock was not released in order"),
    }
}

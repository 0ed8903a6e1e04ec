//! What a body sees of its hold: it can look, and it cannot prolong or release.
//!
//! A lease never keeps a hold alive: a body may store it or give it to tasks, and the lock is released all the same. Only
//! the guard of the hold, in other hands, decides that.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Either, select_all},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, FencingToken, LockName, LossReason,
    clock::{Clock, Home, Moment},
    protocol::{Standing, Ticket},
    record::EngineId,
    runtime,
};

/// A view of a held lock or of a leader's term, for the body that runs under it: what `guard = …` names in `#[locked]` and
/// `#[leader_only]`.
///
/// Cloning is cheap. After the hold has ended it says lost, for ever.
#[derive(Clone)]
pub struct Lease(Arc<Seen>);

/// What is seen of one hold.
struct Seen {
    engine: EngineId,
    name: LockName,
    token: FencingToken,
    ticket: Ticket,
    bounds: Bounds,
    clock: Arc<dyn Clock>,
    standing: watch::Receiver<Standing>,
    /// The first end that was seen, or that the guard set when it went: lost is final, and so is why (promise S4); an
    /// orderly release is no loss, and views outlive the guard.
    end: OnceLock<LossReason>,
    /// Cancelled by a loss.
    cancelled: OnceLock<CancellationToken>,
}

/// What a hold is bound by, besides what its keeper says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// What the end of a lost body may take.
    pub(crate) margin: Duration,
    /// When `max_hold` ends it, which counts from the moment its user had it. Its keeper learns of that a little later.
    pub(crate) ends: Option<Moment>,
    /// How long its user waited for it.
    pub(crate) waited: Duration,
}

/// A view of several held locks: what `guard = …` names in `#[locked]` with a list of names.
#[derive(Clone)]
pub struct LeaseSet(Arc<Together>);

/// Several holds that are seen as one.
struct Together {
    leases: Box<[Lease]>,
    cancelled: OnceLock<CancellationToken>,
}

/// Completes when a hold is lost, with the reason: what `lost()` of guards and leases returns, so that it can be kept in a
/// struct. It owns what it needs, and prolongs nothing.
///
/// # Examples
/// ```
/// struct Writer {
///     lost: msync::Lost,
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
/// # let client = msync::Client::standalone();
/// let guard = client.lock("ledger")?.acquire().await?;
/// let mut writer = Writer { lost: guard.lost() };
/// tokio::select! {
///     reason = &mut writer.lost => eprintln!("stop: {reason}"),
///     () = async { /* write */ } => guard.release().await?,
/// }
/// # Ok(()) }
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct Lost(BoxFuture<'static, LossReason>);

// === impl Lost ===

impl Lost {
    pub(crate) fn new(lost: impl Future<Output = LossReason> + Send + 'static) -> Self {
        Self(lost.boxed())
    }
}

impl Future for Lost {
    type Output = LossReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LossReason> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lost")
    }
}

// === impl Lease ===

impl Lease {
    pub(crate) fn new(
        engine: EngineId,
        name: LockName,
        token: FencingToken,
        ticket: Ticket,
        bounds: Bounds,
        clock: Arc<dyn Clock>,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        let (end, cancelled) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Seen { engine, name, token, ticket, bounds, clock, standing, end, cancelled }))
    }

    /// Says whether it is a hold of this lock by this engine.
    pub(crate) fn is_of(&self, engine: &EngineId, name: &LockName) -> bool {
        self.0.name == *name && self.0.engine == *engine
    }

    /// Returns the name of the lock or election.
    pub fn name(&self) -> &LockName {
        &self.0.name
    }

    /// Returns the fencing token; see [`LockGuard::token`](crate::LockGuard::token).
    pub fn token(&self) -> FencingToken {
        self.0.token
    }

    /// Returns how long its user waited for it.
    pub(crate) fn waited(&self) -> Duration {
        self.0.bounds.waited
    }

    /// Says whether it is still held; see [`LockGuard::check`](crate::LockGuard::check).
    ///
    /// # Errors
    /// [`Error::Lost`], for ever from then on.
    pub fn check(&self) -> Result<(), Error> {
        self.loss().map_or(Ok(()), |reason| Err(self.lost_error(reason)))
    }

    /// Says whether it is safe for some time more, even if no renewal succeeds.
    ///
    /// # Errors
    /// [`Error::Lost`] when it is lost, [`Error::TooShort`] when less time remains.
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        self.check()?;
        let remaining = self.remaining();
        if remaining >= duration {
            return Ok(());
        }
        Err(Error::TooShort { name: self.0.name.to_string(), remaining })
    }

    /// Returns for how long it is safe if no renewal succeeds; zero when it is lost.
    pub fn remaining(&self) -> Duration {
        let until = self.bounded(self.0.standing.borrow().until);
        if self.loss().is_some() { Duration::ZERO } else { until.since(self.now()) }
    }

    /// Completes when it is lost, by the local deadline at the latest, or released.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> Lost {
        Lost::new(self.ended())
    }

    /// The same as [`lost`](Self::lost), for whoever needs no name for it.
    pub(crate) fn ended(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let lease = self.clone();
        let mut standing = self.0.standing.clone();
        async move {
            loop {
                let until = lease.bounded(standing.borrow_and_update().until);
                if let Some(reason) = lease.loss() {
                    return reason;
                }
                let clock = &lease.0.clock;
                tokio::select! {
                    changed = standing.changed() => if changed.is_err() { clock.sleep_until(until).await },
                    () = clock.sleep_until(until) => {}
                }
            }
        }
    }

    /// Returns a token of its own for each caller, cancelled when it is lost; an orderly release does not cancel it.
    pub fn cancellation_token(&self) -> CancellationToken {
        let parent = self.0.cancelled.get_or_init(|| cancelled_by(self.home(), self.ended()));
        parent.child_token()
    }

    /// Completes when another may have it; not when it ends in order, by a release or while its client shuts down.
    pub(crate) fn broken(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let (lease, mut standing) = (self.clone(), self.standing());
        async move {
            let reason = lease.ended().await;
            if !reason.is_orderly() {
                return reason;
            }
            let is_broken = |seen: &Standing| {
                seen.ticket == Some(lease.0.ticket) && seen.ended.is_some_and(|reason| !reason.is_orderly())
            };
            let broken = standing.wait_for(is_broken).await.ok().and_then(|standing| standing.ended);
            match broken {
                Some(reason) => reason,
                None => std::future::pending().await,
            }
        }
    }

    /// Returns where the keeper stands, to wait for a change.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.0.standing.clone()
    }

    /// Says whether, and why, the hold is over. Compares the clock itself: no timer, task or message is trusted.
    pub(crate) fn loss(&self) -> Option<LossReason> {
        let end = &self.0.end;
        end.get().copied().or_else(|| self.loss_by_clock().map(|reason| *end.get_or_init(|| reason)))
    }

    /// Fixes how the hold ended, and returns it; before its release is sent, or its end would look like a loss.
    pub(crate) fn end(&self) -> LossReason {
        *self.0.end.get_or_init(|| self.loss_by_clock().unwrap_or(LossReason::Released))
    }

    fn loss_by_clock(&self) -> Option<LossReason> {
        let now = self.now();
        let over = || self.0.bounds.ends.filter(|end| now >= *end).map(|_| LossReason::MaxHold);
        self.0.standing.borrow().loss(self.0.ticket, now).or_else(over)
    }

    fn bounded(&self, until: Moment) -> Moment {
        self.0.bounds.ends.map_or(until, |end| until.min(end))
    }

    /// Says where tasks that watch it live.
    pub(crate) fn home(&self) -> Home {
        self.0.clock.home()
    }

    /// Reads the clock that the hold is judged by.
    pub(crate) fn now(&self) -> Moment {
        self.0.clock.now()
    }

    /// Warns of a lost body whose drop took longer than the margin: another may have had the lock meanwhile.
    pub(crate) fn report_drop(&self, took: Duration) {
        let lock = self.name();
        if took > self.0.bounds.margin {
            tracing::warn!(%lock, ?took, "the body was lost, and its drop took longer than the margin");
        } else {
            tracing::debug!(%lock, ?took, "the body was lost and dropped");
        }
    }

    pub(crate) fn lost_error(&self, reason: LossReason) -> Error {
        Error::Lost { name: self.0.name.to_string(), reason }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, token, loss) = (self.name(), self.token(), self.loss());
        f.debug_struct("Lease").field("name", name).field("token", &token).field("loss", &loss).finish_non_exhaustive()
    }
}

// === impl LeaseSet ===

impl LeaseSet {
    pub(crate) fn new(leases: impl Iterator<Item = Lease>) -> Self {
        Self(Arc::new(Together { leases: leases.collect(), cancelled: OnceLock::new() }))
    }

    /// Returns the fencing tokens, in the order of the names.
    pub fn tokens(&self) -> impl Iterator<Item = FencingToken> {
        self.leases().iter().map(Lease::token)
    }

    /// Says whether all are still held.
    ///
    /// # Errors
    /// [`Error::Lost`] for the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        self.leases().iter().try_for_each(Lease::check)
    }

    /// Says whether all are safe for some time more, even if no renewal succeeds.
    ///
    /// # Errors
    /// As [`Lease::ensure`], for the first that is not.
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        self.leases().iter().try_for_each(|lease| lease.ensure(duration))
    }

    /// Returns for how long all are safe if no renewal succeeds; zero when one is lost.
    pub fn remaining(&self) -> Duration {
        self.leases().iter().map(Lease::remaining).min().unwrap_or_default()
    }

    /// Completes when the first is lost or released.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> Lost {
        Lost::new(first_loss(self.leases()))
    }

    /// Returns a token of its own for each caller, cancelled when the first is lost; an orderly release does not cancel it.
    pub fn cancellation_token(&self) -> CancellationToken {
        let parent = self.0.cancelled.get_or_init(|| cancelled_by(self.leases()[0].home(), self.lost()));
        parent.child_token()
    }

    pub(crate) fn leases(&self) -> &[Lease] {
        &self.0.leases
    }
}

impl fmt::Debug for LeaseSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LeaseSet").field(&self.leases()).finish()
    }
}

/// Makes a token that is cancelled by a loss and not by a release; the parent of all that are asked for, so that one task
/// serves them all.
fn cancelled_by(home: Home, ended: impl Future<Output = LossReason> + Send + 'static) -> CancellationToken {
    let parent = CancellationToken::new();
    let watched = parent.clone();
    runtime::spawn(home, async move {
        if ended.await != LossReason::Released {
            watched.cancel();
        }
    });
    parent
}

/// Completes when the first of several is lost.
pub(crate) fn first_loss(leases: &[Lease]) -> impl Future<Output = LossReason> + Send + use<> {
    match leases {
        [only] => Either::Left(only.ended()),
        several => {
            let each = several.iter().map(|lease| Box::pin(lease.ended()));
            Either::Right(select_all(each).map(|(reason, ..)| reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::clock::Wall;

    /// A clock that is moved by hand, in nanoseconds.
    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Moment {
            Moment::from_nanos(self.0.load(Ordering::Relaxed))
        }

        fn wall(&self) -> Wall {
            Wall::default()
        }

        fn sleep_until(&self, _: Moment) -> BoxFuture<'static, ()> {
            Box::pin(futures::future::pending())
        }
    }

    fn held(ticket: u64, until: u64) -> Standing {
        Standing { ticket: Some(Ticket(ticket)), until: Moment::from_nanos(until), ..Standing::default() }
    }

    /// Whatever the keeper says afterwards: that it holds after all, or that another acquisition does.
    #[test]
    fn s4_the_first_loss_that_was_seen_stays_and_so_does_its_reason() {
        for after in [held(1, 100), held(2, 100), Standing::default()] {
            let (clock, (keeper, standing)) = (Arc::new(Hand::default()), watch::channel(held(1, 10)));
            let lease = Lease(Arc::new(Seen {
                engine: EngineId::new("me", 1),
                name: LockName::new("x").unwrap(),
                token: FencingToken::new(1, 0).unwrap(),
                ticket: Ticket(1),
                bounds: Bounds::default(),
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
                standing,
                end: OnceLock::new(),
                cancelled: OnceLock::new(),
            }));
            clock.0.store(9, Ordering::Relaxed);
            assert_eq!(lease.loss(), None);
            clock.0.store(10, Ordering::Relaxed);
            assert_eq!(lease.loss(), Some(LossReason::Deadline), "no message has come");
            keeper.send_replace(after);
            assert_eq!(lease.loss(), Some(LossReason::Deadline), "{after:?}");
            lease.end();
            assert_eq!(lease.loss(), Some(LossReason::Deadline), "an end in order changes nothing");
        }
    }
}

//! Elections: one leader at a time among all who campaign.
//!
//! An election is a lock that is kept between leaders and that must be accepted: a candidate may wait for days.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};

use crate::{
    Error, FencingToken, Lease, LockGuard, LockName, LossReason, Timing,
    clock::{Clock, Home, Moment},
    engine::{Grip, Listener},
    lock::{self, Options},
    protocol::Patience,
    record::{Pair, Record},
    runtime,
    store::{Sighting, Snapshot},
};

/// An election, to campaign in or to observe. Cloning is cheap.
#[derive(Clone, Debug)]
#[must_use = "an election has no leader until somebody campaigns"]
pub struct Election {
    engine: Grip,
    name: LockName,
    options: Options,
}

/// The term of a leader. It lasts until it is dropped, [resigned](Self::resign), handed over or lost.
#[must_use = "the leadership is resigned as soon as it is dropped; `let _ =` drops it at once"]
#[derive(Debug)]
pub struct Leadership {
    guard: LockGuard,
}

/// The leader of an election, as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leader {
    owner: String,
    identity: String,
}

// === impl Election ===

impl Election {
    pub(crate) fn new(engine: Grip, name: LockName, timing: Timing) -> Self {
        let options = Options { retained: true, instant: false, ..Options::new(timing) };
        Self { engine, name, options }
    }

    /// Returns the name.
    pub fn name(&self) -> &LockName {
        &self.name
    }

    /// Sets how long a leadership lives without renewal, and how it is renewed.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.options.timing = timing;
        self
    }

    /// Says where its background work lives.
    pub(crate) fn home(&self) -> Home {
        self.engine.home
    }

    /// Waits, for what no promise depends on.
    pub(crate) fn pause(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let clock = &self.engine.clock;
        clock.sleep_until(clock.now() + duration)
    }

    /// Campaigns until elected, however long it takes and however often the API server fails meanwhile.
    ///
    /// # Errors
    /// [`Error::Forbidden`] and [`Error::CrdMissing`] at once; [`Error::WouldDeadlock`] inside a body of this election;
    /// [`Error::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the candidacy, and resigns if it was elected meanwhile. A future that is kept and not polled
    /// may be elected without anybody to lead: it resigns within a ttl, and campaigns anew when it is next polled.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// let term = client.election("scheduler")?.campaign().await?;
    /// let outcome = term.run(async { "led" }).await?;
    /// term.resign().await?;
    /// # Ok(()) }
    /// ```
    pub async fn campaign(&self) -> Result<Leadership, Error> {
        let turn = lock::acquire(&self.engine, &self.name, &self.options, Patience::Wait).await?;
        Ok(Leadership { guard: LockGuard::new(turn) })
    }

    /// Watches who leads: first the present state, then every change. `None` while nobody does, as far as can be seen: a
    /// leader who has shown no life for its ttl counts as none.
    ///
    /// What is seen is late by nature: never act as leader, nor as the only follower, because of it. The stream never
    /// ends; failures of the watch are waited out.
    pub fn observe(&self) -> impl Stream<Item = Option<Leader>> + Send + use<> {
        let listener = Listener::new(&self.engine, self.name.clone());
        let observer = Observer { clock: Arc::clone(&self.engine.clock), listener, sight: None, told: Told::Nothing };
        let leaders = stream::unfold(observer, |mut observer| async {
            let leader = observer.next().await;
            Some((leader, observer))
        });
        runtime::stream(self.engine.home, leaders)
    }
}

// === impl Leadership ===

impl Leadership {
    /// Returns the name of the election.
    pub fn name(&self) -> &LockName {
        self.guard.name()
    }

    /// Returns a view of this term, for a body that runs under it.
    pub(crate) fn lease(&self) -> &Lease {
        self.guard.lease()
    }

    /// Returns the fencing token of this term (promise S1).
    pub fn token(&self) -> FencingToken {
        self.guard.token()
    }

    /// Says whether this process still leads; see [`LockGuard::check`].
    ///
    /// # Errors
    /// [`Error::Lost`], for ever from then on.
    pub fn check(&self) -> Result<(), Error> {
        self.guard.check()
    }

    /// Says whether the leadership is safe for some time more; see [`LockGuard::ensure`].
    ///
    /// # Errors
    /// As [`LockGuard::ensure`].
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        self.guard.ensure(duration)
    }

    /// Returns for how long the leadership is safe if no renewal succeeds; zero when it is lost.
    pub fn remaining(&self) -> Duration {
        self.guard.remaining()
    }

    /// Completes when the leadership is lost, by the local deadline at the latest (promise S3).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        self.guard.lost()
    }

    /// Returns a token that is cancelled when the leadership is lost; see [`LockGuard::cancellation_token`].
    pub fn cancellation_token(&self) -> tokio_util::sync::CancellationToken {
        self.guard.cancellation_token()
    }

    /// Runs a body for as long as this process leads: it is dropped when the leadership is lost.
    ///
    /// # Errors
    /// [`Error::Lost`] when that came before the body's end.
    ///
    /// # Cancel safety
    /// Dropping the future drops the body; the leadership stays.
    pub async fn run<F: Future>(&self, body: F) -> Result<F::Output, Error> {
        self.guard.protect(body).await
    }

    /// Steps down: the next candidate leads within milliseconds.
    ///
    /// # Errors
    /// As [`LockGuard::release`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the resignation, only the waiting for it.
    pub async fn resign(self) -> Result<(), Error> {
        self.guard.release().await
    }

    /// Steps down in favour of a candidate, by its owner name. If none of that name waits, the first in the queue leads.
    ///
    /// # Errors
    /// As [`LockGuard::release`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the resignation, only the waiting for it.
    pub async fn hand_over_to(mut self, owner: impl Into<String>) -> Result<(), Error> {
        self.guard.turn_mut().prefer(owner.into());
        self.guard.release().await
    }
}

// === impl Leader ===

impl Leader {
    /// Returns the leader's name, for people.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns the leader's identity: its owner name and random bits of its start.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

/// What one observer has seen.
struct Observer {
    clock: Arc<dyn Clock>,
    listener: Listener,
    sight: Option<Sight>,
    /// What the stream has said last; nothing at first.
    told: Told,
}

/// What an observer has been told.
#[derive(PartialEq)]
enum Told {
    Nothing,
    Leader(Option<Leader>),
}

/// A record with a holder, and until when the pair that it shows is a sign of life. Kept beyond that, so that the same
/// pair seen again, beside a new waiter or in a list, brings nobody back to life.
struct Sight {
    pair: Pair,
    until: Moment,
    leader: Leader,
}

// === impl Observer ===

impl Observer {
    async fn next(&mut self) -> Option<Leader> {
        loop {
            let now = self.clock.now();
            let expiry = self.sight.as_ref().map(|sight| sight.until).filter(|until| *until > now);
            let expired = self.clock.sleep_until(expiry.unwrap_or(Moment::from_nanos(u64::MAX)));
            tokio::select! {
                biased;
                sighting = self.listener.next() => self.take(sighting),
                () = expired => {}
            }
            let now = self.clock.now();
            let leader = self.sight.as_ref().filter(|sight| now < sight.until).map(|sight| sight.leader.clone());
            let news = Told::Leader(leader.clone());
            if self.told != news {
                self.told = news;
                return leader;
            }
        }
    }

    fn take(&mut self, sighting: Sighting) {
        match sighting {
            Sighting::Listed(found) => self.see(found.into_iter().next().map(|(_, snapshot)| snapshot)),
            Sighting::Changed(_, snapshot) => self.see(Some(snapshot)),
            Sighting::Gone(..) => self.sight = None,
            Sighting::Alive => {}
        }
    }

    fn see(&mut self, found: Option<Snapshot>) {
        let held = found.map(|snapshot| snapshot.record).filter(|record| !record.is_free() && record.renewals > 0);
        let Some(record) = held else { return self.sight = None };
        if self.sight.as_ref().is_none_or(|sight| sight.pair != record.pair()) {
            self.sight = Some(Sight::new(&record, self.clock.now()));
        }
    }
}

impl Sight {
    fn new(record: &Record, now: Moment) -> Self {
        let (owner, identity) = (record.engine.owner().to_owned(), record.engine.to_string());
        Self { pair: record.pair(), until: now + record.patience(), leader: Leader { owner, identity } }
    }
}

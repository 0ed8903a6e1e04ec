//! Removes what crashed holders and ended elections left behind, where nobody asks for it.
//!
//! A holder that crashed leaves its record. Whoever wants the lock takes it over, so names that are used again heal
//! themselves; a name that was made for one job and never comes again stays for ever. Which may go is decided by
//! [`protocol::leftover`](crate::protocol).

use std::{sync::Arc, time::Duration};

use crate::{
    Client, Error, LockName,
    clock::Moment,
    engine::Grip,
    error::told,
    protocol::leftover::{Sights, judge},
    runtime,
    store::{Fault, Version},
};

/// How old a record must be by its date unless told otherwise.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long one sweep watches, unless told otherwise; longer than most ttls.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// The longest that one request may take.
const CALL: Duration = Duration::from_secs(30);
/// A search for records that nobody needs, in the namespace of its client. Made by [`Client::sweep`](crate::Client::sweep).
///
/// A record goes when the date that its holder wrote is older than [`older_than`](Self::older_than) and when it is free
/// and nobody waits, or when it was seen unchanged for as long as a living holder, or a living waiter, would need to change
/// it. Locks that are used again are not harmed by its going: who acquires one makes it anew, with a greater token.
#[derive(Debug)]
#[must_use = "a sweep does nothing until it runs"]
pub struct Sweep {
    engine: Grip,
    older_than: Duration,
    patience: Duration,
    dry_run: bool,
    sights: Sights,
}

/// What a sweep, or one round of it, did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// The locks whose records were removed, or would have been in a dry run; sorted.
    pub removed: Vec<LockName>,
    /// Old ones whose holders or waiters could still be alive; sorted.
    pub undecided: Vec<LockName>,
    /// How many records there were.
    pub seen: usize,
}

// === impl Client: sweeps ===

impl Client {
    /// Begins to look for records that crashed holders left behind and that nobody asks for, in this client's namespace.
    ///
    /// Locks whose names are used again need no such care. One sweep an hour, by anybody, is enough.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::standalone();
    /// let swept = client.sweep().run().await?;
    /// println!("{} records removed", swept.removed.len());
    /// # Ok(()) }
    /// ```
    pub fn sweep(&self) -> Sweep {
        Sweep::new(self.engine().clone())
    }
}

// === impl Sweep ===

impl Sweep {
    pub(crate) fn new(engine: Grip) -> Self {
        Self { engine, older_than: DAY, patience: PATIENCE, dry_run: false, sights: Sights::new() }
    }

    /// Sets how long ago a hold must have ended by the date that its holder wrote; a day unless told. By the wall clock, so
    /// this is a courtesy to people who look at records, not what makes a removal safe. A record whose date is unreadable is
    /// left to people.
    pub fn older_than(self, age: Duration) -> Self {
        Self { older_than: age, ..self }
    }

    /// Sets how long [`run`](Self::run) watches at the most; five minutes unless told. Records with a longer ttl stay.
    pub fn patience(self, most: Duration) -> Self {
        Self { patience: most, ..self }
    }

    /// Only says what would be removed.
    pub fn dry_run(self, dry: bool) -> Self {
        Self { dry_run: dry, ..self }
    }

    /// Watches old records until each is known to be dead or not, and removes those that are.
    ///
    /// Takes as long as the longest ttl among the old records, or [`patience`](Self::patience); at once when nothing is old.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::CrdMissing`] and [`Error::Store`] when records cannot be listed or removed. What was
    /// removed before stays removed.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn run(&mut self) -> Result<Swept, Error> {
        let end = self.engine.clock.now() + self.patience;
        let mut removed = Vec::new();
        loop {
            let (mut swept, due) = self.sweep(end).await?;
            removed.append(&mut swept.removed);
            let Some(due) = due else {
                removed.sort();
                return Ok(Swept { removed, ..swept });
            };
            self.engine.clock.sleep_until(due).await;
        }
    }

    /// Looks once, without waiting, and removes what this and earlier rounds together show to be dead: for programs that
    /// live on and call this now and then.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn round(&mut self) -> Result<Swept, Error> {
        Ok(self.sweep(Moment::default()).await?.0)
    }

    /// One look; also says when the next would bring something, if that is before `end`.
    async fn sweep(&mut self, end: Moment) -> Result<(Swept, Option<Moment>), Error> {
        let store = Arc::clone(&self.engine.store);
        let found = self.call("could not list locks".to_owned(), async move { store.list().await }).await?;
        let found = found.map_err(|fault| Error::from_fault("could not list locks".to_owned(), &fault))?;
        let judged = judge(&mut self.sights, &found, self.older_than, self.engine.clock.read());
        let mut swept = Swept { seen: found.len(), ..Swept::default() };
        for (name, version) in judged.unwanted {
            if self.dry_run || self.remove(&name, &version).await? {
                swept.removed.push(name);
            }
        }
        let due = judged.undecided.iter().map(|(_, due)| *due).filter(|due| *due <= end).min();
        swept.undecided = judged.undecided.into_iter().map(|(name, _)| name).collect();
        swept.removed.sort();
        swept.undecided.sort();
        Ok((swept, due))
    }

    /// Removes a record as it was seen; whoever took the lock meanwhile keeps it.
    async fn remove(&self, name: &LockName, version: &Version) -> Result<bool, Error> {
        let context = format!("could not remove lock {name}");
        let (store, name, version) = (Arc::clone(&self.engine.store), name.clone(), version.clone());
        match self.call(context.clone(), async move { store.delete(&name, &version).await }).await? {
            Ok(()) => Ok(true),
            Err(Fault::Refused(_)) => Ok(false),
            Err(fault) => Err(Error::from_fault(context, &fault)),
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        context: String,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Error> {
        if self.engine.is_forked() {
            return Err(Error::store(context, runtime::FORKED));
        }
        let clock = Arc::clone(&self.engine.clock);
        let in_time = async move {
            tokio::select! {
                biased;
                answer = call => Some(answer),
                () = clock.sleep_until(clock.now() + CALL) => None,
            }
        };
        runtime::run(self.engine.home, in_time).await.ok_or_else(|| {
            let fault = Fault::Unknown(told(format!("no answer within {CALL:?}")));
            Error::from_fault(context, &fault)
        })
    }
}

#[cfg(test)]
mod tests;

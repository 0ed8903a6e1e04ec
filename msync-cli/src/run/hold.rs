//! What the command runs under: a lock or the term of a leader, wished for and had.

use std::time::Duration;

use msync::{
    Client, Election, Error, FencingToken, Leadership, Lock, LockGuard, LossReason,
    clock::{BootClock, Clock, Moment},
    unstable::store::Snapshot,
};

use super::within;
use crate::{args::Run, exit::Failure};

/// What is wished for, and for how long.
pub(super) struct Wish {
    what: What,
    /// To see the record while waiting; never acquired for an election.
    pub(super) view: Lock,
    identity: String,
    patience: Patience,
}

enum What {
    Lock(Lock),
    Leader(Election),
}

#[derive(Clone, Copy)]
enum Patience {
    None,
    Limited(Duration),
    Endless,
}

/// What is held.
pub(super) enum Hold {
    Lock(LockGuard),
    Leader(Leadership),
}

/// Why there is no hold.
pub(super) enum Refusal {
    Busy(String),
    Error(Error),
}

// === impl Wish ===

impl Wish {
    pub(super) fn new(client: &Client, args: &Run) -> Result<Self, Failure> {
        let mut lock = client.lock(&args.name)?;
        let view = lock.clone();
        lock = args.at_least.into_iter().fold(lock, Lock::at_least);
        lock = args.max_hold.into_iter().fold(lock, Lock::max_hold);
        let what = if args.leader { What::Leader(client.election(&args.name)?) } else { What::Lock(lock) };
        let patience = match args.wait {
            _ if args.no_wait => Patience::None,
            Some(limit) => Patience::Limited(limit),
            None => Patience::Endless,
        };
        Ok(Self { what, view, identity: client.identity().to_owned(), patience })
    }

    /// Says which entry of the queue is this process's.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Gets the hold, or says why not. Dropping this leaves the queue.
    pub(super) async fn acquire(&self) -> Result<Hold, Refusal> {
        let name = self.view.name();
        match (&self.what, self.patience) {
            (What::Lock(lock), Patience::None) => match lock.try_acquire().await? {
                Some(guard) => Ok(Hold::Lock(guard)),
                None => Err(Refusal::Busy(format!("lock {name} is held by {}", self.holder().await))),
            },
            (_, Patience::Limited(limit)) => match within(limit, self.wait()).await {
                Some(hold) => hold,
                None => Err(Refusal::Busy(format!(
                    "lock {name} was not free within {limit:?}, held by {}",
                    self.holder().await
                ))),
            },
            _ => self.wait().await,
        }
    }

    async fn wait(&self) -> Result<Hold, Refusal> {
        match &self.what {
            What::Lock(lock) => Ok(Hold::Lock(lock.acquire().await?)),
            What::Leader(election) => Ok(Hold::Leader(election.campaign().await?)),
        }
    }

    async fn holder(&self) -> String {
        let owner = |seen: Snapshot| seen.record.engine.owner().to_owned();
        self.view.newest().await.map(owner).filter(|owner| !owner.is_empty()).unwrap_or_else(|| "another".to_owned())
    }
}

// === impl Hold ===

impl Hold {
    pub(super) fn token(&self) -> FencingToken {
        match self {
            Self::Lock(guard) => guard.token(),
            Self::Leader(term) => term.token(),
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Lock(guard) => guard.check(),
            Self::Leader(term) => term.check(),
        }
    }

    /// Until when it is held, if no further renewal succeeds; past when it is lost.
    pub(super) fn until(&self) -> Moment {
        // The clock first: what passes between both makes the answer earlier, never later.
        let now = BootClock.now();
        match self {
            Self::Lock(guard) => now + guard.remaining(),
            Self::Leader(term) => now + term.remaining(),
        }
    }

    pub(super) async fn lost(&self) -> LossReason {
        match self {
            Self::Lock(guard) => guard.lost().await,
            Self::Leader(term) => term.lost().await,
        }
    }

    pub(super) async fn release(self) -> Result<(), Error> {
        match self {
            Self::Lock(guard) => guard.release().await,
            Self::Leader(term) => term.resign().await,
        }
    }
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn into_failure(self, args: &Run) -> Failure {
        match self {
            Self::Busy(message) => Failure::new(args.busy_code, message),
            Self::Error(error) if error.is_busy() => Failure::from(error).with_code(args.busy_code),
            Self::Error(error) => error.into(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

//! A candidacy in the background: for replicas that are warm all the time, of which only the leader writes.
//!
//! One task campaigns, again after each loss and failure, until the candidate is dropped or its client shut down. Who asks
//! never waits: it looks at what the task has published and compares the clock itself. A term that has ended is let go once
//! nothing runs under it any more (promise S7).

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::failing::Failing;
use crate::{Election, Error, FencingToken, Leadership, Lease, LockName, lock::log_release, runtime};

/// How long a process waits to learn whether it leads before it takes itself for a follower.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// A candidacy that goes on in the background, and whether it leads; from [`Election::candidate`]. Dropping the last clone
/// resigns.
#[derive(Clone)]
#[must_use = "the candidacy ends as soon as it is dropped; `let _ =` drops it at once"]
pub struct Candidate {
    campaign: Arc<Campaign>,
    standing: watch::Receiver<Standing>,
    /// The term that [`changed`](Candidate::changed) has told of last.
    told: Option<FencingToken>,
}

/// A running campaign; it ends with this.
struct Campaign {
    name: LockName,
    /// Keeps the client alive; none of a stage.
    _election: Option<Election>,
    end: CancellationToken,
    _ends: DropGuard,
}

/// Where this process stands in one election.
#[derive(Clone)]
pub(crate) enum Standing {
    /// It cannot be told yet.
    Unknown,
    /// Another process leads, or nobody.
    Following,
    /// This process leads.
    Leading(Term),
    /// The campaign failed, and will be tried again unless its client was shut down.
    Failed(Error),
}

/// A running term, for one body. The leadership is kept until all of these are gone.
#[derive(Clone)]
pub(crate) struct Term {
    pub(crate) lease: Lease,
    _running: mpsc::Sender<()>,
}

// === impl Election: candidacy ===

impl Election {
    /// Campaigns in the background from now on, and can be asked at any time whether this process leads: for services of
    /// which every replica is warm and only the leader writes.
    ///
    /// It campaigns again after each loss, and after failures, which it logs, until the [`Candidate`] is dropped or the
    /// client is shut down. During an outage it stops leading at the deadline, like everybody.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// # async fn write(token: msync::FencingToken) {}
    /// let mut candidate = client.election("writer")?.candidate();
    /// candidate.changed().await?; // this process has come to lead
    ///
    /// if let Some(term) = candidate.term() {
    ///     write(term.token()).await; // only the leader writes, and the store refuses older tokens
    /// }
    /// candidate.resign().await?;
    /// # Ok(()) }
    /// ```
    pub fn candidate(&self) -> Candidate {
        let end = CancellationToken::new();
        let (publish, standing) = watch::channel(Standing::Unknown);
        runtime::spawn(self.home(), campaign(self.of_task(), publish, end.clone()));
        Candidate::new(self.name().clone(), Some(self.clone()), standing, end)
    }
}

// === impl Candidate ===

impl Candidate {
    /// Makes one of a campaign that publishes where it stands, and that ends with `end`.
    pub(crate) fn new(
        name: LockName,
        election: Option<Election>,
        standing: watch::Receiver<Standing>,
        end: CancellationToken,
    ) -> Self {
        let campaign = Campaign { name, _election: election, end: end.clone(), _ends: end.drop_guard() };
        Self { campaign: Arc::new(campaign), standing, told: None }
    }

    /// Returns the name of the election.
    pub fn name(&self) -> &LockName {
        &self.campaign.name
    }

    /// Says whether this process leads now. Costs one look at the clock.
    ///
    /// As with [`LockGuard::check`](crate::LockGuard::check), that is a statement about now, not about the next moment.
    ///
    /// # Examples
    /// ```
    /// # fn write() {}
    /// /// Answers 503 where another process leads.
    /// fn handle(candidate: &msync::Candidate) -> u16 {
    ///     if !candidate.is_leading() {
    ///         return 503;
    ///     }
    ///     write();
    ///     200
    /// }
    /// ```
    pub fn is_leading(&self) -> bool {
        self.term().is_some()
    }

    /// Returns the running term if this process leads: for its fencing token, and to learn of its end.
    pub fn term(&self) -> Option<Lease> {
        match &*self.standing.borrow() {
            Standing::Leading(term) => Some(term.lease.clone()).filter(|lease| lease.check().is_ok()),
            Standing::Unknown | Standing::Following | Standing::Failed(_) => None,
        }
    }

    /// Returns why the last campaign failed, until one goes on: the store's error, or [`Error::ShutDown`].
    pub fn fault(&self) -> Option<Error> {
        match &*self.standing.borrow() {
            Standing::Failed(error) => Some(error.clone()),
            Standing::Unknown | Standing::Following | Standing::Leading(_) => None,
        }
    }

    /// Completes when what [`term`](Self::term) says has changed since this was told last; at first, when this process
    /// leads. Each clone is told by itself. A term that came and went meanwhile is not told of.
    ///
    /// # Errors
    /// [`Error::ShutDown`] when nothing will change any more: the client was shut down, or a clone has
    /// [resigned](Self::resign).
    ///
    /// # Cancel safety
    /// Dropping the future loses no change.
    pub async fn changed(&mut self) -> Result<(), Error> {
        loop {
            self.standing.mark_unchanged();
            let term = self.term();
            let token = term.as_ref().map(Lease::token);
            if token != self.told {
                self.told = token;
                return Ok(());
            }
            let lost = async {
                match term {
                    Some(term) => term.lost().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.standing.changed() => changed.map_err(|_| Error::ShutDown)?,
                _ = lost => {}
            }
        }
    }

    /// Ends the candidacy, for all clones, and waits until others may lead.
    ///
    /// # Errors
    /// [`Error::Store`] when the resignation could not be made known: others then wait for the ttl.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the resignation, only the waiting for it.
    pub async fn resign(mut self) -> Result<(), Error> {
        self.campaign.end.cancel();
        while self.standing.changed().await.is_ok() {}
        match &*self.standing.borrow() {
            Standing::Failed(error) if !error.is_shut_down() => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate").field("name", self.name()).field("term", &self.term()).finish_non_exhaustive()
    }
}

// === impl Term ===

impl Term {
    pub(crate) fn new(lease: Lease, running: mpsc::Sender<()>) -> Self {
        Self { lease, _running: running }
    }
}

/// Campaigns until `end`, or until the client is shut down. The standing that it leaves says how it ended.
pub(crate) async fn campaign(election: Election, standing: watch::Sender<Standing>, end: CancellationToken) {
    let mut failing = Failing::default();
    loop {
        let term = tokio::select! {
            biased;
            () = end.cancelled() => return,
            term = elected(&election, &standing) => term,
        };
        let ended = match term {
            Ok(leadership) => {
                failing.over();
                lead(leadership, &standing, &end).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { continue };
        let is_over = error.is_shut_down() || end.is_cancelled();
        if !is_over && failing.is_told(&error) {
            tracing::warn!(lock = %election.name(), %error, "the campaign failed and is tried again");
        }
        standing.send_replace(Standing::Failed(error));
        if is_over {
            return;
        }
        tokio::select! {
            () = end.cancelled() => {}
            () = election.pause_after_failure() => {}
        }
        standing.send_replace(Standing::Unknown);
    }
}

async fn elected(election: &Election, standing: &watch::Sender<Standing>) -> Result<Leadership, Error> {
    let mut winning = pin!(election.campaign());
    tokio::select! {
        won = &mut winning => won,
        () = election.pause(FIRST_ANSWER) => {
            standing.send_replace(Standing::Following);
            winning.await
        }
    }
}

// One term: kept until it is lost or `end` comes, and nothing runs under it: giving it back is the last thing.
async fn lead(
    leadership: Leadership,
    standing: &watch::Sender<Standing>,
    end: &CancellationToken,
) -> Result<(), Error> {
    let (running, mut all_ended) = mpsc::channel(1);
    standing.send_replace(Standing::Leading(Term::new(leadership.lease(), running)));
    tokio::select! {
        _ = leadership.lost() => {}
        () = end.cancelled() => {}
    }
    standing.send_replace(Standing::Following);
    all_ended.recv().await;
    if end.is_cancelled() {
        return leadership.resign().await;
    }
    log_release(leadership.resign().await);
    Ok(())
}

//! Elections: this sidecar campaigns on behalf of its pod, and leads only while somebody asks who leads.
//!
//! To ask is a client's heartbeat. One that hangs loses its place when it has not asked for [`TTL`], as it would lose a
//! lock; one that never asks does not campaign. A client is told that its pod leads only while our own deadline leaves it
//! time to learn of a loss at its next question. A sidecar that is about to end first tells its client so, and then steps
//! down.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::lease::{Beat, TTL};
use super::{Backend, Hold, NAP, Sessions};
use crate::api::{Grant, Inquiry, Led, ListedElection, Name, Outcome, Version};
use crate::clock::Moment;
use crate::sparse::Sparse;

/// After a campaign that failed.
const PAUSE: Duration = Duration::from_secs(1);

static FAILED: Sparse = Sparse::new();

/// The elections of one sidecar, fixed at its start.
pub(super) type Elections<H> = BTreeMap<Name, Arc<Election<H>>>;

/// One election.
pub(super) struct Election<H> {
    name: Name,
    state: Mutex<State<H>>,
    shown: watch::Sender<Shown>,
    asked: Notify,
}

struct State<H> {
    /// When somebody asked last.
    asked: Option<Moment>,
    hold: Option<Arc<H>>,
    /// Whom the records show.
    seen: Option<String>,
    /// The client has been told that this pod leads no longer, since the sidecar ends.
    told: bool,
}

/// What is told of an election.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    leader: String,
    since: Timestamp,
    number: u64,
}

impl<H: Hold> Election<H> {
    pub(super) fn new(name: Name, now: Moment) -> Self {
        let state = State { asked: None, hold: None, seen: None, told: false };
        let shown = Shown { leader: String::new(), since: now.wall, number: 1 };
        Self { name, state: Mutex::new(state), shown: watch::Sender::new(shown), asked: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leads(&self) -> bool {
        self.state().hold.is_some()
    }

    /// Makes whoever looks after it look again.
    pub(super) fn wake(&self) {
        self.asked.notify_one();
    }

    /// Looks again at who leads, and tells those who wait if that is news.
    fn refresh(&self, owner: &str, draining: bool, now: Moment) {
        let leader = self.state().leader(owner, draining);
        self.shown.send_if_modified(|shown| {
            let news = shown.leader != leader;
            if news {
                *shown = Shown { leader, since: now.wall, number: shown.number + 1 };
            }
            news
        });
    }
}

impl<H: Hold> State<H> {
    fn leader(&self, owner: &str, draining: bool) -> String {
        if let Some(hold) = &self.hold {
            let sure = Beat::judge(hold.remaining()) == Beat::Good && !draining;
            return if sure { owner.to_owned() } else { String::new() };
        }
        // A record that still names this owner is of a term that is over, or about to begin.
        self.seen.clone().filter(|seen| seen != owner).unwrap_or_default()
    }

    /// For how long this pod may still take part without another question.
    fn left(&self, now: Moment) -> Duration {
        self.asked.map_or(Duration::ZERO, |asked| (asked.since_boot + TTL).saturating_sub(now.since_boot))
    }
}

impl<B: Backend> Sessions<B> {
    /// Takes part in these elections, for as long as the sidecar runs. Must be called within a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the future ends the candidacies, and steps down.
    pub(super) async fn elect(self) {
        let all = self.0.elections.values().map(|election| {
            let leaders = self.0.backend.leaders(&election.name);
            let (watching, taking_part) = (self.clone(), self.clone());
            async move { tokio::join!(watching.observe(election, leaders), taking_part.take_part(election)) }
        });
        futures::future::join_all(all).await;
    }

    /// Who leads, at once or after a change.
    pub(super) async fn leader(&self, inquiry: &Inquiry) -> Outcome {
        let Some(election) = self.0.elections.get(&inquiry.name) else { return Outcome::NoElection };
        if inquiry.asks {
            election.state().asked = Some(self.now());
            election.asked.notify_one();
        }
        self.refresh(election);
        if let Some((version, wait)) = inquiry.seen {
            let mut shown = election.shown.subscribe();
            let newest = shown.borrow().number;
            if version.run != self.0.run || version.number > newest {
                return Outcome::Stale;
            }
            let news = shown.wait_for(|shown| shown.number != version.number);
            // However it ends, what is shown then is the answer.
            tokio::select! {
                _ = news => {}
                () = sleep(wait) => {}
                () = self.0.draining.cancelled() => self.refresh(election),
            }
        }
        let led = self.led(election);
        if self.0.draining.is_cancelled() {
            election.state().told = true;
            election.wake();
        }
        Outcome::Leader(led)
    }

    /// What is told, with what this sidecar has if it leads.
    fn led(&self, election: &Election<B::Hold>) -> Led {
        let now = self.now();
        let shown = election.shown.borrow().clone();
        let state = election.state();
        let mine = state.hold.as_ref().filter(|_| shown.leader == self.0.identity.owner);
        let grant = mine.map(|hold| Grant { token: hold.token(), remaining: hold.remaining().min(state.left(now)) });
        let version = Version { run: self.0.run, number: shown.number };
        Led { leader: shown.leader, since: shown.since, grant, version }
    }

    /// Whether this sidecar leads the election, so that a question about it is a heartbeat.
    pub(super) fn leads(&self, name: &Name) -> bool {
        self.0.elections.get(name).is_some_and(|election| election.leads())
    }

    /// Whether this sidecar leads anything.
    pub(super) fn leads_any(&self) -> bool {
        self.0.elections.values().any(|election| election.leads())
    }

    pub(super) fn listed_elections(&self) -> Vec<ListedElection> {
        let now = self.now();
        let listed = |election: &Arc<Election<B::Hold>>| {
            self.refresh(election);
            let led = self.led(election);
            let asked = election.state().asked.map(|asked| now.since_boot.saturating_sub(asked.since_boot));
            ListedElection::new(&election.name, led, asked)
        };
        self.0.elections.values().map(listed).collect()
    }

    fn refresh(&self, election: &Election<B::Hold>) {
        election.refresh(&self.0.identity.owner, self.0.draining.is_cancelled(), self.now());
    }

    async fn observe(&self, election: &Election<B::Hold>, leaders: impl Stream<Item = Option<String>>) {
        let mut leaders = pin!(leaders);
        while let Some(seen) = leaders.next().await {
            election.state().seen = seen;
            self.refresh(election);
        }
    }

    async fn take_part(&self, election: &Election<B::Hold>) {
        loop {
            while self.silent(election) || self.0.draining.is_cancelled() {
                election.asked.notified().await;
            }
            let won = tokio::select! {
                won = self.0.backend.campaign(&election.name) => won,
                () = self.silence(election) => continue,
                () = self.0.draining.cancelled() => continue,
            };
            match won {
                Ok(hold) => self.lead(election, Arc::new(hold)).await,
                Err(trouble) => {
                    if let Some(unsaid) = FAILED.say() {
                        tracing::warn!(election = %election.name, error = %trouble.0, unsaid, "could not campaign");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Leads until the leadership is lost, its client is silent, or the sidecar ends and its client knows.
    async fn lead(&self, election: &Election<B::Hold>, hold: Arc<B::Hold>) {
        election.state().hold = Some(Arc::clone(&hold));
        self.refresh(election);
        tracing::info!(election = %election.name, token = hold.token(), "this pod leads");
        let why = loop {
            if hold.remaining().is_zero() {
                break "it was lost";
            }
            if self.silent(election) {
                break "its client no longer asks";
            }
            if election.state().told {
                break "the sidecar is about to end";
            }
            let left = election.state().left(self.now());
            tokio::select! {
                () = sleep(left.min(NAP)) => {}
                () = election.asked.notified() => {}
            }
            self.refresh(election);
        };
        tracing::info!(election = %election.name, why, "this pod leads no longer");
        election.state().hold = None;
        self.refresh(election);
        if let Err(trouble) = hold.release().await {
            tracing::debug!(election = %election.name, error = %trouble.0, "others may have to wait for its ttl");
        }
    }

    fn silent(&self, election: &Election<B::Hold>) -> bool {
        election.state().left(self.now()).is_zero()
    }

    /// Completes when nobody has asked for too long.
    async fn silence(&self, election: &Election<B::Hold>) {
        while !self.silent(election) {
            let left = election.state().left(self.now());
            sleep(left.min(NAP)).await;
        }
    }
}

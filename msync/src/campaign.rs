//! Background campaigns of `#[leader_only]`: one per client and name, begun by the first call.
//!
//! A campaign goes on, through losses and failures, until the client is shut down or its last handle is gone: it keeps no
//! client alive. Where it lives on a caller's runtime, it ends with that, too, and the next call begins it again. Never
//! resigns by itself: a leader stays one between calls. A term that has ended is let go once every body under it has been
//! dropped (promise S7).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::{Client, Election, Error, Lease, LockName, runtime};

/// How long the first calls wait to learn whether this process leads, before they take it for a follower.
const FIRST_ANSWER: Duration = Duration::from_secs(1);
/// How long a campaign that failed pauses before it goes on.
const PAUSE: Duration = Duration::from_secs(5);

/// The campaigns of this process, by the client's identity and the election's name.
static CAMPAIGNS: Mutex<BTreeMap<(String, String), watch::Receiver<Standing>>> = Mutex::new(BTreeMap::new());

/// Where this process stands in one election.
#[derive(Clone)]
enum Standing {
    Unknown,
    Following,
    Leading(Term),
    Failed(Error),
}

/// A running term, for one body. The leadership is kept until all of these are gone.
#[derive(Clone)]
pub(crate) struct Term {
    pub(crate) lease: Lease,
    _running: mpsc::Sender<()>,
}

/// Returns the running term; `None` says that another process leads.
///
/// With `wait` it waits until this process leads. Either way the campaign is begun if it does not run.
pub(crate) async fn term(client: &Client, name: &LockName, wait: bool) -> Result<Option<Term>, Error> {
    let mut standing = join(client, name);
    loop {
        match standing.borrow_and_update().clone() {
            Standing::Leading(term) if term.lease.check().is_ok() => return Ok(Some(term)),
            Standing::Failed(error) => return Err(error),
            Standing::Following | Standing::Leading(_) if !wait => return Ok(None),
            Standing::Unknown | Standing::Following | Standing::Leading(_) => {}
        }
        if standing.changed().await.is_err() {
            return Err(Error::ShutDown);
        }
    }
}

fn join(client: &Client, name: &LockName) -> watch::Receiver<Standing> {
    let key = (client.identity().to_owned(), name.to_string());
    let mut campaigns = CAMPAIGNS.lock().unwrap_or_else(PoisonError::into_inner);
    // One whose runtime has ended has dropped its sender.
    if let Some(running) = campaigns.get(&key).filter(|running| running.has_changed().is_ok()) {
        return running.clone();
    }
    let election = client.election_of_task(name.clone());
    let (sender, standing) = watch::channel(Standing::Unknown);
    campaigns.insert(key.clone(), standing.clone());
    runtime::spawn(election.home(), campaign(election, sender, key));
    standing
}

async fn campaign(election: Election, standing: watch::Sender<Standing>, key: (String, String)) {
    loop {
        match next_term(&election, &standing).await {
            Ok(()) => {}
            Err(Error::ShutDown) => break,
            Err(error) => {
                tracing::warn!(election = key.1, %error, "the campaign failed and goes on in {PAUSE:?}");
                standing.send_replace(Standing::Failed(error));
                election.pause(PAUSE).await;
                standing.send_replace(Standing::Unknown);
            }
        }
    }
    CAMPAIGNS.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
}

// One campaign and one term. The leadership is kept until it is lost and nothing runs under it: dropping it would resign.
async fn next_term(election: &Election, standing: &watch::Sender<Standing>) -> Result<(), Error> {
    let mut winning = std::pin::pin!(election.campaign());
    let leadership = tokio::select! {
        won = &mut winning => won?,
        () = election.pause(FIRST_ANSWER) => {
            standing.send_replace(Standing::Following);
            winning.await?
        }
    };
    let (running, mut all_ended) = mpsc::channel(1);
    standing.send_replace(Standing::Leading(Term { lease: leadership.lease().clone(), _running: running }));
    leadership.lost().await;
    standing.send_replace(Standing::Following);
    all_ended.recv().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, clock::TokioClock};

    async fn lease(client: &Client, name: &str, wait: bool) -> Result<Option<Lease>, Error> {
        Ok(term(client, &LockName::new(name)?, wait).await?.map(|term| term.lease))
    }

    fn client(store: &MemoryStore) -> Client {
        Client::builder().memory(store).clock(TokioClock::default()).build()
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_the_other_follows_until_the_first_is_gone() {
        let store = MemoryStore::new();
        let (first, second) = (client(&store), client(&store));
        assert!(lease(&first, "job", false).await.unwrap().is_some());
        assert!(lease(&second, "job", false).await.unwrap().is_none());
        let waiting = tokio::spawn(async move { lease(&second, "job", true).await.unwrap().is_some() });
        first.shutdown().await;
        store.remove(&LockName::new("job").unwrap());
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_lost_leads_again() {
        let store = MemoryStore::new();
        let client = client(&store);
        let first = lease(&client, "job", true).await.unwrap().unwrap();
        store.remove(&LockName::new("job").unwrap());
        first.lost().await;
        let second = lease(&client, "job", true).await.unwrap().unwrap();
        assert!(first.check().is_err() && second.check().is_ok());
        assert!(second.token() > first.token());
    }

    #[tokio::test(start_paused = true)]
    async fn a_campaign_ends_with_the_last_handle_of_its_client() {
        let store = MemoryStore::new();
        let (first, second) = (client(&store), client(&store));
        let led = lease(&first, "job", false).await.unwrap().unwrap();
        let another = first.clone();
        drop(first);
        second.election("job").unwrap().pause(Duration::from_secs(60)).await;
        led.check().expect("one handle is left");
        drop(another);
        assert!(lease(&second, "job", true).await.unwrap().is_some());
        assert!(led.check().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn after_shutdown_nobody_campaigns() {
        let client = client(&MemoryStore::new());
        client.shutdown().await;
        assert!(matches!(lease(&client, "job", true).await, Err(Error::ShutDown)));
    }
}

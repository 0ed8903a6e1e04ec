//! The candidacies that `#[leader_only]` and [`leader_loop`](crate::Client::leader_loop) stand on: one per client and name, begun by
//! the first call.
//!
//! One goes on, through losses and failures, until the client is shut down or its last handle is gone: it keeps no client
//! alive. Where it lives on a caller's runtime, it ends with that, too, and the next call begins it again. Never resigns by
//! itself: a leader stays one between calls.

use std::{
    collections::BTreeMap,
    slice::from_ref,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::candidate::{Standing, Term, campaign};
use crate::{
    Client, Error, Lease, LockName, Timing,
    held::{OnLost, Stopped, held},
    runtime,
};

/// The identity of a client and the name of an election.
type Key = (String, String);

/// The campaigns of this process.
static CAMPAIGNS: Mutex<BTreeMap<Key, watch::Receiver<Standing>>> = Mutex::new(BTreeMap::new());

/// Returns the running term; `None` says that another process leads.
///
/// With `wait` it waits until this process leads. Either way the campaign is begun if it does not run, with this timing.
pub(crate) async fn term(
    client: &Client,
    name: &LockName,
    label: Option<&'static str>,
    timing: Option<Timing>,
    wait: bool,
) -> Result<Option<Term>, Error> {
    let mut standing = join(client, name, label, timing);
    loop {
        let stands = standing.borrow_and_update().clone();
        match stands {
            Standing::Leading(term) if term.lease.check().is_ok() => return Ok(Some(term)),
            Standing::Failed(error) => return Err(error),
            // Whoever sees no leader for the store cannot be used is no follower.
            Standing::Following if !wait => return client.cannot_campaign(name).await.map_or(Ok(None), Err),
            Standing::Leading(_) if !wait => return Ok(None),
            Standing::Unknown | Standing::Following | Standing::Leading(_) => {}
        }
        if standing.changed().await.is_err() {
            return Err(Error::ShutDown);
        }
    }
}

/// Waits until this process leads, with the client's timing, and runs a body under the term.
///
/// The body is dropped when the term is lost, and in any case before this lets go of the term (promise S7).
pub(super) async fn run<F, Fut>(client: &Client, name: &LockName, body: F) -> Result<Fut::Output, Error>
where
    F: FnOnce(Lease) -> Fut,
    Fut: Future,
{
    let term = term(client, name, None, None, true).await?.expect("it waits until this process leads");
    let ended = held(from_ref(&term.lease), OnLost::Cancel, || body(term.lease.clone())).await;
    drop(term);
    ended.map_err(Stopped::into_error)
}

fn join(
    client: &Client,
    name: &LockName,
    label: Option<&'static str>,
    timing: Option<Timing>,
) -> watch::Receiver<Standing> {
    let key = (client.identity().to_owned(), name.to_string());
    let mut campaigns = CAMPAIGNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = campaigns.get(&key).filter(|running| runs(running)) {
        return running.clone();
    }
    let mut election = client.election_of_task(name.clone()).label_fixed(label);
    if let Some(timing) = timing {
        election = election.timing(timing);
    }
    let (sender, standing) = watch::channel(Standing::Unknown);
    campaigns.insert(key.clone(), standing.clone());
    runtime::spawn(election.home(), async move {
        campaign(election, sender, CancellationToken::new()).await;
        forget(&key);
    });
    standing
}

/// One whose runtime has ended has dropped its sender.
fn runs(standing: &watch::Receiver<Standing>) -> bool {
    standing.has_changed().is_ok()
}

fn forget(key: &Key) {
    let mut campaigns = CAMPAIGNS.lock().unwrap_or_else(PoisonError::into_inner);
    if campaigns.get(key).is_some_and(|standing| !runs(standing)) {
        campaigns.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{MemoryStore, clock::TokioClock};

    async fn lease(client: &Client, name: &str, wait: bool) -> Result<Option<Lease>, Error> {
        Ok(term(client, &LockName::new(name)?, None, None, wait).await?.map(|term| term.lease))
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
        store.delete("job");
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_lost_leads_again() {
        let store = MemoryStore::new();
        let client = client(&store);
        let first = lease(&client, "job", true).await.unwrap().unwrap();
        store.delete("job");
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
        tokio::select! {
            next = lease(&second, "job", true) => assert!(next.unwrap().is_some()),
            () = second.election("job").unwrap().pause(Duration::from_secs(60)) => panic!("the first leads on"),
        }
        assert!(led.check().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn after_shutdown_nobody_campaigns() {
        let client = client(&MemoryStore::new());
        client.shutdown().await;
        assert!(matches!(lease(&client, "job", true).await, Err(Error::ShutDown)));
    }
}

//! The client of the macros that name none: the one given to [`init`], else one made from the environment on first use.
//!
//! A start that failed is not remembered: the next call tries again. Never torn down by itself, not at the end of `main`
//! either: call [`shutdown`].

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use crate::{Client, Error, Lease, MemoryStore};

/// Chooses the store of the default client: `memory`, `kube` or `leases`.
const STORE: &str = "MSYNC_STORE";

static DEFAULT: RwLock<Option<Client>> = RwLock::new(None);
static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[derive(Debug, thiserror::Error)]
enum NoClient {
    #[cfg(feature = "kube")]
    #[error(
        "call msync::init(client) first, or set MSYNC_STORE=memory for a store inside this process, \
         or run where a kube config or a service account is ({0})"
    )]
    Cluster(Error),
    #[cfg(not(feature = "kube"))]
    #[error("call msync::init(client) first, or set MSYNC_STORE=memory; msync was built without its feature `kube`")]
    WithoutKube,
    #[error("MSYNC_STORE is {0:?}; it may be `memory`, `kube` or `leases`")]
    UnknownStore(String),
}

/// Gives the macros their client.
///
/// Without it, the first call of an annotated function makes one from the environment: `MSYNC_STORE=memory` keeps the
/// locks inside the process, `MSYNC_STORE=kube` or nothing takes the kube config or the service account, and
/// `MSYNC_STORE=leases` keeps them in [Leases](crate::ClientBuilder::leases) there. Functions with
/// `via = …` use the client they name.
///
/// A second call replaces the client for all calls that begin later; what runs keeps the client it began with. If nothing
/// else has the one before, this is its end: its `#[leader_only]` campaigns resign, and what it held is released.
///
/// # Examples
/// ```
/// # async fn main_() {
/// let store = msync::MemoryStore::new();
/// let client = msync::Client::builder().memory(&store).build();
/// msync::init(client);
/// // … the service runs …
/// msync::shutdown().await;
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(main_());
/// ```
pub fn init(client: Client) {
    let before = DEFAULT.write().unwrap_or_else(PoisonError::into_inner).replace(client);
    drop(before); // not under the lock: the end of a client may take a moment
}

/// [Shuts down](Client::shutdown) the client of the macros, the one of [`init`] or the one that the first call made: call it
/// at the end of `main`, or what leads, and what `at_least` keeps, is left to its ttl. Annotated functions then fail with
/// [`Error::ShutDown`], until another [`init`]. Does nothing where there is no such client.
///
/// # Cancel safety
/// As [`Client::shutdown`].
///
/// # Examples
/// ```no_run
/// #[msync::leader_only("sweeper", on_follower = skip)]
/// async fn sweep() {}
///
/// # async fn main_() {
/// sweep().await;
/// msync::shutdown().await; // another process leads at once
/// # }
/// ```
pub async fn shutdown() {
    let client = current().clone();
    if let Some(client) = client {
        client.shutdown().await;
    }
}

/// Runs `body` every `every` while this process leads the election `name`, with the default client.
///
/// It campaigns until this process leads, then runs the body at once and after that every `every`, counted from the
/// beginning of one run to the beginning of the next; a run that takes longer delays the next. When leadership is lost the
/// body is dropped at its next await and the campaign goes on; when it is regained the body runs again. The body gets the
/// term's [`Lease`], for its fencing token.
///
/// It is the loop to [`leader_only`](crate::leader_only)'s single call.
///
/// # Errors
/// [`Error::ShutDown`] as soon as the client is shut down: the orderly end of the loop, which
/// [`Error::is_shut_down`] tells from others. At once when no client can be made, when the name is empty, or
/// ([`Error::InvalidTiming`]) when `every` is shorter than a millisecond. Failures of a campaign are logged and it is tried
/// again.
///
/// # Cancel safety
/// Dropping the future ends the body; the campaign stays in the background, as with `#[leader_only]`.
///
/// # Examples
/// ```no_run
/// # use std::time::Duration;
/// # async fn sweep(token: msync::FencingToken) {}
/// tokio::spawn(msync::leader_loop("sweeper", Duration::from_secs(60), |term| async move {
///     sweep(term.token()).await;
/// }));
/// ```
pub async fn leader_loop<F, Fut>(name: &str, every: Duration, body: F) -> Result<(), Error>
where
    F: FnMut(Lease) -> Fut,
    Fut: Future<Output = ()>,
{
    let client = with_default_client(|client| Ok(client.clone())).await?;
    client.leader_loop(name, every, body).await
}

/// Makes something of the default client, starting it if there is none.
pub(crate) async fn with_default_client<T>(make: impl FnOnce(&Client) -> Result<T, Error>) -> Result<T, Error> {
    if let Some(client) = current().as_ref() {
        return make(client);
    }
    // Boxed: it happens once, and would make the future of every call several times as large.
    Box::pin(start_once()).await?;
    make(current().as_ref().expect("a default client is replaced and never taken away"))
}

async fn start_once() -> Result<(), Error> {
    let _one_at_a_time = STARTING.lock().await;
    if current().is_some() {
        return Ok(());
    }
    init(start(std::env::var(STORE).ok().as_deref()).await?);
    Ok(())
}

fn current() -> RwLockReadGuard<'static, Option<Client>> {
    DEFAULT.read().unwrap_or_else(PoisonError::into_inner)
}

async fn start(store: Option<&str>) -> Result<Client, Error> {
    match store.unwrap_or_default() {
        "memory" => Ok(Client::builder().memory(&MemoryStore::new()).build()),
        "kube" | "" => cluster(false).await,
        "leases" => cluster(true).await,
        other => Err(no_client(NoClient::UnknownStore(other.to_owned()))),
    }
}

#[cfg(feature = "kube")]
async fn cluster(leases: bool) -> Result<Client, Error> {
    let builder = if leases { Client::builder().leases() } else { Client::builder() };
    builder.try_default().await.map_err(|error| no_client(NoClient::Cluster(error)))
}

#[cfg(not(feature = "kube"))]
fn cluster(_: bool) -> std::future::Ready<Result<Client, Error>> {
    std::future::ready(Err(no_client(NoClient::WithoutKube)))
}

fn no_client(why: NoClient) -> Error {
    Error::Store { context: "no default client".to_owned(), cause: Arc::new(why) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LockName, clock::TokioClock, election::campaigns::term};

    fn client(store: &MemoryStore, owner: &str) -> Client {
        Client::builder().owner(owner).clock(TokioClock::default()).memory(store).build()
    }

    /// Asks the default client, waiting until it leads, who does.
    async fn leader() -> Result<String, Error> {
        let client = with_default_client(|client| Ok(client.clone())).await?;
        let term = term(&client, &LockName::new("job")?, None, true).await?;
        term.expect("it waits").lease.check()?;
        Ok(client.owner().to_owned())
    }

    /// The one test that sets the client of the whole process.
    #[tokio::test(start_paused = true)]
    async fn who_is_replaced_or_shut_down_leads_no_more() {
        let store = MemoryStore::new();
        shutdown().await;
        for owner in ["early", "late"] {
            init(client(&store, owner));
            assert_eq!(leader().await.unwrap(), owner);
        }
        shutdown().await;
        assert!(matches!(leader().await, Err(Error::ShutDown)));
        let record = store.snapshot(&LockName::new("job").unwrap()).unwrap().record;
        assert!(record.is_free(), "{record:?}");
    }

    #[tokio::test]
    async fn the_environment_chooses_the_store() {
        assert!(start(Some("memory")).await.is_ok());
        let unknown = start(Some("redis")).await.expect_err("no such store").to_string();
        assert_eq!(unknown, "no default client: MSYNC_STORE is \"redis\"; it may be `memory`, `kube` or `leases`");
    }

    #[cfg(not(feature = "kube"))]
    #[tokio::test]
    async fn without_a_cluster_the_error_says_what_to_do() {
        let error = start(None).await.expect_err("no cluster").to_string();
        assert!(error.contains("msync::init(client)") && error.contains("MSYNC_STORE=memory"), "{error}");
    }
}

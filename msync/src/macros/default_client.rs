//! The client of the macros that name none: the one given to [`init`], else one made from the environment on first use.
//!
//! A start that failed is not remembered: the next call tries again. Never torn down by itself, not at the end of `main`
//! either: call [`shutdown`]. Never takes locks in a cluster that nobody has chosen; see [`choice`].

pub(crate) mod choice;
pub(crate) mod local;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use self::choice::{Choice, NoChoice};
use crate::{Client, ClientBuilder, Error, Lease, MemoryStore, clock};

static DEFAULT: RwLock<Option<Current>> = RwLock::new(None);
static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The default client of the process.
#[derive(Clone)]
struct Current {
    client: Client,
    /// The environment has asked for a store in memory: it is nobody's by name, and paused runtimes have their own.
    of_environment: bool,
}

#[derive(Debug, thiserror::Error)]
enum NoClient {
    #[error(
        "outside of a pod the locks would be those of whatever cluster the kubeconfig points at: set MSYNC_STORE=kube if that \
         is meant, or MSYNC_STORE=memory for a store inside this process, or call msync::init(client) first"
    )]
    NobodyChose,
    #[error(
        "call msync::init(client) first, or set MSYNC_STORE=memory for a store inside this process, \
         or run where a kube config or a service account is ({0})"
    )]
    Cluster(Error),
    #[error("MSYNC_STORE is {0:?}; it may be {names}", names = Choice::NAMES)]
    UnknownStore(String),
}

/// Gives the macros their client.
///
/// Without it, the first call of an annotated function makes one from the environment:
///
/// | `MSYNC_STORE` | the locks are |
/// |---|---|
/// | `kube` | in the cluster of the kubeconfig or of the pod's service account |
/// | `leases` | there as well, in [Leases](crate::ClientBuilder::leases) |
/// | `memory` | inside this process; where tokio's clock is paused, inside this runtime, and on that clock |
/// | not set, in a pod | as `kube` |
/// | not set, elsewhere | nowhere: the call fails with [`Error::Store`], so that no unit test takes locks in production |
///
/// Which cluster it is, the log says once: context, server and namespace. Functions with `via = …` use the client they name.
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
    replace(Current { client, of_environment: false });
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
    let client = running();
    if let Some(client) = client {
        client.shutdown().await;
    }
}

/// Runs `body` every `every` while this process leads the election `name`, with the default client.
///
/// It campaigns until this process leads, then runs the body at once and after that every `every`, counted from the
/// beginning of one run to the beginning of the next; a run that takes longer delays the next. When leadership is lost the
/// body is dropped at its next await and the campaign goes on; when it is regained the body runs again, a second after the
/// loss at the earliest. The body gets the term's [`Lease`], for its fencing token.
///
/// It is the loop to [`leader_only`](crate::leader_only)'s single call.
///
/// # Errors
/// [`Error::ShutDown`] as soon as the client is shut down: the orderly end of the loop, which
/// [`Error::is_shut_down`] tells from others. At once when no client can be made, when the name is empty, or
/// ([`Error::InvalidTiming`]) when `every` is shorter than a millisecond. Failures of a campaign are logged, each as often
/// as its number has doubled, and it is tried again.
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
    if let Some(client) = local::client() {
        return make(&client);
    }
    if let Some(default) = current().as_ref().filter(|default| default.serves()) {
        return make(&default.client);
    }
    // Boxed: it happens once, and would make the future of every call several times as large.
    let client = Box::pin(start_once()).await?;
    make(&client)
}

// === impl Current ===

impl Current {
    /// Says whether it is for this caller: a test that moves its own time has a store of its own.
    fn serves(&self) -> bool {
        !(self.of_environment && clock::is_paused())
    }
}

async fn start_once() -> Result<Client, Error> {
    let _one_at_a_time = STARTING.lock().await;
    if let Some(client) = running() {
        return Ok(client);
    }
    start(choice::of_environment().map_err(NoClient::from)?).await
}

fn running() -> Option<Client> {
    let default = || current().as_ref().filter(|default| default.serves()).map(|default| default.client.clone());
    local::client().or_else(default)
}

/// Makes a client of a store that somebody has chosen.
pub(crate) async fn of(choice: Choice, builder: ClientBuilder) -> Result<Client, Error> {
    match choice {
        Choice::Memory => Ok(builder.clock(clock::of_caller()).memory(&MemoryStore::new()).build()),
        Choice::Kube => cluster(builder, false).await,
        Choice::Leases => cluster(builder, true).await,
    }
}

async fn start(choice: Choice) -> Result<Client, Error> {
    let client = of(choice, Client::builder()).await.map_err(NoClient::Cluster)?;
    if choice == Choice::Memory && clock::is_paused() {
        local::set(client.clone());
    } else {
        replace(Current { client: client.clone(), of_environment: choice == Choice::Memory });
    }
    Ok(client)
}

fn replace(default: Current) {
    let before = DEFAULT.write().unwrap_or_else(PoisonError::into_inner).replace(default);
    drop(before); // not under the lock: the end of a client may take a moment
}

fn current() -> RwLockReadGuard<'static, Option<Current>> {
    DEFAULT.read().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(feature = "kube")]
async fn cluster(builder: ClientBuilder, leases: bool) -> Result<Client, Error> {
    let builder = if leases { builder.leases() } else { builder };
    builder.try_default().await
}

#[cfg(not(feature = "kube"))]
fn cluster(_: ClientBuilder, _: bool) -> std::future::Ready<Result<Client, Error>> {
    std::future::ready(Err(Error::store("no cluster", "msync was built without its feature `kube`")))
}

// === impl NoClient ===

impl From<NoChoice> for NoClient {
    fn from(why: NoChoice) -> Self {
        match why {
            NoChoice::Nobody => Self::NobodyChose,
            NoChoice::Unknown(text) => Self::UnknownStore(text),
        }
    }
}

impl From<NoClient> for Error {
    fn from(why: NoClient) -> Self {
        Self::Store { context: "no default client".to_owned(), cause: Arc::new(why) }
    }
}

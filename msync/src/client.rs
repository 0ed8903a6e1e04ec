//! The client: who this process is, where its locks live, how they are timed, and how it all ends.

use std::pin::pin;

#[cfg(feature = "kube")]
use crate::runtime;
use crate::{Error, LockName, MemoryStore, Timing, clock::Clock, engine::Grip, signal::Signalled};

mod builder;

#[cfg(feature = "kube")]
pub use builder::Configured;
pub use builder::{Chosen, ClientBuilder};

/// The entrance: makes locks and elections that share one identity, one store and one watch.
///
/// Cloning is cheap and shares everything. Make one per process: two clients of one process exclude each other like two
/// processes do.
///
/// # Threads and runtimes
/// What keeps locks alive runs on a thread of msync's own, so a client may be made, used and dropped on any executor, in
/// tests of one process that have a runtime each, and with none. A runtime of tokio whose workers all compute for long
/// loses nothing. A kube client that is handed in (`ClientBuilder::kube`) has a task on the runtime it was made on: its
/// locks live no longer than that, and only while it is driven.
///
/// # The end
/// When the last handle is gone (clients, locks, elections and guards), everything is released, and what `at_least` keeps is
/// left to its time. That drop waits until it is sent, for two seconds at the most, so that a `main` may simply return.
/// It does not wait where it would have to block the runtime that a kube client was handed in on; nor does it happen for
/// the client of [`init`](crate::init), which the process keeps. There, [`shutdown`](Self::shutdown).
///
/// # Forks
/// A fork copies no threads. In the child nothing is renewed, acquired or released, by an error that says so; the copy of a
/// guard [says](crate::LockGuard::check) lost at the deadline that it was copied with, and whoever waits for that waits for
/// ever. What the parent has is not touched. Fork before first use.
#[derive(Clone, Debug)]
pub struct Client {
    engine: Grip,
    timing: Timing,
    #[cfg(feature = "kube")]
    cluster: Option<Cluster>,
}

/// The cluster behind a client: where its pod is, and where the resource is installed if it needs one.
#[cfg(feature = "kube")]
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: std::sync::Arc<kube::Client>,
    /// The locks are in Leases, which are there already.
    pub(crate) leases: bool,
}

// === impl Client ===

impl Client {
    /// Makes a client of the environment: the kubeconfig, or the service account inside a cluster.
    ///
    /// The owner is the host name, which is the pod's name inside a cluster; the namespace is the kubeconfig's, or the
    /// pod's own.
    ///
    /// # Errors
    /// [`Error::Store`] when there is neither a kubeconfig nor a service account, or one that is not usable: it begins with
    /// the file, program or variable to mend. A kubeconfig that is there and broken is not passed over in favour of a
    /// service account. Nothing is sent yet, so a cluster that cannot be reached is noticed by the first acquisition.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind but an exec plugin of the kubeconfig that runs, which ends by itself.
    #[cfg(feature = "kube")]
    pub async fn try_default() -> Result<Self, Error> {
        Self::builder().try_default().await
    }

    /// Begins a client of your own making.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Makes a client of a store of its own, in memory: it excludes the tasks of this process, leads every election at once,
    /// and needs no cluster. The off switch, for a service with one replica and for development.
    ///
    /// # Examples
    /// ```
    /// # use msync::Client;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let replicas = 1;
    /// let client = if replicas == 1 { Client::standalone() } else { connect().await? };
    /// # async fn connect() -> Result<Client, msync::Error> { unreachable!() }
    /// client.election("scheduler")?.try_campaign().await?.expect("nobody else could lead").resign().await?;
    /// # Ok(()) }
    /// ```
    pub fn standalone() -> Self {
        Self::builder().memory(&MemoryStore::new()).build()
    }

    /// Installs the `Lock` resource, or updates it to this version of msync. Returns when locks can be stored; at once for
    /// a client in memory or on Leases. Needs the rights of [`manifests::RBAC_INSTALL`](crate::manifests::RBAC_INSTALL), which
    /// services should not have: install once, at deployment.
    ///
    /// # Errors
    /// [`Error::Forbidden`], naming the missing rule; [`Error::Store`] when the API server refuses the resource or is not
    /// ready within 30 seconds.
    ///
    /// # Cancel safety
    /// May be dropped and called again at any time; the resource may then be there already.
    #[cfg(feature = "kube")]
    pub async fn install_crd(&self) -> Result<(), Error> {
        match &self.cluster {
            Some(_) if self.engine.is_forked() => Err(Error::store("could not install the resource", runtime::FORKED)),
            Some(Cluster { client, leases: false }) => {
                let client = (**client).clone();
                runtime::run(self.engine.home, async move { crate::store::kube::crd::install_crd(&client).await }).await
            }
            Some(Cluster { leases: true, .. }) | None => Ok(()),
        }
    }

    pub(crate) fn engine(&self) -> &Grip {
        &self.engine
    }

    #[cfg(feature = "kube")]
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.engine.clock
    }

    /// Completes when the client is shut down.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.engine.ended()
    }

    /// Returns the names of the locks and elections that are held here now, sorted: for a status page.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::standalone();
    /// let guard = client.lock("invoices")?.acquire().await?;
    /// assert_eq!(client.held(), [guard.name().clone()]);
    /// assert!(client.waiting().is_empty());
    /// # Ok(()) }
    /// ```
    pub fn held(&self) -> Vec<LockName> {
        self.engine.held()
    }

    /// Returns the names of the locks and elections that tasks of this client wait for now, sorted, each once.
    pub fn waiting(&self) -> Vec<LockName> {
        self.engine.awaited()
    }

    /// Returns the name under which this client's holds are shown to people.
    pub fn owner(&self) -> &str {
        self.engine.id.owner()
    }

    /// Returns this client's identity: the owner, and random bits of this start.
    pub fn identity(&self) -> &str {
        self.engine.id.as_str()
    }

    /// Returns the timing that locks and elections of this client have unless told otherwise.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Ends everything in order: waiting acquisitions fail with [`Error::ShutDown`], bodies of `run` are dropped, guards
    /// say lost, and what is held is released as soon as its guard is gone. Later acquisitions fail.
    ///
    /// Returns when all is released, or after one ttl with guards still held: those are renewed for as long as their
    /// guards live. Call it before the process exits, or others wait for a ttl.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the shutdown, only the waiting for it.
    pub async fn shutdown(&self) {
        self.engine.shut_down(self.timing.ttl()).await;
    }

    /// Says whether this client does what it is there for: for a liveness probe, to be asked every few seconds.
    ///
    /// It says nothing of the API server: a restart helps against what is wrong here, not against that.
    ///
    /// ```
    /// # let client = msync::Client::standalone();
    /// let (status, body) = match client.health() {
    ///     Ok(()) => (200, "ok".to_owned()),
    ///     Err(why) => (503, why.to_string()),
    /// };
    /// # assert_eq!((status, &*body), (200, "ok"));
    /// ```
    ///
    /// # Errors
    /// [`Unhealthy`](crate::Unhealthy): a leadership whose time is over by more than this client's ttl has not been given up,
    /// for its body does not yield; or the thread that renews locks does not answer.
    pub fn health(&self) -> Result<(), crate::Unhealthy> {
        self.engine.health(self.timing.ttl())
    }

    /// Says whether the client was shut down, or is being so: nothing can be acquired with it any more.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::standalone();
    /// client.shutdown().await;
    /// assert!(client.is_shut_down());
    /// assert!(client.lock("invoices")?.acquire().await.is_err_and(|error| error.is_shut_down()));
    /// # Ok(()) }
    /// ```
    pub fn is_shut_down(&self) -> bool {
        self.engine.is_shut_down()
    }

    /// Waits for SIGTERM or ctrl-c, then [shuts down](Self::shutdown). A second signal meanwhile ends the process at once,
    /// with the exit code 128 + its number.
    ///
    /// Beside a loop that campaigns, prefer [`run_until_signal`](Self::run_until_signal): the loop learns of the shutdown
    /// as well, by [`Error::ShutDown`], which is no failure of the program, and may end before the releases are sent.
    ///
    /// # Errors
    /// [`Error::Store`] when the process may not listen to signals.
    ///
    /// # Cancel safety
    /// Dropping the future before the signal leaves the client as it is, but not the process: whoever has once listened to
    /// a signal by tokio, as this does, has replaced what it does by default for the life of the process, so SIGTERM and
    /// ctrl-c end it no longer unless somebody listens. After the signal the shutdown goes on.
    pub async fn shutdown_on_signal(&self) -> Result<(), Error> {
        let mut signalled = Signalled::wait(&self.engine, self.timing.ttl())?;
        signalled.begin(); // not only when this is polled again: its executor may be blocked
        signalled.ended().await;
        Ok(())
    }

    /// Runs a future, the whole of the program as a rule, until it ends or SIGTERM or ctrl-c comes; then ends everything in
    /// order, and returns when all is released. `None` says that a signal came first: the future was dropped, and what it
    /// held is released.
    ///
    /// After it the client is [shut down](Self::shutdown), either way. A second signal meanwhile ends the process at once,
    /// with the exit code 128 + its number.
    ///
    /// # Errors
    /// [`Error::Store`] when the process may not listen to signals; then the future is dropped at once.
    ///
    /// # Cancel safety
    /// Dropping the future drops the one that runs, and leaves the client as it is. As to signals, see
    /// [`shutdown_on_signal`](Self::shutdown_on_signal).
    ///
    /// # Examples
    /// ```no_run
    /// # async fn serve() -> Result<(), msync::Error> { Ok(()) }
    /// # async fn main_() -> Result<(), msync::Error> {
    /// let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// let campaigns = async {
    ///     loop {
    ///         let term = client.election("scheduler")?.campaign().await?;
    ///         let _ = term.run(serve()).await; // lost: campaign again
    ///     }
    /// };
    /// client.run_until_signal(campaigns).await?.unwrap_or(Ok(()))
    /// # }
    /// ```
    pub async fn run_until_signal<T>(&self, future: impl Future<Output = T>) -> Result<Option<T>, Error> {
        let mut signalled = Signalled::wait(&self.engine, self.timing.ttl())?;
        let output = {
            let future = pin!(future);
            tokio::select! {
                biased;
                () = signalled.came() => None,
                output = future => Some(output),
            }
        };
        // Not before the future is dropped: it is not to see a shutdown that it cannot take part in.
        signalled.begin();
        self.shutdown().await;
        Ok(output)
    }
}

#[cfg(feature = "kube")]
impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

#[cfg(test)]
mod tests;

//! The client: who this process is, where its locks live, how they are timed, and how it all ends.

use std::sync::Arc;

use crate::{
    Election, Error, Lock, LockName, LockSet, MemoryStore, Timing,
    clock::{BootClock, Clock, Random, os_random},
    engine::Engine,
    name::sanitize,
    record::{EngineId, Role},
    store::Store,
};

/// The longest owner name: a DNS label, as host names are.
const LONGEST_OWNER: usize = 63;

/// The entrance: makes locks and elections that share one identity, one store and one watch.
///
/// Cloning is cheap and shares everything. Make one per process: two clients of one process exclude each other like two
/// processes do.
#[derive(Clone, Debug)]
pub struct Client {
    engine: Arc<Engine>,
    timing: Timing,
    #[cfg(feature = "kube")]
    cluster: Option<Cluster>,
}

/// The cluster behind a client, to install the resource in.
#[cfg(feature = "kube")]
#[derive(Clone)]
struct Cluster(kube::Client);

/// Collects what a [`Client`] needs. Choose a store with [`memory`](Self::memory) or `kube`, then [`build`](ClientBuilder::build).
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ClientBuilder<S = ()> {
    store: S,
    owner: Option<String>,
    pod: Option<(Role, String)>,
    namespace: Option<String>,
    timing: Timing,
    clock: Arc<dyn Clock>,
    random: Random,
}

/// A store that a builder has chosen.
#[derive(Clone, Debug)]
pub struct Chosen {
    store: Arc<dyn Store>,
    #[cfg(feature = "kube")]
    cluster: Option<Cluster>,
}

// === impl Client ===

impl Client {
    /// Makes a client of the environment: the kubeconfig, or the service account inside a cluster.
    ///
    /// The owner is the host name, which is the pod's name inside a cluster; the namespace is the kubeconfig's, or the
    /// pod's own.
    ///
    /// # Errors
    /// [`Error::Store`] when there is neither a readable kubeconfig nor a service account. Nothing is sent yet, so a
    /// cluster that cannot be reached is noticed by the first acquisition.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    #[cfg(feature = "kube")]
    pub async fn try_default() -> Result<Self, Error> {
        let client = kube::Client::try_default().await.map_err(|source| Error::Store {
            context: "no Kubernetes cluster is configured: neither a kubeconfig nor a service account was found".into(),
            source: Arc::new(source),
        })?;
        Ok(Self::builder().kube(client).build())
    }

    /// Begins a client of your own making.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            store: (),
            owner: None,
            pod: None,
            namespace: None,
            timing: Timing::default(),
            clock: Arc::new(BootClock),
            random: os_random(),
        }
    }

    /// Installs the `Lock` resource, or updates it to this version of msync. Returns when locks can be stored; at once for
    /// a client in memory. Needs the rights of `examples/manifests/rbac.yaml`'s installer, which services should not have:
    /// install once, at deployment.
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
            Some(Cluster(client)) => crate::crd::install_crd(client).await,
            None => Ok(()),
        }
    }

    /// Names a lock. Nothing is sent before it is acquired.
    ///
    /// # Errors
    /// [`Error::InvalidName`] when Kubernetes would refuse the name.
    pub fn lock(&self, name: impl AsRef<str>) -> Result<Lock, Error> {
        Ok(self.lock_named(LockName::new(name)?))
    }

    pub(crate) fn lock_named(&self, name: LockName) -> Lock {
        Lock::new(Arc::clone(&self.engine), name, self.timing)
    }

    /// Names several locks that are acquired together: sorted, so that two sets cannot deadlock, each name once. While one is
    /// waited for, those before it are held and may be lost: then the acquisition fails with [`Error::Lost`].
    ///
    /// # Errors
    /// [`Error::InvalidName`] for the first name that Kubernetes would refuse, or when no name is given.
    pub fn lock_all<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) -> Result<LockSet, Error> {
        let locks = names.into_iter().map(|name| self.lock(name)).collect::<Result<Vec<_>, _>>()?;
        LockSet::new(locks)
    }

    /// Names an election. Nothing is sent before a campaign.
    ///
    /// # Errors
    /// [`Error::InvalidName`] when Kubernetes would refuse the name.
    pub fn election(&self, name: impl AsRef<str>) -> Result<Election, Error> {
        Ok(self.election_named(LockName::new(name)?))
    }

    pub(crate) fn election_named(&self, name: LockName) -> Election {
        Election::new(Arc::clone(&self.engine), name, self.timing)
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

    /// Waits for SIGTERM or ctrl-c, then [shuts down](Self::shutdown).
    ///
    /// # Errors
    /// [`Error::Store`] when the process may not listen to signals.
    ///
    /// # Cancel safety
    /// Dropping the future before the signal leaves the client as it is.
    pub async fn shutdown_on_signal(&self) -> Result<(), Error> {
        wait_for_signal()
            .await
            .map_err(|source| Error::Store { context: "cannot listen to signals".into(), source: Arc::new(source) })?;
        self.shutdown().await;
        Ok(())
    }
}

#[cfg(unix)]
async fn wait_for_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

#[cfg(not(unix))]
async fn wait_for_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

// === impl ClientBuilder ===

impl<S> ClientBuilder<S> {
    /// Sets the name under which this client's holds are shown to people; the host name otherwise. What Kubernetes would
    /// not allow in a name is replaced by `-`.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Sets the uid of the pod, by the downward API: what an earlier start of the same pod held can then be told, and be
    /// [adopted](Lock::adopt). Only for one who can prove that the earlier start is dead.
    #[doc(hidden)]
    pub fn pod_uid(self, uid: impl Into<String>) -> Self {
        self.pod(Role::Library, uid)
    }

    /// Sets the uid of the pod as [`pod_uid`](Self::pod_uid) does, and which of its programs this is: none ever adopts what
    /// another one has.
    #[doc(hidden)]
    pub fn pod(mut self, role: Role, uid: impl Into<String>) -> Self {
        self.pod = Some((role, uid.into()));
        self
    }

    /// Sets the namespace of the `Lock` objects; the one of the kube client otherwise. Without meaning in memory.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets the timing of locks and elections that are not given one of their own.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Sets the clock, for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the source of random numbers, for tests that must be repeatable.
    pub fn random(mut self, random: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// Chooses the store in memory: for tests and demos. Clients that are given the same store share its locks.
    pub fn memory(self, store: &MemoryStore) -> ClientBuilder<Chosen> {
        self.store(Arc::new(store.clone()))
    }

    /// Chooses Kubernetes.
    #[cfg(feature = "kube")]
    pub fn kube(self, client: kube::Client) -> ClientBuilder<Chosen> {
        let namespace = self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let store = Arc::new(crate::store::KubeStore::new(client.clone(), &namespace));
        self.choose(Chosen { store, cluster: Some(Cluster(client)) })
    }

    /// Chooses a store of your own: for tests that inject faults.
    #[doc(hidden)]
    pub fn store(self, store: Arc<dyn Store>) -> ClientBuilder<Chosen> {
        self.choose(Chosen {
            store,
            #[cfg(feature = "kube")]
            cluster: None,
        })
    }

    fn choose(self, store: Chosen) -> ClientBuilder<Chosen> {
        let Self { store: _, owner, pod, namespace, timing, clock, random } = self;
        ClientBuilder { store, owner, pod, namespace, timing, clock, random }
    }
}

impl ClientBuilder<Chosen> {
    /// Makes the client. Starts no task and sends nothing before the first acquisition.
    pub fn build(self) -> Client {
        let owner = sanitize(&self.owner.unwrap_or_else(host_name), LONGEST_OWNER);
        let bits = (self.random)();
        let id = match self.pod {
            Some((role, pod)) => EngineId::of_pod(&owner, role, fingerprint(&pod), bits),
            None => EngineId::new(&owner, bits),
        };
        let engine = Engine::new(id, self.store.store, self.clock, self.random, self.timing.ttl());
        Client {
            engine,
            timing: self.timing,
            #[cfg(feature = "kube")]
            cluster: self.store.cluster,
        }
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for ClientBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").field("store", &self.store).field("owner", &self.owner).finish_non_exhaustive()
    }
}

#[cfg(feature = "kube")]
impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// FNV-1a, 32 bits: stable over versions of Rust, which std's hasher is not.
fn fingerprint(uid: &str) -> u32 {
    uid.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

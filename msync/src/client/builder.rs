//! What a client is made of: collected in any order, resolved when it is built.

use std::{ffi::OsStr, sync::Arc};

use super::Client;
#[cfg(feature = "kube")]
use super::Cluster;
#[cfg(feature = "kube")]
use crate::{Error, runtime};
use crate::{
    MemoryStore, Timing,
    clock::{BootClock, Clock, Random, os_random},
    engine::{Engine, Grip},
    listener::{Ears, Listener, Open},
    name,
    record::{EngineId, Role},
    store::Store,
};

const SESSIONS: &str = "MSYNC_SESSIONS";

/// Collects what a [`Client`] needs. Choose a store with [`memory`](Self::memory), `config` or `kube`, then
/// [`build`](ClientBuilder::build), which alone decides: the order of the calls before it does not matter.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ClientBuilder<S = ()> {
    store: S,
    owner: Option<String>,
    pod: Option<(Role, String)>,
    namespace: Option<String>,
    #[cfg(feature = "kube")]
    leases: bool,
    timing: Timing,
    clock: Arc<dyn Clock>,
    random: Random,
    listeners: Vec<Arc<dyn Listener>>,
    events: bool,
    sessions: Option<bool>,
}

/// A store that a builder has chosen.
#[derive(Clone, Debug)]
pub struct Chosen(Backend);

/// A cluster that a builder has chosen, to be connected to.
#[cfg(feature = "kube")]
#[derive(Clone, Debug)]
pub struct Configured(kube::Config);

#[derive(Clone)]
enum Backend {
    Store {
        store: Arc<dyn Store>,
        /// It may need the runtime of whoever made it.
        foreign: bool,
    },
    #[cfg(feature = "kube")]
    Kube(kube::Client),
}

// === impl ClientBuilder ===

impl ClientBuilder {
    pub(super) fn new() -> Self {
        Self {
            store: (),
            owner: None,
            pod: None,
            namespace: None,
            #[cfg(feature = "kube")]
            leases: false,
            timing: Timing::default(),
            clock: Arc::new(BootClock),
            random: os_random(),
            listeners: Vec::new(),
            events: false,
            sessions: None,
        }
    }
}

impl<S> ClientBuilder<S> {
    /// Sets the name under which this client's holds are shown to people; the host name otherwise. What Kubernetes would
    /// not allow in a name is replaced by `-`; one longer than 63 characters ends in a hash.
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

    /// Keeps locks and elections in Leases (`coordination.k8s.io/v1`), which every cluster has, rather than in the `Lock`
    /// resource: nothing is to be installed, and an election excludes and is excluded by whoever elects by the same Lease
    /// with client-go, kubert or by hand. Without meaning in memory.
    ///
    /// All who share a lock must use the same store. Rights: `examples/manifests/rbac-leases.yaml`.
    ///
    /// What is not as with the resource: among waiters who join within two seconds of each other their wall clocks decide who
    /// is first, and whose clock is further behind joins with two writes; and a foreign holder is none of ours. msync never
    /// takes over before it has seen a Lease unchanged for the time that stands in it, and is told at once when another
    /// writes it. But client-go may believe in its leadership for longer than that, and its release may end a hold of
    /// others. A Lease in which the API server decides (`spec.strategy`) is refused. Beside kubert or others that go by dates
    /// use a ttl of three seconds or more: with more than a renewal a second the date in the Lease runs ahead.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn f() -> Result<(), msync::Error> {
    /// let client = msync::Client::builder().leases().try_default().await?;
    /// let term = client.election("my-controller")?.campaign().await?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "kube")]
    pub fn leases(self) -> Self {
        Self { leases: true, ..self }
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

    /// Tells a listener what becomes of the locks and elections of this client. Several may be given.
    pub fn listener(mut self, listener: impl Listener) -> Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// Writes Events to the cluster, on the `Lock` of each election that this client leads or loses, and of each lock that
    /// it loses: reasons `LeaderElected`, `LeaderResigned`, `LeaderLost` and `LockLost`. They are what `kubectl describe lock`
    /// and `kubectl events` show for an hour. At most 25 at once, and then one in five seconds; no lock waits for one.
    ///
    /// Needs the rights of `examples/manifests/rbac-events.yaml` besides; without them there is one warning. On a store in memory
    /// and on [Leases](Self::leases) there are none.
    pub fn events(mut self, events: bool) -> Self {
        self.events = events;
        self
    }

    /// Says whether any number of locks are kept alive by one heartbeat, a session (design 4.10), so that what a client pays to
    /// hold locks for long does not grow with their number. They are unless told otherwise, here or by `MSYNC_SESSIONS=0`; what
    /// is told here counts.
    ///
    /// Once two locks of one [`Timing`] are held and a renewal is due, the client makes an object `session.` and 16 digits, of the
    /// same kind as locks, and renews that alone. The locks name it and are held as long as it is. Nothing else changes: first
    /// acquire one request, hand-over one write, every promise. But who loses its session loses all locks under it at once.
    /// Elections renew by themselves, always.
    ///
    /// All clients that share locks must know of sessions, which is this version and later, before any of them uses one: an
    /// older one takes a lock that is not renewed for abandoned. On [Leases](Self::leases) it must not be used where client-go
    /// or others hold the same Lease, who cannot tell; so there it is on only if it is asked for here. Where the rights to make
    /// such an object are missing, locks renew by themselves as ever, and there is one warning.
    ///
    /// # Examples
    /// ```
    /// use msync::{Client, MemoryStore};
    ///
    /// let client = Client::builder().sessions(false).memory(&MemoryStore::new()).build();
    /// ```
    pub fn sessions(mut self, sessions: bool) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Chooses the store in memory: for tests and demos. Clients that are given the same store share its locks.
    pub fn memory(self, store: &MemoryStore) -> ClientBuilder<Chosen> {
        self.choose(Chosen(Backend::Store { store: Arc::new(store.clone()), foreign: false }))
    }

    /// Chooses the Kubernetes cluster of a configuration, over connections of msync's own.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// use msync::{Client, kube};
    ///
    /// let mut config = kube::Config::infer().await?;
    /// config.default_namespace = "shop".to_owned();
    /// let client = Client::builder().config(config).build()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "kube")]
    pub fn config(self, config: kube::Config) -> ClientBuilder<Configured> {
        self.choose(Configured(config))
    }

    /// Chooses Kubernetes, by a client of your own, which is used as it is.
    ///
    /// That has a price, for kube's own client delays small writes (the first request of each connection takes some 40 ms
    /// more), opens a connection for each watch (256 at the most, and no more than a quarter of the process's
    /// descriptors), notices a dead one late, and sends some requests again by itself. A hand-off after seconds of quiet then
    /// takes several times as long; `BENCHMARKS.md` has the figures.
    ///
    /// A task of that client lives on the tokio runtime it was made on. When that runtime ends, acquisitions fail with
    /// [`Error::Store`] and what is held is lost at its deadline; while nobody drives it, nothing is sent. Where a client
    /// need not be shared, prefer [`config`](Self::config), whose locks depend on nobody's runtime.
    #[cfg(feature = "kube")]
    pub fn kube(self, client: kube::Client) -> ClientBuilder<Chosen> {
        self.choose(Chosen(Backend::Kube(client)))
    }

    /// Chooses a store of your own: for tests that inject faults.
    #[doc(hidden)]
    pub fn store(self, store: Arc<dyn Store>) -> ClientBuilder<Chosen> {
        self.choose(Chosen(Backend::Store { store, foreign: true }))
    }

    fn choose<T>(self, store: T) -> ClientBuilder<T> {
        ClientBuilder {
            store,
            owner: self.owner,
            pod: self.pod,
            namespace: self.namespace,
            #[cfg(feature = "kube")]
            leases: self.leases,
            timing: self.timing,
            clock: self.clock,
            random: self.random,
            listeners: self.listeners,
            events: self.events,
            sessions: self.sessions,
        }
    }
}

#[cfg(feature = "kube")]
impl ClientBuilder {
    /// Chooses the cluster of the environment and makes the client, as [`Client::try_default`] does, with what was set before.
    /// The log says once, at level info, which cluster that is: context, server and namespace.
    ///
    /// # Errors
    /// As [`Client::try_default`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind but an exec plugin of the kubeconfig that runs, which ends by itself.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn f() -> Result<(), msync::Error> {
    /// let client = msync::Client::builder().owner("web-3").namespace("shop").try_default().await?;
    /// # Ok(()) }
    /// ```
    pub async fn try_default(self) -> Result<Client, Error> {
        let home = self.clock.home();
        if runtime::is_forked_from(home) {
            return Err(Error::store("could not make a client", runtime::FORKED));
        }
        let found = runtime::run(home, crate::transport::infer()).await?;
        found.report(self.namespace.as_deref());
        let builder = self.config(found.config);
        runtime::run_blocking(home, move || builder.build()).await
    }
}

impl ClientBuilder<Chosen> {
    /// Makes the client. Starts no task and sends nothing before the first acquisition.
    pub fn build(self) -> Client {
        match self.store.0.clone() {
            Backend::Store { store, foreign } => Client {
                engine: self.engine(store, foreign, &self.listeners, None),
                timing: self.timing,
                #[cfg(feature = "kube")]
                cluster: None,
            },
            #[cfg(feature = "kube")]
            Backend::Kube(client) => self.on(client, true),
        }
    }
}

#[cfg(feature = "kube")]
impl ClientBuilder<Configured> {
    /// Makes the client. Sends nothing before the first acquisition. Where the configuration has an exec plugin, it runs that,
    /// and the thread waits for it; [`try_default`](ClientBuilder::try_default) blocks no thread of yours.
    ///
    /// # Errors
    /// [`Error::Store`] when the configuration is of no use: a certificate that is missing or illegible, a proxy that is not
    /// supported.
    pub fn build(self) -> Result<Client, Error> {
        let config = self.store.0.clone();
        let client = runtime::within(self.clock.home(), || crate::transport::connect(config))?;
        Ok(self.on(client, false))
    }
}

impl<S> ClientBuilder<S> {
    #[cfg(feature = "kube")]
    fn on(&self, client: kube::Client, foreign: bool) -> Client {
        let namespace = self.namespace.as_deref().unwrap_or_else(|| client.default_namespace());
        let leases = self.leases;
        let store: Arc<dyn Store> = if leases {
            Arc::new(crate::store::LeaseStore::new(client.clone(), namespace))
        } else {
            Arc::new(crate::store::KubeStore::new(client.clone(), namespace))
        };
        let (mut listeners, mut open) = (self.listeners.clone(), None);
        if self.events && !leases {
            let (owner, clock) = (self.chosen_owner(), Arc::clone(&self.clock));
            let (recorder, watched) = crate::events::Recorder::start(client.clone(), namespace, &owner, clock);
            listeners.push(Arc::new(recorder));
            open = Some(watched);
        }
        let engine = self.engine(store, foreign, &listeners, open);
        Client { engine, timing: self.timing, cluster: Some(Cluster { client: Arc::new(client), leases }) }
    }

    /// Says whether sessions are to be used: as told here, else by the environment; else where all who hold the same records
    /// know of them.
    pub(super) fn uses_sessions(&self) -> bool {
        #[cfg(feature = "kube")]
        let shared = self.leases;
        #[cfg(not(feature = "kube"))]
        let shared = false;
        self.sessions.unwrap_or_else(|| !shared && sessions_by_environment())
    }

    fn chosen_owner(&self) -> String {
        name::owner(&self.owner.clone().unwrap_or_else(host_name))
    }

    fn engine(
        &self,
        store: Arc<dyn Store>,
        foreign: bool,
        listeners: &[Arc<dyn Listener>],
        open: Option<Open>,
    ) -> Grip {
        let owner = self.chosen_owner();
        let bits = (self.random)();
        let id = match &self.pod {
            Some((role, pod)) => EngineId::of_pod(&owner, *role, fingerprint(pod), bits),
            None => EngineId::new(&owner, bits),
        };
        let (clock, random) = (Arc::clone(&self.clock), Arc::clone(&self.random));
        let ears = Ears::open(listeners, open);
        Grip::first(Engine::new(id, store, clock, random, foreign, ears, self.uses_sessions()))
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for ClientBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").field("store", &self.store).field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store { store, .. } => store.fmt(f),
            #[cfg(feature = "kube")]
            Self::Kube(_) => f.write_str("Kube"),
        }
    }
}

fn sessions_by_environment() -> bool {
    let told = std::env::var_os(SESSIONS);
    sessions_told(told.as_deref()).unwrap_or_else(|| {
        tracing::warn!("{SESSIONS} is {told:?}; it may be 0 or 1: sessions are used, as if it were not set");
        true
    })
}

/// What a variable of the environment says of sessions; `None` when it is not understood.
pub(super) fn sessions_told(told: Option<&OsStr>) -> Option<bool> {
    let Some(told) = told else { return Some(true) };
    match told.to_str()?.trim() {
        "" | "1" | "on" | "true" => Some(true),
        "0" | "off" | "false" => Some(false),
        _ => None,
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// FNV-1a, 32 bits: stable over versions of Rust, which std's hasher is not.
fn fingerprint(uid: &str) -> u32 {
    uid.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

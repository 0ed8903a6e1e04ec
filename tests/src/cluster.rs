//! msync on a real API server: what tests of locks and elections begin with.
//!
//! [`Cluster::shared`] is for all tests that leave the server alone; [`Cluster::exclusive`] is for those that break it or
//! count its requests, and lets them run one after another. Both give each test a namespace of its own.

pub mod leases;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use kube::{
    Api, Config,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::ApiResource,
};
use msync::{
    Client, ClientBuilder, Timing,
    unstable::{
        crd::{Lock, install_crd},
        record::Record,
        store::{Objects, Snapshot},
    },
};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::{
    eventually,
    history::History,
    process::Spawn,
    proxy::Proxy,
    tamper::Tamper,
    testbed::{ADMIN, Options, TestServer},
};

/// Long enough for a machine that does other things as well.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A namespace of a server with the `Lock` resource.
pub struct Cluster {
    server: Server,
    namespace: String,
    client: kube::Client,
    locks: Api<Lock>,
    objects: Objects,
    leases: bool,
    /// Nobody else has the exclusive server meanwhile.
    _turn: Option<MutexGuard<'static, ()>>,
}

/// The server of some tests, or of one.
enum Server {
    Shared(&'static TestServer),
    /// Ends with the cluster.
    Own(Box<TestServer>),
}

/// What a child process is told by its environment.
const CHILD_KUBECONFIG: &str = "MSYNC_TEST_KUBECONFIG";
const CHILD_NAMESPACE: &str = "MSYNC_TEST_NAMESPACE";
const CHILD_OWNER: &str = "MSYNC_TEST_OWNER";
const CHILD_TTL: &str = "MSYNC_TEST_TTL_MS";
const CHILD_VIA: &str = "MSYNC_TEST_VIA";

/// `leases` runs the suites of a cluster on Leases.
const STORE: &str = "MSYNC_TEST_STORE";

/// Says whether the suites run on Leases: then what edits the `Lock` resource by hand has nothing to test.
pub fn on_leases() -> bool {
    std::env::var_os(STORE).is_some_and(|store| store == "leases")
}

// === impl Cluster ===

impl Cluster {
    /// A namespace of the server that all tests of this executable share. `None` means that the test is to be skipped.
    ///
    /// # Errors
    ///
    /// When the server cannot be had.
    ///
    /// # Cancel safety
    ///
    /// A namespace may be left behind, unused.
    pub async fn shared() -> Result<Option<Self>> {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let Some(server) = TestServer::shared().await? else { return Ok(None) };
        Self::on(Server::Shared(server), &INSTALLED, None).await.map(Some)
    }

    /// A namespace of a server that this test may break, and whose requests it may count: nobody else uses it meanwhile.
    /// `None` means that the test is to be skipped.
    ///
    /// # Errors
    ///
    /// When the server cannot be had.
    ///
    /// # Cancel safety
    ///
    /// A namespace may be left behind, unused.
    pub async fn exclusive() -> Result<Option<Self>> {
        static TURN: Mutex<()> = Mutex::const_new(());
        static SERVER: OnceCell<Option<TestServer>> = OnceCell::const_new();
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let turn = TURN.lock().await;
        let server = SERVER.get_or_try_init(|| TestServer::start(Options::default())).await?;
        let Some(server) = server else { return Ok(None) };
        if server.pid().await.is_err() {
            server.restart().await?; // a test that failed has left it dead
        }
        server.thaw().await?;
        Self::on(Server::Shared(server), &INSTALLED, Some(turn)).await.map(Some)
    }

    /// A namespace of a new server with these options, which ends with the cluster. `None` means that the test is to be
    /// skipped.
    ///
    /// # Errors
    ///
    /// When the server cannot be had.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left behind.
    pub async fn start(options: Options) -> Result<Option<Self>> {
        let Some(server) = TestServer::start(options).await? else { return Ok(None) };
        Self::on(Server::Own(Box::new(server)), &OnceCell::new(), None).await.map(Some)
    }

    async fn on(server: Server, installed: &OnceCell<()>, turn: Option<MutexGuard<'static, ()>>) -> Result<Self> {
        let client = server.get().client(ADMIN).await?;
        installed.get_or_try_init(|| install_crd(&client)).await?;
        let namespace = server.get().namespace().await?;
        let locks = Api::namespaced(client.clone(), &namespace);
        let leases = on_leases();
        let objects = Objects::of(client.clone(), Some(&namespace), leases);
        Ok(Self { server, namespace, client, locks, objects, leases, _turn: turn })
    }

    /// Keeps its locks in Leases, whatever the environment says.
    #[must_use]
    pub fn with_leases(self) -> Self {
        Self { objects: Objects::of(self.client.clone(), Some(&self.namespace), true), leases: true, ..self }
    }

    /// Skips what is about the custom resource itself where the suites run on Leases.
    #[must_use]
    pub fn of_the_resource(self) -> Option<Self> {
        if self.leases {
            crate::loudly("SKIPPED on Leases: this is about the custom resource itself");
        }
        (!self.leases).then_some(self)
    }

    /// The server.
    pub fn server(&self) -> &TestServer {
        self.server.get()
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The locks of the namespace, as objects.
    pub fn locks(&self) -> &Api<Lock> {
        &self.locks
    }

    /// What its locks stand in, as objects that look like locks.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// A client of msync as [`Client::try_default`] makes it, on msync's own runtime and with its own connections:
    /// `MSYNC_HTTP=1` runs a whole suite over HTTP/1.1.
    ///
    /// # Errors
    ///
    /// When the kubeconfig is not readable.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn client(&self, owner: &str, timing: Timing) -> Result<Client> {
        let config = self.server().config(ADMIN).await?;
        Ok(self.builder(owner, timing).config(config).build()?)
    }

    /// The same, whose connections go through a proxy.
    ///
    /// # Errors
    ///
    /// When the kubeconfig is not readable.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn client_via(&self, proxy: &Proxy, owner: &str, timing: Timing) -> Result<Client> {
        let mut config = self.server().config(ADMIN).await?;
        config.cluster_url = format!("https://{}", proxy.addr()).parse()?;
        Ok(self.builder(owner, timing).config(config).build()?)
    }

    /// A client whose requests are tampered with; kube's own retries are above that, if they are on.
    ///
    /// # Errors
    ///
    /// When the kubeconfig is not readable.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn client_with(&self, tamper: &Tamper, retry: bool, owner: &str, timing: Timing) -> Result<Client> {
        let mut config = self.server().config(ADMIN).await?;
        config.default_retry = retry;
        Ok(self.client_of(tamper.client(config)?, owner, timing))
    }

    /// A client of msync on any client of kube, which lives on the runtime that that was made on.
    pub fn client_of(&self, client: kube::Client, owner: &str, timing: Timing) -> Client {
        self.builder(owner, timing).kube(client).build()
    }

    fn builder(&self, owner: &str, timing: Timing) -> ClientBuilder {
        let builder = Client::builder().namespace(&self.namespace).owner(owner).timing(timing);
        if self.leases { builder.leases() } else { builder }
    }

    /// What is stored under a name.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or the object is illegible.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn snapshot(&self, lock: &str) -> Result<Option<Snapshot>> {
        let found = self.objects.find(lock).await?;
        found.map(|found| found.snapshot().map(|(_, snapshot)| snapshot)).transpose().map_err(|fault| illegible(&fault))
    }

    /// What is stored under a name, which exists.
    ///
    /// # Errors
    ///
    /// When there is no such object, or it cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn record(&self, lock: &str) -> Result<Record> {
        Ok(self.snapshot(lock).await?.with_context(|| format!("there is no lock {lock}"))?.record)
    }

    /// Waits until the record, or its absence, is as wanted.
    ///
    /// # Errors
    ///
    /// When it was not within [`LIMIT`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn until(
        &self,
        what: &str,
        lock: &str,
        wanted: impl Fn(Option<&Record>) -> bool + Send + Sync,
    ) -> Result<()> {
        let holds = || async {
            let found = self.snapshot(lock).await;
            found.is_ok_and(|found| wanted(found.as_ref().map(|snapshot| &snapshot.record)))
        };
        eventually(what, LIMIT, holds).await
    }

    /// Waits until so many stand in the queue.
    ///
    /// # Errors
    ///
    /// When they did not within [`LIMIT`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn until_waiting(&self, lock: &str, waiters: usize) -> Result<()> {
        let queued = move |found: Option<&Record>| found.is_some_and(|record| record.waiters.len() == waiters);
        self.until(&format!("{waiters} wait for {lock}"), lock, queued).await
    }

    /// Waits until there is no such object.
    ///
    /// # Errors
    ///
    /// When there still was one after [`LIMIT`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn until_gone(&self, lock: &str) -> Result<()> {
        self.until(&format!("lock {lock} is deleted"), lock, |found| found.is_none()).await
    }

    /// Edits a `Lock` as people do: a merge patch of its spec.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    ///
    /// # Cancel safety
    ///
    /// The edit may be applied.
    pub async fn edit(&self, lock: &str, spec: Value) -> Result<()> {
        if let Objects::Leases(leases) = &self.objects {
            return leases::edit(leases, lock, &spec).await;
        }
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.raw().patch(lock, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Makes a `Lock` as people do.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    ///
    /// # Cancel safety
    ///
    /// It may be made.
    pub async fn make(&self, lock: &str, spec: Value) -> Result<()> {
        let mut object = DynamicObject::new(lock, &ApiResource::erase::<Lock>(&()));
        object.data = json!({ "spec": spec });
        self.raw().create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// Deletes a `Lock` as people do.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    ///
    /// # Cancel safety
    ///
    /// It may be deleted.
    pub async fn delete(&self, lock: &str) -> Result<()> {
        if let Objects::Leases(leases) = &self.objects {
            leases.delete(lock, &kube::api::DeleteParams::default()).await?;
            return Ok(());
        }
        self.locks.delete(lock, &kube::api::DeleteParams::default()).await?;
        Ok(())
    }

    /// Puts finalizers on a `Lock`, as tools of others do, or takes all away.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    ///
    /// # Cancel safety
    ///
    /// The edit may be applied.
    pub async fn finalize(&self, lock: &str, finalizers: &[&str]) -> Result<()> {
        let patch = Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
        self.raw().patch(lock, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Begins to record every state that a lock goes through.
    ///
    /// # Errors
    ///
    /// When the server cannot be watched.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left behind.
    pub async fn history(&self, lock: &str) -> Result<History> {
        History::start(&self.objects, lock).await
    }

    /// Prepares a child process that runs one `#[ignore]`d test of this executable, and there calls [`child_client`].
    ///
    /// # Errors
    ///
    /// When the kubeconfig is missing.
    pub fn child(&self, test: &str, owner: &str, ttl: Duration) -> Result<Spawn> {
        let spawn = Spawn::this_test(test)?
            .env(CHILD_KUBECONFIG, self.server().kubeconfig(ADMIN)?)
            .env("KUBECONFIG", self.server().kubeconfig(ADMIN)?)
            .env(CHILD_NAMESPACE, &self.namespace)
            .env(CHILD_OWNER, owner);
        let store = if self.leases { "leases" } else { "kube" };
        Ok(spawn.env(CHILD_TTL, ttl.as_millis().to_string()).env(STORE, store))
    }

    /// As [`Cluster::child`], with connections that go through a proxy.
    ///
    /// # Errors
    ///
    /// When the kubeconfig is missing.
    pub fn child_via(&self, proxy: &Proxy, test: &str, owner: &str, ttl: Duration) -> Result<Spawn> {
        Ok(self.child(test, owner, ttl)?.env(CHILD_VIA, format!("https://{}", proxy.addr())))
    }

    fn raw(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<Lock>(&()))
    }
}

// === impl Server ===

impl Server {
    fn get(&self) -> &TestServer {
        match self {
            Self::Shared(server) => server,
            Self::Own(server) => server,
        }
    }
}

/// In a child process: the client that its parent meant.
///
/// # Errors
///
/// When this is no child of [`Cluster::child`].
///
/// # Cancel safety
///
/// Nothing is lost.
pub async fn child_client() -> Result<Client> {
    Ok(child_builder()?.config(child_config().await?).build()?)
}

/// In a child process: how it reaches the server that its parent meant.
///
/// # Errors
///
/// When this is no child of [`Cluster::child`].
///
/// # Cancel safety
///
/// Nothing is lost.
pub async fn child_config() -> Result<Config> {
    let path = PathBuf::from(std::env::var_os(CHILD_KUBECONFIG).context("no kubeconfig in the environment")?);
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?;
    if let Ok(proxy) = std::env::var(CHILD_VIA) {
        config.cluster_url = proxy.parse()?;
    }
    Ok(config)
}

/// In a child process: who its parent wants it to be.
///
/// # Errors
///
/// When this is no child of [`Cluster::child`].
pub fn child_builder() -> Result<ClientBuilder> {
    let ttl = Duration::from_millis(std::env::var(CHILD_TTL)?.parse()?);
    let client = Client::builder().namespace(std::env::var(CHILD_NAMESPACE)?).owner(std::env::var(CHILD_OWNER)?);
    let client = if on_leases() { client.leases() } else { client };
    Ok(client.timing(Timing::with_ttl(ttl)?))
}

/// The timing of a ttl in milliseconds.
///
/// # Panics
///
/// When it is not a safe one.
pub fn ttl(millis: u64) -> Timing {
    Timing::with_ttl(Duration::from_millis(millis)).expect("a safe ttl")
}

/// Waits for what must come, or fails by [`LIMIT`].
///
/// # Errors
///
/// When it did not come.
///
/// # Cancel safety
///
/// As the future's.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => Ok(value),
        Err(_) => bail!("not within {LIMIT:?}: {what}"),
    }
}

fn illegible(fault: &msync::unstable::store::Fault) -> anyhow::Error {
    anyhow::anyhow!("{fault:?}")
}

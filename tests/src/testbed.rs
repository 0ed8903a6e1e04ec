//! A real API server for tests, and every fault it can have.
//!
//! Where it comes from, in this order: `USE_EXISTING_CLUSTER=true` takes the cluster of the environment's kubeconfig
//! (only for tests that share a server: its faults are out of reach); `KUBEBUILDER_ASSETS` is a directory with the
//! programs `kube-apiserver` and `etcd`; else the Go program in `tests/apiserver` is built, once, into the target
//! directory. Without any of them tests are skipped loudly, and fail if `CI` is set.
//!
//! There are no controllers: a deleted namespace stays Terminating, and no service account is made. So each test takes a
//! fresh namespace and leaves it behind.

mod assets;
mod binary;
mod launch;
mod requests;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
pub use binary::{build_once, etcdmutex, helm, kustomize, leaderelection, promtool};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use launch::{Launch, Running};
pub use requests::RequestCounts;
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell};

use crate::{loudly, proxy::Proxy, skipped, tamper::Tamper};

/// The user who may do everything.
pub const ADMIN: &str = "admin";

/// Users of [`TestServer::shared`] who may do nothing until a test grants them something in its own namespace.
pub const SHARED_USERS: [&str; 2] = ["limited", "stranger"];

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether etcd syncs its files, as in production: for benchmarks and crash tests.
    pub fsync: bool,
    /// Whether the API server has its watch cache.
    pub watch_cache: bool,
    /// How often old versions are compacted away, so that watches from them answer 410; needs whole seconds.
    pub compaction: Option<Duration>,
    /// How much etcd may store before it refuses every write, in bytes.
    pub etcd_quota: Option<u64>,
    /// Users besides [`ADMIN`], without any rights.
    pub users: Vec<String>,
    /// Further flags of kube-apiserver, such as `--min-request-timeout=5`; they win over ours.
    pub flags: Vec<String>,
}

/// An API server; dropping it kills the server and removes its files.
///
/// In a static, where nothing is dropped, the server ends with the process, however that ends.
#[derive(Debug)]
pub struct TestServer {
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// The cluster of the environment's kubeconfig.
    Existing,
    Own(Box<Own>),
}

/// Fields drop in this order: the processes end before their files go.
#[derive(Debug)]
struct Own {
    running: Mutex<Option<Running>>,
    launch: Launch,
    dir: TempDir,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            fsync: false,
            watch_cache: true,
            compaction: None,
            etcd_quota: None,
            users: Vec::new(),
            flags: Vec::new(),
        }
    }
}

impl Options {
    /// Default options with these users.
    pub fn with_users(users: &[&str]) -> Self {
        Self { users: users.iter().map(ToString::to_string).collect(), ..Self::default() }
    }
}

// === impl TestServer ===

impl TestServer {
    /// Starts a server of the caller's own: for faults, special flags, and counting requests.
    ///
    /// `None` means that the test is to be skipped; why was printed already.
    ///
    /// # Errors
    ///
    /// When the server cannot be built or does not become ready.
    ///
    /// # Panics
    ///
    /// When there is nothing to make a server of and `CI` is set.
    ///
    /// # Cancel safety
    ///
    /// The server is killed; a build goes on in the background.
    pub async fn start(options: Options) -> Result<Option<Self>> {
        if use_existing() {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a test");
            loudly(&format!("NOT FOR AN EXISTING CLUSTER: {name} needs a server of its own"));
            return Ok(None);
        }
        let Some(launch) = launch::find(options).await? else {
            let missing = "no API server: install Go >= 1.26 (https://go.dev/dl), or set KUBEBUILDER_ASSETS \
                           (setup-envtest), or set USE_EXISTING_CLUSTER=true";
            skip(missing);
            return Ok(None);
        };
        launch::first_start(launch).await.map(|own| Some(Self { origin: Origin::Own(Box::new(own)) }))
    }

    /// The server that all tests of this executable share; it is started by the first, with [`SHARED_USERS`].
    ///
    /// `None` means that the test is to be skipped; why was printed already.
    ///
    /// # Errors
    ///
    /// When the server cannot be built or does not become ready.
    ///
    /// # Panics
    ///
    /// When there is nothing to make a server of and `CI` is set.
    ///
    /// # Cancel safety
    ///
    /// The next caller starts it.
    pub async fn shared() -> Result<Option<&'static Self>> {
        static SHARED: OnceCell<Option<TestServer>> = OnceCell::const_new();
        let start = || async {
            if use_existing() {
                return Ok(Some(Self { origin: Origin::Existing }));
            }
            Self::start(Options::with_users(&SHARED_USERS)).await
        };
        Ok(SHARED.get_or_try_init(start).await?.as_ref())
    }

    /// Makes a namespace of its own for a test and returns its name.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    ///
    /// # Cancel safety
    ///
    /// A namespace may be left behind, unused.
    pub async fn namespace(&self) -> Result<String> {
        let metadata = ObjectMeta {
            generate_name: Some("msync-test-".into()),
            // To find them again on a cluster that outlives the tests.
            labels: Some([("app.kubernetes.io/managed-by".into(), "msync-tests".into())].into()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let namespaces: Api<Namespace> = Api::all(self.client(ADMIN).await?);
        let made = namespaces.create(&PostParams::default(), &namespace).await.context("make a namespace")?;
        made.metadata.name.context("the server named the namespace")
    }

    /// The kubeconfig file of a user.
    ///
    /// # Errors
    ///
    /// When the server has no such user; on an existing cluster only [`ADMIN`] has one.
    pub fn kubeconfig(&self, user: &str) -> Result<PathBuf> {
        let file = match &self.origin {
            Origin::Own(own) => own.dir.path().join(format!("{user}.kubeconfig")),
            Origin::Existing if user == ADMIN => existing_kubeconfig()?,
            Origin::Existing => bail!("user {user} of the existing cluster has no kubeconfig"),
        };
        if !file.exists() {
            bail!("user {user} has no kubeconfig {}", file.display());
        }
        Ok(file)
    }

    /// The client configuration of a user: kube's defaults, so its retries are on and its read time-out is off.
    ///
    /// On an existing cluster users other than [`ADMIN`] are impersonated.
    ///
    /// # Errors
    ///
    /// When the server has no such user.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn config(&self, user: &str) -> Result<Config> {
        let kubeconfig = match &self.origin {
            Origin::Own(_) => Kubeconfig::read_from(self.kubeconfig(user)?)?,
            Origin::Existing => Kubeconfig::read()?,
        };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        match &self.origin {
            Origin::Own(_) => config.proxy_url = None, // whatever the environment says: it is on this machine
            Origin::Existing if user != ADMIN => config.auth_info.impersonate = Some(user.to_owned()),
            Origin::Existing => {}
        }
        Ok(config)
    }

    /// A client of a user. It belongs to the current runtime, so every test makes its own.
    ///
    /// # Errors
    ///
    /// When the server has no such user.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn client(&self, user: &str) -> Result<Client> {
        Ok(Client::try_from(self.config(user).await?)?)
    }

    /// A client of a user whose connections go through a fault proxy of this server.
    ///
    /// # Errors
    ///
    /// When the server has no such user.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn client_via(&self, proxy: &Proxy, user: &str) -> Result<Client> {
        let mut config = self.config(user).await?;
        config.cluster_url = format!("https://{}", proxy.addr()).parse()?;
        Ok(Client::try_from(config)?)
    }

    /// A client of a user whose requests are tampered with.
    ///
    /// # Errors
    ///
    /// When the server has no such user.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn client_with(&self, tamper: &Tamper, user: &str) -> Result<Client> {
        Ok(tamper.client(self.config(user).await?)?)
    }

    /// Starts a fault proxy in front of this server.
    ///
    /// # Errors
    ///
    /// When the server is not one of the test bed's, or no port can be had.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left behind.
    pub async fn proxy(&self) -> Result<Proxy> {
        Proxy::start(self.own()?.addr().await?).await
    }

    /// How often the server has answered requests for a resource (group `""` is the core), by verb, over all namespaces.
    ///
    /// The metric knows no namespaces, so a test that counts starts a server of its own.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or its counts do not settle.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn request_counts(&self, group: &str, resource: &str) -> Result<RequestCounts> {
        requests::settled(&self.client(ADMIN).await?, group, resource).await
    }

    /// [`TestServer::request_counts`] of the Lock resource.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or its counts do not settle.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn lock_requests(&self) -> Result<RequestCounts> {
        if crate::cluster::on_leases() {
            return self.request_counts("coordination.k8s.io", "leases").await;
        }
        self.request_counts("metaparticle.io", "locks").await
    }
}

/// Faults of the server itself; every one is an error on an existing cluster.
impl TestServer {
    /// Stops the server where it stands (SIGSTOP): connections stay open, and nobody answers.
    ///
    /// # Errors
    ///
    /// When it does not run.
    ///
    /// # Cancel safety
    ///
    /// It may be stopped or not.
    pub async fn freeze(&self) -> Result<()> {
        self.own()?.running.lock().await.as_ref().context(NOT_RUNNING)?.api_server().stop().await
    }

    /// Lets a frozen server continue (SIGCONT).
    ///
    /// # Errors
    ///
    /// When it does not run.
    ///
    /// # Cancel safety
    ///
    /// It may continue or not.
    pub async fn thaw(&self) -> Result<()> {
        self.own()?.running.lock().await.as_ref().context(NOT_RUNNING)?.api_server().resume()
    }

    /// Kills the server, and etcd with it (SIGKILL), also a frozen one.
    ///
    /// # Errors
    ///
    /// When it cannot be killed.
    ///
    /// # Cancel safety
    ///
    /// It may be killed or not.
    pub async fn kill(&self) -> Result<()> {
        match self.own()?.running.lock().await.take() {
            Some(running) => running.kill(),
            None => Ok(()),
        }
    }

    /// Starts the server again on the same address, users and data, killing it first if it runs.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    ///
    /// # Cancel safety
    ///
    /// The server is killed.
    pub async fn restart(&self) -> Result<()> {
        let own = self.own()?;
        let mut running = own.running.lock().await;
        drop(running.take());
        *running = Some(own.launch.start(own.dir.path()).await?);
        Ok(())
    }

    /// The process id of the API server.
    ///
    /// # Errors
    ///
    /// When it does not run.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn pid(&self) -> Result<i32> {
        Ok(self.own()?.running.lock().await.as_ref().context(NOT_RUNNING)?.api_server().pid())
    }

    /// The directory with the server's data, keys and log (`apiserver.log`).
    ///
    /// # Errors
    ///
    /// On an existing cluster.
    pub fn dir(&self) -> Result<&Path> {
        Ok(self.own()?.dir.path())
    }

    fn own(&self) -> Result<&Own> {
        match &self.origin {
            Origin::Own(own) => Ok(own),
            Origin::Existing => bail!("the existing cluster is not the test bed's to break"),
        }
    }
}

const NOT_RUNNING: &str = "the test server does not run";

// === impl Own ===

impl Own {
    async fn addr(&self) -> Result<SocketAddr> {
        Ok(self.running.lock().await.as_ref().context(NOT_RUNNING)?.addr())
    }
}

pub(crate) fn use_existing() -> bool {
    std::env::var("USE_EXISTING_CLUSTER").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

fn existing_kubeconfig() -> Result<PathBuf> {
    if let Some(paths) = std::env::var_os("KUBECONFIG") {
        return std::env::split_paths(&paths).next().context("KUBECONFIG is empty");
    }
    Ok(std::env::home_dir().context("no home directory")?.join(".kube/config"))
}

/// libtest names the thread after the test.
fn skip(reason: &str) {
    let thread = std::thread::current();
    skipped(&format!("{}: {reason}", thread.name().unwrap_or("a test")));
}

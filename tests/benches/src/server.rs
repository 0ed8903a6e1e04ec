//! The API server of the run: fsync on, started by the test bed.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use kube::Api;
use msync::{
    Client, ClientBuilder, Timing,
    unstable::crd::{Lock, install_crd},
};
use tests::testbed::{ADMIN, Options, TestServer};

use crate::{
    child::{Over, Place},
    metrics::{Requests, Usage},
};

/// The server, and a client that asks it for its metrics.
pub(crate) struct Server {
    server: TestServer,
    client: kube::Client,
}

/// A fresh namespace of the server.
pub(crate) struct Room<'a> {
    pub(crate) server: &'a Server,
    pub(crate) namespace: String,
    kubeconfig: PathBuf,
}

// === impl Server ===

impl Server {
    pub(crate) async fn start() -> Result<Self> {
        let options = Options { fsync: true, ..Options::default() };
        let server = TestServer::start(options).await?.context("benchmarks need an API server of their own")?;
        let client = Over::Ours.client(server.config(ADMIN).await?)?;
        install_crd(&client).await?;
        Ok(Self { server, client })
    }

    pub(crate) async fn room(&self) -> Result<Room<'_>> {
        Ok(Room { server: self, namespace: self.server.namespace().await?, kubeconfig: self.server.kubeconfig(ADMIN)? })
    }

    pub(crate) fn test_server(&self) -> &TestServer {
        &self.server
    }

    /// A client of kube with msync's own connections, warmed up.
    pub(crate) async fn kube(&self) -> Result<kube::Client> {
        self.kube_over(Over::Ours).await
    }

    /// The same, with connections of either kind.
    pub(crate) async fn kube_over(&self, over: Over) -> Result<kube::Client> {
        let client = over.client(self.server.config(ADMIN).await?)?;
        client.apiserver_version().await?;
        Ok(client)
    }

    pub(crate) async fn requests(&self) -> Result<Requests> {
        Requests::settled(&self.client).await
    }

    /// The writes of Leases.
    pub(crate) async fn lease_requests(&self) -> Result<Requests> {
        Requests::of_leases(&self.client).await
    }

    /// The counts as they are, while requests go on.
    pub(crate) async fn requests_now(&self) -> Result<Requests> {
        Requests::now(&self.client).await
    }

    /// Seconds that a histogram of the server's has summed up so far, and how often, for lines that contain all of these.
    pub(crate) async fn seconds(&self, histogram: &str, labels: &[&str]) -> Result<(f64, f64)> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let metrics = self.client.request_text(request).await.context("read the server's metrics")?;
        let sum = |suffix: &str| {
            let name = format!("{histogram}_{suffix}{{");
            let lines =
                metrics.lines().filter(|line| line.starts_with(&name) && labels.iter().all(|it| line.contains(it)));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
        };
        Ok((sum("sum"), sum("count")))
    }

    pub(crate) async fn usage(&self) -> Result<Usage> {
        Usage::of(self.server.pid().await?)
    }

    /// The address of the etcd that the API server keeps its objects in.
    pub(crate) fn etcd(&self) -> Result<String> {
        let file = self.server.dir()?.join("etcd-client.port");
        let port = fs::read_to_string(&file).context("no etcd of the test bed's own: unset KUBEBUILDER_ASSETS")?;
        Ok(format!("http://127.0.0.1:{}", port.trim()))
    }
}

// === impl Room ===

impl Room<'_> {
    pub(crate) async fn locks(&self) -> Result<Api<Lock>> {
        Ok(Api::namespaced(self.server.kube().await?, &self.namespace))
    }

    /// The same with its locks in Leases, or in the resource.
    pub(crate) async fn client_on(&self, leases: bool, owner: &str, ttl: Duration) -> Result<Client> {
        let builder = self.builder(owner, ttl)?;
        let builder = if leases { builder.leases() } else { builder };
        let client = builder.config(self.server.server.config(ADMIN).await?).build()?;
        client.lock(format!("warm-{owner}"))?.acquire().await?.release().await?;
        Ok(client)
    }

    /// A client of msync with connections of its own, warmed up.
    pub(crate) async fn client(&self, owner: &str, ttl: Duration) -> Result<Client> {
        let client = self.builder(owner, ttl)?.config(self.server.server.config(ADMIN).await?).build()?;
        client.lock(format!("warm-{owner}"))?.acquire().await?.release().await?;
        Ok(client)
    }

    pub(crate) fn client_of(&self, client: kube::Client, owner: &str, ttl: Duration) -> Result<Client, msync::Error> {
        Ok(self.builder(owner, ttl)?.kube(client).build())
    }

    fn builder(&self, owner: &str, ttl: Duration) -> Result<ClientBuilder, msync::Error> {
        Ok(Client::builder().namespace(&self.namespace).owner(owner).timing(Timing::with_ttl(ttl)?))
    }

    /// What a child process needs to make such a client.
    pub(crate) fn place(&self, owner: &str, ttl: Duration) -> Place {
        let (kubeconfig, namespace, owner) = (self.kubeconfig.clone(), self.namespace.clone(), owner.to_owned());
        Place { kubeconfig, namespace, owner, ttl, url: None, over: Over::Ours, sessions: true }
    }
}

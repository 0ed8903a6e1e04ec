//! How msync reaches the API server when it makes the client of kube itself.
//!
//! kube's own client waits some 40 ms at the first request of each connection (Nagle's algorithm against delayed
//! acknowledgements), opens a connection per watch, and does not notice a peer that is gone. This one has kube's layers
//! (TLS, authentication, headers) over sockets with `TCP_NODELAY`, and one HTTP/2 connection for all calls and watches,
//! with pings; HTTP/1.1 where the server speaks no other.
//!
//! It repeats nothing that may have reached the server and cuts nothing that takes long: the engine gives every call its
//! deadline and decides itself what is sent again, and watches are silent for minutes. So `default_retry` and the
//! time-outs of a [`kube::Config`] mean nothing here.

mod cause;
mod credentials;
mod dial;
mod http1;
mod lanes;
mod socket;

use std::{fmt, time::Duration};

use futures::future::BoxFuture;
use http::{Request, Response};
use kube::{
    client::{Body, ConfigExt},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio::runtime::Handle;
use tower::{BoxError, ServiceBuilder, filter::AsyncFilterLayer};

use self::{
    credentials::Credentials,
    dial::OnRuntime,
    http1::Http1,
    lanes::{Lanes, Streamed},
};
use crate::{Error, clock::Home, runtime};

/// `1` keeps to HTTP/1.1.
const HTTP: &str = "MSYNC_HTTP";

/// How long a dead peer may go unnoticed: half of it idle, half of it unanswered, about.
const PING_AFTER: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Who gives up an unanswered call sooner than this tells nothing about the peer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which versions of HTTP are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/2 where the server speaks it over TLS, else HTTP/1.1.
    Best,
    /// HTTP/1.1.
    One,
}

/// The cluster of the environment.
#[derive(Clone, Debug)]
pub struct Found {
    /// How to reach it.
    pub config: kube::Config,
    /// The kubeconfig's context; none for the service account of a pod.
    pub context: Option<String>,
}

/// Finds the cluster of the environment: the kubeconfig, or the service account of a pod.
///
/// Unlike [`kube::Config::infer`] it does not pass over a kubeconfig that is there and broken: locks of another cluster
/// than the one that was meant would exclude nobody.
///
/// # Errors
/// [`Error::Store`], which says first what is wrong.
///
/// # Cancel safety
/// Dropping the future leaves nothing behind.
pub async fn infer() -> Result<Found, Error> {
    let (mut config, context) = match kubeconfig().await {
        Ok((config, context)) => (config, context),
        Err(error) if cause::is_nothing_there(&error) => {
            let config = kube::Config::incluster().map_err(|in_cluster| cause::no_cluster(error, in_cluster))?;
            (config, None)
        }
        Err(error) => return Err(cause::kubeconfig(error)),
    };
    config.apply_debug_overrides();
    Ok(Found { config, context })
}

/// Reads the kubeconfig, and the name of its context.
async fn kubeconfig() -> Result<(kube::Config, Option<String>), KubeconfigError> {
    let file = Kubeconfig::read()?;
    let context = file.current_context.clone();
    Ok((of_kubeconfig(file, &KubeConfigOptions::default()).await?, context))
}

/// The configuration that a kubeconfig stands for. Unlike [`kube::Config::from_custom_kubeconfig`] it asks for the proxy of
/// `HTTPS_PROXY` only where that is meant: not for hosts of `NO_PROXY`, nor for this one.
///
/// # Errors
/// As there.
///
/// # Cancel safety
/// Dropping the future leaves nothing behind.
pub async fn of_kubeconfig(file: Kubeconfig, options: &KubeConfigOptions) -> Result<kube::Config, KubeconfigError> {
    let mut config = kube::Config::from_custom_kubeconfig(file, options).await?;
    config.proxy_url = dial::proxy_of(&config);
    Ok(config)
}

/// Makes a client of kube with this transport; to be called within a tokio runtime, which its connections then live on.
/// Sends nothing. Runs the kubeconfig's exec plugin, if it has one, and blocks the thread meanwhile.
///
/// `MSYNC_HTTP=1` keeps it to HTTP/1.1.
///
/// # Errors
/// [`Error::Store`], which says first what is wrong with the configuration.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn connect(config: kube::Config) -> Result<kube::Client, Error> {
    let http = match std::env::var(HTTP).as_deref() {
        Ok("1" | "1.1") => Http::One,
        Ok("" | "2") | Err(_) => Http::Best,
        Ok(other) => return Err(Error::store(format!("{HTTP} is {other:?}"), "it may be `1` or `2`")),
    };
    connect_over(http, config)
}

/// [`connect`], whatever the environment says.
///
/// # Errors
/// As [`connect`].
///
/// # Panics
/// As [`connect`].
pub fn connect_over(http: Http, config: kube::Config) -> Result<kube::Client, Error> {
    let transport = Transport::new(http, &config)?;
    let auth = config.auth_layer().map_err(|error| cause::client(error, &config))?;
    let (plugin, auth) = match (auth, credentials::program(&config.auth_info)) {
        (Some(layer), Some(program)) => (Some(Credentials::new(&layer, program, Handle::current())), None),
        (auth, _) => (None, auth),
    };
    let headers = config.extra_headers_layer().map_err(|error| cause::client(error, &config))?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(plugin.map(AsyncFilterLayer::new))
        .option_layer(auth)
        .layer(headers)
        .map_err(BoxError::from)
        .service(transport);
    Ok(kube::client::ClientBuilder::new(service, config.default_namespace).build())
}

/// [`connect`], on the thread of msync's own: such a client needs nobody's runtime.
///
/// # Errors
/// As [`connect`].
pub fn connect_at_home(config: kube::Config) -> Result<kube::Client, Error> {
    runtime::within(Home::Own, || connect(config))
}

/// Sends requests, on the runtime it was made on.
#[derive(Clone)]
struct Transport {
    /// None where only HTTP/1.1 is spoken.
    lanes: Option<Lanes>,
    http1: Http1,
}

/// Why a request was not answered: the whole chain of causes as one line, for whoever shows no sources.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(String);

// === impl Found ===

impl Found {
    /// Says in the log where the locks of a client are, so that nobody takes those of another cluster than was meant.
    pub(crate) fn report(&self, namespace: Option<&str>) {
        let context = self.context.as_deref().unwrap_or("the pod's service account");
        let (server, namespace) = (&self.config.cluster_url, namespace.unwrap_or(&self.config.default_namespace));
        tracing::info!(context, %server, namespace, "the locks are in the cluster of the environment");
    }
}

// === impl Transport ===

impl Transport {
    fn new(http: Http, config: &kube::Config) -> Result<Self, Error> {
        if config.root_cert.as_ref().is_some_and(Vec::is_empty) && !config.accept_invalid_certs {
            let why = "no server could be trusted";
            return Err(Error::store("the cluster's certificate authority holds no certificate", why));
        }
        let dials = dial::dials(config).map_err(|error| cause::dial(error, config))?;
        let runtime = OnRuntime::current();
        let http1 = Http1::new(dials.http1, runtime.clone());
        let lanes = dials.any.filter(|_| http == Http::Best);
        Ok(Self { lanes: lanes.map(|dial| Lanes::new(dial, config.cluster_url.clone(), runtime)), http1 })
    }

    async fn send(self, request: Request<Body>) -> Result<Response<Streamed>, Broken> {
        let request = match &self.lanes {
            Some(lanes) => match lanes.send(request).await? {
                lanes::Sent::Answered(response) => return Ok(response),
                lanes::Sent::OnlyHttp1(request) => request,
            },
            None => request,
        };
        Ok(self.http1.send(request).await?.map(Streamed::plain))
    }
}

impl tower::Service<Request<Body>> for Transport {
    type Response = Response<Streamed>;
    type Error = Broken;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

// === impl Broken ===

impl Broken {
    /// Joins an error and its sources, leaving out those whose text is a part of the one before.
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut line = error.to_string();
        let mut next = error.source();
        while let Some(source) = next {
            let text = source.to_string();
            if !line.contains(&text) {
                line = format!("{line}: {text}");
            }
            next = source.source();
        }
        Self(line)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("http2", &self.lanes.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_broken_request_tells_every_cause_once() {
        let inner = std::io::Error::other("connection refused");
        assert_eq!(Broken::of(&Outer(inner)).to_string(), "cannot connect: connection refused");
        let told = std::io::Error::other(Broken("cannot connect: connection refused".to_owned()));
        assert_eq!(Broken::of(&told).to_string(), "cannot connect: connection refused");
    }
}

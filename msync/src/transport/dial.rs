//! Opening a connection: the socket, the proxy, the TLS.

use std::{sync::Arc, time::Duration};

use http::Uri;
use hyper::rt::{Executor, Read, Write};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
#[cfg(any(feature = "__rustls", feature = "openssl-tls"))]
use kube::client::ConfigExt;
use tokio::runtime::Handle;
use tower::{BoxError, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::{Broken, PING_AFTER, PING_TIMEOUT, socket::Socket};
use crate::clock::{BootClock, Clock};

mod proxy;

pub(super) use proxy::{from_environment as is_of_environment, of as proxy_of};

/// How long TCP, proxy and TLS may take together. A peer that is slower than this is no use to a lock.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens connections to one server.
pub(super) type Dial = BoxCloneSyncService<Uri, Socket, BoxError>;

/// The ways to one server.
pub(super) struct Dials {
    /// Speaks HTTP/1.1.
    pub(super) http1: Dial,
    /// Speaks what the server prefers of HTTP/1.1 and HTTP/2; absent where they cannot agree on it.
    pub(super) any: Option<Dial>,
}

/// Why no connection could even be tried.
pub(super) enum NoDial {
    /// This build cannot speak to the proxy.
    Proxy { proxy: Uri, feature: &'static str },
    /// Nobody can.
    UnknownProxy { proxy: Uri },
    /// `https`, and no TLS in this build.
    #[cfg(not(any(feature = "__rustls", feature = "openssl-tls")))]
    NoTls,
    /// The certificates or the client's identity are not usable.
    #[cfg(any(feature = "__rustls", feature = "openssl-tls"))]
    Tls(kube::Error),
}

/// What opens a connection to a URI.
trait Connector:
    tower::Service<
        Uri,
        Response: Read + Write + Connection + Send + Unpin + 'static,
        Future: Send + 'static,
        Error: Into<BoxError>,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<C> Connector for C
where
    C: tower::Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + Connection + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
}

/// Spawns on the runtime that the transport was made on, whoever polls a request.
#[derive(Clone, Debug)]
pub(super) struct OnRuntime(Handle);

// === impl OnRuntime ===

impl OnRuntime {
    pub(super) fn current() -> Self {
        Self(Handle::current())
    }
}

impl<F> Executor<F> for OnRuntime
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Makes the ways to a cluster's API server.
pub(super) fn dials(config: &kube::Config) -> Result<Dials, NoDial> {
    match proxy::of(config) {
        None => over(tcp(), &shown(&config.cluster_url), config),
        Some(proxy) => proxy::dials(&proxy, config),
    }
}

/// A URI without what is secret in it.
pub(super) fn shown(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", uri.scheme_str().unwrap_or("http"))
}

/// Sockets that send small writes at once, and that end when the peer's kernel has not answered for as long as an
/// unanswered ping of HTTP/2 would take.
pub(super) fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(PING_AFTER));
    tcp.set_keepalive_interval(Some(PING_TIMEOUT / 5));
    tcp.set_keepalive_retries(Some(5));
    #[cfg(any(target_os = "linux", target_os = "android"))]
    tcp.set_tcp_user_timeout(Some(PING_AFTER + PING_TIMEOUT));
    tcp
}

/// Adds TLS to a connector: that of rustls, else that of OpenSSL. `whither` is for people.
#[cfg(feature = "__rustls")]
fn over(connector: impl Connector, whither: &str, config: &kube::Config) -> Result<Dials, NoDial> {
    choose_provider();
    let tls = config.rustls_client_config().map_err(NoDial::Tls)?;
    let builder = |tls| -> Result<_, NoDial> {
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let Some(name) = config.tls_server_name.clone() else { return Ok(builder) };
        let name =
            rustls::pki_types::ServerName::try_from(name).map_err(kube::client::RustlsTlsError::InvalidServerName);
        let name = name.map_err(|error| NoDial::Tls(kube::Error::RustlsTls(error)))?;
        Ok(builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name)))
    };
    let http1 = boxed(builder(tls.clone())?.enable_http1().wrap_connector(connector.clone()), whither);
    if config.cluster_url.scheme() != Some(&http::uri::Scheme::HTTPS) {
        return Ok(Dials { http1, any: None });
    }
    Ok(Dials { http1, any: Some(boxed(builder(tls)?.enable_all_versions().wrap_connector(connector), whither)) })
}

/// rustls panics when two of its providers are compiled in and none is installed, so one is, unless the program did.
#[cfg(feature = "__rustls")]
fn choose_provider() {
    use rustls::crypto::CryptoProvider;
    if CryptoProvider::get_default().is_some() {
        return;
    }
    #[cfg(feature = "rustls-tls")]
    let provider = rustls::crypto::ring::default_provider();
    #[cfg(not(feature = "rustls-tls"))]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // Another thread may have been first: its choice is as good.
    let _ = provider.install_default();
}

#[cfg(all(feature = "openssl-tls", not(feature = "__rustls")))]
fn over(connector: impl Connector, whither: &str, config: &kube::Config) -> Result<Dials, NoDial> {
    let tls = config.openssl_https_connector_with_connector(connector).map_err(NoDial::Tls)?;
    Ok(Dials { http1: boxed(tls, whither), any: None })
}

#[cfg(not(any(feature = "__rustls", feature = "openssl-tls")))]
fn over(connector: impl Connector, whither: &str, config: &kube::Config) -> Result<Dials, NoDial> {
    if config.cluster_url.scheme() == Some(&http::uri::Scheme::HTTPS) {
        return Err(NoDial::NoTls);
    }
    Ok(Dials { http1: boxed(connector, whither), any: None })
}

/// Bounds the time of a connector, names its server in errors, and forgets its type.
fn boxed(connector: impl Connector, whither: &str) -> Dial {
    let whither: Arc<str> = whither.into();
    BoxCloneSyncService::new(service_fn(move |server: Uri| {
        let (connector, whither) = (connector.clone(), Arc::clone(&whither));
        async move {
            let limit = BootClock.sleep_until(BootClock.now() + CONNECT_TIMEOUT);
            let connected = tokio::select! {
                connected = connector.oneshot(server) => connected.map_err(|error| Broken::of(error.into().as_ref()).0),
                () = limit => Err(format!("no answer within {CONNECT_TIMEOUT:?}")),
            };
            connected.map(Socket::new).map_err(|why| format!("cannot connect to {whither}: {why}").into())
        }
    }))
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt;

    use super::*;

    #[tokio::test]
    async fn sockets_send_at_once_and_notice_a_dead_peer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = format!("http://{address}").parse().expect("a URI");
        let socket = tcp().oneshot(server).await.expect("it listens").into_inner();
        assert!(socket.nodelay().expect("an option"), "Nagle's algorithm would hold small writes back");
        assert!(sockopt::socket_keepalive(&socket).expect("an option"));
        let silence = sockopt::tcp_keepidle(&socket).expect("an option")
            + sockopt::tcp_keepintvl(&socket).expect("an option") * sockopt::tcp_keepcnt(&socket).expect("an option");
        assert!(silence <= Duration::from_secs(15), "a dead peer goes unnoticed for {silence:?}");
        assert_eq!(sockopt::tcp_user_timeout(&socket).expect("an option"), 15_000, "milliseconds without an answer");
    }

    /// With `--features aws-lc-rs` there are two, of which rustls would not know which to take.
    #[cfg(feature = "__rustls")]
    #[tokio::test]
    async fn a_client_is_made_whatever_providers_are_compiled_in() {
        let config = kube::Config::new("https://127.0.0.1:1".parse().expect("a URI"));
        assert!(crate::transport::connect_over(crate::transport::Http::Best, config).is_ok());
    }

    #[test]
    fn secrets_of_a_uri_are_not_shown() {
        let proxy = "http://user:secret@proxy.example:3128".parse().expect("a URI");
        assert_eq!(shown(&proxy), "http://proxy.example:3128");
    }
}

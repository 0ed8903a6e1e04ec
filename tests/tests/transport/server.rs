//! A server in this process whose TLS, settings and manners a test chooses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::Config;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

type Answer = UnsyncBoxBody<Bytes, std::io::Error>;

/// How a server behaves.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// What it speaks, by ALPN.
    pub(crate) speaks: Vec<&'static str>,
    /// How many streams it allows on a connection.
    pub(crate) streams: u32,
}

/// A running server. It belongs to the runtime it was started on.
pub(crate) struct Server {
    pub(crate) config: Config,
    shared: Arc<Shared>,
}

struct Shared {
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
    goodbye: watch::Sender<u64>,
}

// === impl Manners ===

impl Default for Manners {
    fn default() -> Self {
        Self { speaks: vec!["h2", "http/1.1"], streams: 250 }
    }
}

// === impl Server ===

impl Server {
    pub(crate) async fn start(manners: Manners) -> Result<Self> {
        Self::on(TcpListener::bind("127.0.0.1:0").await?, manners)
    }

    /// Serves at an address that somebody has listened at already.
    pub(crate) fn on(listener: TcpListener, manners: Manners) -> Result<Self> {
        let addr = listener.local_addr()?;
        let key = rcgen::KeyPair::generate()?;
        let certificate =
            rcgen::CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?.self_signed(&key)?;
        let mut config = Config::new(format!("https://{addr}").parse()?);
        config.root_cert = Some(vec![certificate.der().to_vec()]);
        let acceptor = acceptor(certificate.der().clone(), key.serialize_der(), &manners)?;
        let shared = Arc::new(Shared {
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            goodbye: watch::Sender::new(0),
        });
        tokio::spawn(accept(listener, acceptor, manners, Arc::clone(&shared)));
        Ok(Self { config, shared })
    }

    /// How many connections it has accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many of them are open.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many requests it has got.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Says on every connection that it is the last request's turn (GOAWAY), as an API server does that shuts down.
    pub(crate) fn say_goodbye(&self) {
        self.shared.goodbye.send_modify(|n| *n += 1);
    }
}

fn acceptor(certificate: CertificateDer<'static>, key: Vec<u8>, manners: &Manners) -> Result<TlsAcceptor> {
    let key = PrivateKeyDer::try_from(key).map_err(anyhow::Error::msg)?;
    // Not the process's provider: tests look at which one that is.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .context("the certificate of the test server")?;
    tls.alpn_protocols = manners.speaks.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(tls)))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, manners: Manners, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let served = serve(socket, acceptor.clone(), manners.clone(), Arc::clone(&shared));
        let shared = Arc::clone(&shared);
        shared.open.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let _ = served.await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(socket: TcpStream, acceptor: TlsAcceptor, manners: Manners, shared: Arc<Shared>) -> Result<()> {
    let mut goodbye = shared.goodbye.subscribe();
    let stream = acceptor.accept(socket).await?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let io = TokioIo::new(stream);
    if !http2 {
        return Ok(conn::http1::Builder::new().serve_connection(io, service).await?);
    }
    let connection = conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(manners.streams)
        .serve_connection(io, service);
    tokio::pin!(connection);
    tokio::select! {
        ended = &mut connection => return Ok(ended?),
        _ = goodbye.changed() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Answer>, std::io::Error> {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let version = if request.version() == Version::HTTP_2 { "2" } else { "1.1" };
    Ok(match request.uri().path() {
        "/silent" => std::future::pending().await,
        "/watch" => Response::new(BodyExt::boxed_unsync(StreamBody::new(stream::pending()))),
        "/slow" => Response::new(BodyExt::boxed_unsync(StreamBody::new(stream::once(late()).boxed()))),
        "/busy" => {
            let mut response = Response::new(whole(version));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response.headers_mut().insert("retry-after", http::HeaderValue::from_static("1"));
            response
        }
        _ => Response::new(whole(version)),
    })
}

async fn late() -> Result<Frame<Bytes>, std::io::Error> {
    sleep(Duration::from_secs(2)).await;
    Ok(Frame::data(Bytes::from_static(b"late")))
}

fn whole(text: &'static str) -> Answer {
    BodyExt::boxed_unsync(Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}))
}

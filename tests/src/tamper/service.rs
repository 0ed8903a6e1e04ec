//! The tower service that carries out a request's fate.

use std::{
    future::pending,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use kube::client::{Body, DynBody};
use tokio::{task::JoinHandle, time::sleep};
use tower::{BoxError, Service, ServiceExt, buffer::Buffer};

use super::{Call, Fate, Reply, Tamper};

/// The response of kube's stack.
type Inner = Response<Box<DynBody>>;
type Outer = Response<UnsyncBoxBody<Bytes, BoxError>>;
type InFlight<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;
/// kube's stack behind a buffer: cloned, so that a request can be delivered after its caller has left.
type Next = Buffer<Request<Body>, InFlight<Inner>>;

#[derive(Clone)]
pub(super) struct TamperService {
    tamper: Tamper,
    next: Next,
}

// === impl TamperService ===

impl TamperService {
    pub(super) fn new(tamper: Tamper, next: Next) -> Self {
        Self { tamper, next }
    }

    async fn meet_fate(self, request: Request<Body>) -> Result<Outer, BoxError> {
        let (call, request) = read(request).await?;
        match self.tamper.decide(&call) {
            Fate::Pass => deliver(self.next, request).await.map(pass_on),
            Fate::Respond(reply) => Ok(respond(reply)),
            Fate::Refuse => Err(broken()),
            Fate::Delay(delay) => {
                sleep(delay).await;
                deliver(self.next, request).await.map(pass_on)
            }
            Fate::LateReply(delay) => {
                let reply = tokio::spawn(deliver(self.next, request)).await?;
                sleep(delay).await;
                reply.map(pass_on)
            }
            Fate::DropReply => {
                self.deliver_unseen(call, request, None);
                pending().await
            }
            Fate::BreakReply => {
                self.deliver_unseen(call, request, None).await?;
                Err(broken())
            }
            Fate::DeliverLater(delay) => {
                self.deliver_unseen(call, request, Some(delay));
                pending().await
            }
        }
    }

    /// Delivers in a task of its own, which a caller that gives up does not cancel.
    fn deliver_unseen(self, call: Call, request: Request<Body>, after: Option<Duration>) -> JoinHandle<()> {
        tokio::spawn(async move {
            if let Some(delay) = after {
                sleep(delay).await;
            }
            if let Ok(reply) = deliver(self.next, request).await {
                self.tamper.record_unseen(call, reply.status());
            }
        })
    }
}

impl Service<Request<Body>> for TamperService {
    type Response = Outer;
    type Error = BoxError;
    type Future = InFlight<Outer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // each request waits for its own clone of the buffer
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().meet_fate(request))
    }
}

/// Reads the body, so that rules can look at it, and puts it back.
async fn read(request: Request<Body>) -> Result<(Call, Request<Body>), BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let call = Call { method: parts.method.clone(), path, body: body.clone() };
    Ok((call, Request::from_parts(parts, Body::from(body))))
}

/// Boxed: the compiler cannot prove the bare future `Send` across a task's boundary.
fn deliver(next: Next, request: Request<Body>) -> InFlight<Inner> {
    Box::pin(next.oneshot(request))
}

fn pass_on(response: Inner) -> Outer {
    response.map(BodyExt::boxed_unsync)
}

fn respond(reply: Reply) -> Outer {
    let body = Full::new(reply.body).map_err(BoxError::from).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn broken() -> BoxError {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by the test").into()
}

//! A layer under kube's client that meddles with single requests.
//!
//! It sees method, path and body of every request that would go out, below kube's own retries, and decides its fate:
//! an answer of our own, a lost reply, a late delivery. What TCP can do to a connection is in [`crate::proxy`].

mod service;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use kube::client::{ClientBuilder, retry::RetryPolicy};
use serde_json::json;
use service::TamperService;
use tower::{buffer::BufferLayer, layer::layer_fn, retry::RetryLayer};

/// A request as the rules see it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The HTTP method.
    pub method: Method,
    /// Path and query, as `/api/v1/namespaces/default/configmaps?limit=1`.
    pub path: String,
    /// The whole body; empty for reads.
    pub body: Bytes,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is sent and answered as if nothing were.
    Pass,
    /// It is not sent; this is the answer.
    Respond(Reply),
    /// It is not sent; the caller sees a broken connection.
    Refuse,
    /// It is sent after this time, unless the caller gives up before.
    Delay(Duration),
    /// It is delivered, whether or not the caller waits, and its reply arrives this much later.
    LateReply(Duration),
    /// It is delivered, whether or not the caller waits, and never answered.
    DropReply,
    /// It is delivered, then the caller sees a broken connection instead of the reply.
    BreakReply,
    /// It is never answered, and delivered after this time, when nobody expects it any more: a zombie write.
    DeliverLater(Duration),
}

/// An answer that no server gave.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// Headers besides the content type.
    pub headers: HeaderMap,
    /// The body; kube expects a JSON `Status` with an error.
    pub body: Bytes,
}

/// The rules and the log of one tampered client; clones share them.
#[derive(Clone, Default)]
pub struct Tamper {
    shared: Arc<Mutex<Shared>>,
}

type Rule = Box<dyn FnMut(&Call) -> Option<Fate> + Send>;

#[derive(Default)]
struct Shared {
    rules: Vec<Rule>,
    calls: Vec<Call>,
    /// Replies of the server to requests whose caller did not get them.
    unseen: Vec<(Call, StatusCode)>,
}

// === impl Call ===

impl Call {
    /// Whether method and a part of the path are these.
    pub fn is(&self, method: &Method, path: &str) -> bool {
        self.method == method && self.path.contains(path)
    }

    /// Whether the request changes something.
    pub fn is_write(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// Whether the body contains this text.
    pub fn says(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text)
    }
}

// === impl Reply ===

impl Reply {
    /// The error answer of an API server: a JSON `Status` with this code and reason.
    ///
    /// # Panics
    ///
    /// When `code` is not an HTTP status.
    pub fn error(code: u16, reason: &str, message: &str) -> Self {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code,
        });
        Self {
            status: StatusCode::from_u16(code).expect("an HTTP status code"),
            headers: HeaderMap::new(),
            body: status.to_string().into(),
        }
    }

    /// 429 with `Retry-After` in whole seconds.
    pub fn too_many_requests(retry_after: Duration) -> Self {
        let mut reply = Self::error(429, "TooManyRequests", "please try again later");
        reply.headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
        reply
    }
}

// === impl Tamper ===

impl Tamper {
    /// Rules that let everything pass.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule; the first rule that answers decides, in the order they were added.
    pub fn rule(&self, rule: impl FnMut(&Call) -> Option<Fate> + Send + 'static) {
        self.shared().rules.push(Box::new(rule));
    }

    /// Meddles with the next request that matches, and with no other.
    pub fn once(&self, matches: impl Fn(&Call) -> bool + Send + 'static, fate: Fate) {
        let mut fate = Some(fate);
        self.rule(move |call| if matches(call) { fate.take() } else { None });
    }

    /// Meddles with every request that matches.
    pub fn always(&self, matches: impl Fn(&Call) -> bool + Send + 'static, fate: Fate) {
        self.rule(move |call| matches(call).then(|| fate.clone()));
    }

    /// Removes all rules; fates that were dealt out already take their course.
    pub fn clear(&self) {
        self.shared().rules.clear();
    }

    /// Every request so far, in the order they reached this layer, also those that were not sent.
    pub fn calls(&self) -> Vec<Call> {
        self.shared().calls.clone()
    }

    /// The server's replies that were kept from the caller: once a request is here, it was applied or refused.
    pub fn unseen_replies(&self) -> Vec<(Call, StatusCode)> {
        self.shared().unseen.clone()
    }

    /// A client of this configuration, whose requests are tampered with.
    ///
    /// # Errors
    ///
    /// When the configuration does not make a client.
    pub fn client(&self, mut config: kube::Config) -> kube::Result<kube::Client> {
        // Inside kube's stack its retries would be below this layer: the same ones go above instead.
        let retry = std::mem::take(&mut config.default_retry);
        let builder = ClientBuilder::try_from(config)?
            .with_layer(&BufferLayer::new(1024))
            .with_layer(&layer_fn(|inner| TamperService::new(self.clone(), inner)));
        Ok(if retry {
            builder.with_layer(&RetryLayer::new(RetryPolicy::server_retry())).build()
        } else {
            builder.build()
        })
    }

    fn decide(&self, call: &Call) -> Fate {
        let mut shared = self.shared();
        shared.calls.push(call.clone());
        shared.rules.iter_mut().find_map(|rule| rule(call)).unwrap_or(Fate::Pass)
    }

    fn record_unseen(&self, call: Call, status: StatusCode) {
        self.shared().unseen.push((call, status));
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("rules do not panic")
    }
}

impl fmt::Debug for Tamper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tamper").finish_non_exhaustive()
    }
}

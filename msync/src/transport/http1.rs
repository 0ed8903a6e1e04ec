//! HTTP/1.1, for servers that speak no other: hyper's pool, which is thrown away when somebody gives up an unanswered call.
//!
//! Its idle connections have been as silent as the one that did not answer. Each that a balancer has forgotten would cost
//! the next call its whole time, and a few of them a lock.

use std::{
    error::Error as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioTimer};
use kube::client::Body;

use super::{
    Broken, PATIENCE,
    dial::{Dial, OnRuntime},
};
use crate::clock::{BootClock, Clock, Moment};

/// How long an unused connection is kept: longer than between two renewals, shorter than servers do.
const IDLE: Duration = Duration::from_secs(60);

type Pool = legacy::Client<Dial, Body>;

/// The connections to one server.
#[derive(Clone)]
pub(super) struct Http1(Arc<Inner>);

struct Inner {
    dial: Dial,
    runtime: OnRuntime,
    pool: Mutex<Pool>,
}

/// A call under way.
struct Call<'a> {
    inner: &'a Inner,
    begun: Moment,
    answered: bool,
}

// === impl Http1 ===

impl Http1 {
    pub(super) fn new(dial: Dial, runtime: OnRuntime) -> Self {
        let pool = Mutex::new(pool(&dial, &runtime));
        Self(Arc::new(Inner { dial, runtime, pool }))
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Broken> {
        let mut call = Call { inner: &self.0, begun: BootClock.now(), answered: false };
        let answering = self.0.pool().request(request);
        let answer = answering.await;
        call.answered = true;
        answer.map_err(|error| match error.source() {
            // hyper's own words, "client error (Connect)", are none for people.
            Some(cause) if error.is_connect() => Broken::of(cause),
            _ => Broken::of(&error),
        })
    }
}

fn pool(dial: &Dial, runtime: &OnRuntime) -> Pool {
    legacy::Client::builder(runtime.clone())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        // Whatever was not sent may be sent again; this never repeats what was.
        .retry_canceled_requests(true)
        .build(dial.clone())
}

// === impl Inner ===

impl Inner {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Call ===

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.answered && BootClock.now().since(self.begun) >= PATIENCE {
            tracing::debug!("a call to the API server was not answered: what comes next takes new connections");
            *self.inner.pool() = pool(&self.inner.dial, &self.inner.runtime);
        }
    }
}

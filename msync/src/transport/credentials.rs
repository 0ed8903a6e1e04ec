//! Credentials that a program of the kubeconfig brings, asked for beside the requests that need them.
//!
//! kube runs such a program a minute before its token ends. Every request then waits for it, a renewal as well, and if the
//! one that ran it is given up meanwhile, what it answers is lost: where it takes longer than a call may, it would be run
//! for ever. Here it is asked in a task of its own, once at a time, and requests go on with the token at hand for as
//! long as that is known to be good.

use std::{
    fmt,
    future::{Ready, ready},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Either, Shared, select},
};
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use kube::{
    client::{Body, middleware::AuthLayer},
    config::AuthInfo,
};
use tokio::runtime::Handle;
use tower::{BoxError, Layer, ServiceExt, filter::AsyncPredicate, service_fn, util::BoxCloneSyncService};

use super::Broken;
use crate::clock::{BootClock, Clock, Moment};

/// kube asks for another token so long before the end of this one: so long a token is good that it has just found to do.
const GOOD: Duration = Duration::from_secs(60);
/// A program that takes longer than this is told.
const PATIENCE: Duration = Duration::from_secs(5);

type Token = Result<HeaderValue, Broken>;

/// The answer of the program, for all who wait for it.
type Asked = Shared<BoxFuture<'static, Token>>;

/// Adds to each request the token that a program brings.
#[derive(Clone)]
pub(super) struct Credentials {
    /// kube's own way to a token: at once, or by the program.
    source: BoxCloneSyncService<Request<Body>, Response<Option<HeaderValue>>, BoxError>,
    /// The name of the program, for people.
    program: Arc<str>,
    runtime: Handle,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The last token that was found to do, and until when it does at least.
    known: Option<(HeaderValue, Moment)>,
    /// The program runs, or has answered since the last request.
    asked: Option<Asked>,
}

// === impl Credentials ===

impl Credentials {
    /// Asks by kube's layer, on a runtime that lasts.
    pub(super) fn new(layer: &AuthLayer, program: &str, runtime: Handle) -> Self {
        let echo = service_fn(|request: Request<Body>| {
            ready(Ok::<_, BoxError>(Response::new(request.headers().get(AUTHORIZATION).cloned())))
        });
        let source = BoxCloneSyncService::new(layer.layer(echo));
        Self { source, program: program.into(), runtime, state: Arc::default() }
    }

    /// Returns the token at hand while it is good, and otherwise what the program answers.
    fn token(&self) -> Either<Ready<Token>, Asked> {
        let _context = self.runtime.enter();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = BootClock.now();
        let running = state.asked.take().filter(|asked| asked.clone().now_or_never().is_none());
        let asked = if let Some(asked) = running {
            asked
        } else {
            let mut asking = ask(&self.source);
            // Without the program it is there at once.
            if let Some(token) = (&mut asking).now_or_never() {
                state.known = token.clone().ok().map(|token| (token, now + GOOD));
                return Either::Left(ready(token));
            }
            self.run(asking)
        };
        state.asked = Some(asked.clone());
        match &state.known {
            Some((token, until)) if now < *until => Either::Left(ready(Ok(token.clone()))),
            _ => Either::Right(asked),
        }
    }

    /// Lets the program run to its end, whoever gives up meanwhile.
    fn run(&self, asking: BoxFuture<'static, Token>) -> Asked {
        let program = Arc::clone(&self.program);
        let task = self.runtime.spawn(async move {
            let slow = BootClock.sleep_until(BootClock.now() + PATIENCE);
            let token = match select(asking, slow).await {
                Either::Left((token, _)) => token,
                Either::Right(((), asking)) => {
                    tracing::warn!(%program, "the exec plugin of the kubeconfig has not answered for {PATIENCE:?}");
                    asking.await
                }
            };
            if let Err(error) = &token {
                tracing::debug!(%program, %error, "the exec plugin of the kubeconfig has failed");
            }
            token
        });
        let ended = |ended| Broken(format!("the exec plugin was not waited for: {ended}"));
        task.map(move |token| token.unwrap_or_else(|error| Err(ended(error)))).boxed().shared()
    }
}

/// Returns the program that brings the credentials, if one does.
pub(super) fn program(info: &AuthInfo) -> Option<&str> {
    let exec = info.exec.as_ref().and_then(|exec| exec.command.as_deref());
    exec.or_else(|| info.auth_provider.as_ref()?.config.get("cmd-path").map(String::as_str))
}

/// Asks kube for a token.
fn ask(
    source: &BoxCloneSyncService<Request<Body>, Response<Option<HeaderValue>>, BoxError>,
) -> BoxFuture<'static, Token> {
    let answer = source.clone().oneshot(Request::new(Body::empty()));
    let token = |answer: Result<Response<Option<HeaderValue>>, BoxError>| match answer.map(Response::into_body) {
        Ok(Some(token)) => Ok(token),
        Ok(None) => Err(Broken("the exec plugin brings no token".to_owned())),
        Err(error) => Err(Broken::of(&*error)),
    };
    answer.map(token).boxed()
}

impl AsyncPredicate<Request<Body>> for Credentials {
    type Future = BoxFuture<'static, Result<Request<Body>, BoxError>>;
    type Request = Request<Body>;

    fn check(&mut self, mut request: Request<Body>) -> Self::Future {
        let credentials = self.clone();
        Box::pin(async move {
            let token = credentials.token().await?;
            request.headers_mut().insert(AUTHORIZATION, token);
            Ok(request)
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("program", &self.program).finish_non_exhaustive()
    }
}

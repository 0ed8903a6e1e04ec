//! What the macros expand to. Not part of the public API: it changes without notice.
//!
//! The macros decide nothing: which client, how long to wait and what a loss means is said by [`Config`]; what a call that
//! may not run returns is decided by [`OrError`] and [`OrSkip`] on the function's return type. Only msync's public API is
//! used here, so a macro can do nothing that a guard cannot.

mod acquire;
mod config;
mod hold;
mod missed;
mod name;
#[cfg(test)]
mod tests;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Poll, ready},
};

pub use config::{AsClient, Config};
use hold::Hold;
pub use missed::{FromLockError, Missed, OrError, OrSkip, SkipValue};
pub use name::{AsName, Name};

use crate::{Lease, LeaseSet};

/// Runs a body under one lock.
pub fn run<F, Fut>(config: &Config, name: Name, body: F) -> impl Future<Output = Result<Fut::Output, Missed>>
where
    F: FnOnce(Lease) -> Fut,
    Fut: Future,
{
    under(move || acquire::one(config, name), body)
}

/// Runs a body under several locks: all or nothing, in the order of their names.
pub fn run_all<const N: usize, F, Fut>(
    config: &Config,
    names: [Name; N],
    body: F,
) -> impl Future<Output = Result<Fut::Output, Missed>>
where
    F: FnOnce(LeaseSet) -> Fut,
    Fut: Future,
{
    under(move || acquire::all(config, names.into()), body)
}

/// Runs a body under the running term of an election, if this process leads it.
pub fn lead<F, Fut>(config: &Config, name: Name, body: F) -> impl Future<Output = Result<Fut::Output, Missed>>
where
    F: FnOnce(Lease) -> Fut,
    Fut: Future,
{
    under(move || acquire::term(config, name), body)
}

// Compiled again for each annotated function: what does not depend on the body is elsewhere.
async fn under<L, A, F, Fut>(acquire: impl FnOnce() -> A, body: F) -> Result<Fut::Output, Missed>
where
    A: Future<Output = Result<(Hold, L), Missed>>,
    F: FnOnce(L) -> Fut,
    Fut: Future,
{
    let (mut hold, lease) = acquire().await?;
    let value = {
        let mut body = pin!(body(lease));
        poll_fn(|cx| {
            let mut value = None;
            let counts = ready!(hold.poll(cx, &mut |cx| match body.as_mut().poll(cx) {
                Poll::Ready(returned) => {
                    value = Some(returned);
                    true
                }
                Poll::Pending => false,
            }));
            // One that does not count is dropped here, before the release (promise S7).
            Poll::Ready(if counts { value } else { None })
        })
        .await
    };
    let missed = hold.end().await;
    match value {
        Some(value) => Ok(value),
        None => Err(hold::why(missed)),
    }
}

//! The usual job of a leader: do something every so often, in one process only.
//!
//! Never overlaps two runs, and never makes up for runs it missed.

use std::future::Future;
use std::time::Duration;

use crate::private::{Config, Name, lead};
use crate::{Client, Error, Lease, default_client::with_default_client};

/// The shortest time between two runs: shorter ones are a mistake, such as a period that was not configured.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// How long a run that could not begin, or was ended by a loss, is followed by none, however short the interval.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs `body` every `every` while this process leads the election `name`, with the default client.
///
/// It campaigns until this process leads, then runs the body at once and after that every `every`, counted from the
/// beginning of one run to the beginning of the next; a run that takes longer delays the next. When leadership is lost the
/// body is dropped at its next await and the campaign goes on; when it is regained the body runs again. The body gets the
/// term's [`Lease`], for its fencing token.
///
/// It is the loop to [`leader_only`](crate::leader_only)'s single call.
///
/// # Errors
/// [`Error::ShutDown`] as soon as the client is shut down: the orderly end of the loop, which
/// [`Error::is_shut_down`] tells from others. At once when no client can be made, when the name is empty, or
/// ([`Error::InvalidTiming`]) when `every` is shorter than a millisecond. Failures of a campaign are logged and it is tried
/// again.
///
/// # Cancel safety
/// Dropping the future ends the body; the campaign stays in the background, as with `#[leader_only]`.
///
/// # Examples
/// ```no_run
/// # use std::time::Duration;
/// # async fn sweep(token: msync::FencingToken) {}
/// tokio::spawn(msync::leader_loop("sweeper", Duration::from_secs(60), |term| async move {
///     sweep(term.token()).await;
/// }));
/// ```
pub async fn leader_loop<F, Fut>(name: &str, every: Duration, body: F) -> Result<(), Error>
where
    F: FnMut(Lease) -> Fut,
    Fut: Future<Output = ()>,
{
    let client = with_default_client(|client| Ok(client.clone())).await?;
    client.leader_loop(name, every, body).await
}

impl Client {
    /// Runs `body` every `every` while this process leads the election `name`: [`leader_loop`](crate::leader_loop()) of
    /// this client.
    ///
    /// # Errors
    /// As [`leader_loop`](crate::leader_loop()).
    ///
    /// # Cancel safety
    /// As [`leader_loop`](crate::leader_loop()).
    pub async fn leader_loop<F, Fut>(&self, name: &str, every: Duration, mut body: F) -> Result<(), Error>
    where
        F: FnMut(Lease) -> Fut,
        Fut: Future<Output = ()>,
    {
        if every < SHORTEST_INTERVAL {
            return Err(Error::InvalidTiming { reason: "a leader's loop runs once a millisecond at the most" });
        }
        let (clock, config) = (self.clock(), Config::new().via(self).on_follower_wait());
        let (mut due, mut told) = (clock.now(), String::new());
        loop {
            tokio::select! {
                biased;
                () = self.ended() => return Err(Error::ShutDown),
                () = clock.sleep_until(due) => {}
            }
            due = clock.now() + every;
            let run = |term| {
                due = clock.now() + every; // the campaign may have taken days
                body(term)
            };
            match lead(&config, Name::of(name), run).await {
                Ok(()) => told.clear(),
                Err(missed) => {
                    match missed.into_error() {
                        error if error.is_shut_down() => return Err(Error::ShutDown),
                        error @ Error::InvalidName { .. } => return Err(error),
                        error => report(name, &error, &mut told),
                    }
                    due = due.max(clock.now() + PAUSE);
                }
            }
        }
    }
}

/// Tells why a run did not come to its end, once in a row.
fn report(election: &str, error: &Error, told: &mut String) {
    let text = error.to_string();
    if *told == text {
        tracing::debug!(election, %error, "the leader's body did not run to its end, once more");
    } else {
        tracing::warn!(election, %error, "the leader's body did not run to its end");
        *told = text;
    }
}

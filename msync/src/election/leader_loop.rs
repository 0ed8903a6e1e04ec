//! The usual job of a leader: do something every so often, in one process only.
//!
//! Never overlaps two runs, and never makes up for runs it missed.

use std::future::Future;
use std::time::Duration;

use super::{campaigns, failing::Failing};
use crate::{Client, Error, Lease, LockName};

/// The shortest time between two runs: shorter ones are a mistake, such as a period that was not configured.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// How long a run that could not begin, or was ended by a loss, is followed by none, however short the interval.
const PAUSE: Duration = Duration::from_secs(1);

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
        let (clock, name) = (self.clock(), LockName::of(name)?);
        let (mut due, mut failing) = (clock.now(), Failing::default());
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
            match campaigns::run(self, &name, run).await {
                Ok(()) => failing.over(),
                Err(error) if error.is_shut_down() => return Err(Error::ShutDown),
                Err(error) => {
                    if failing.is_told(&error) {
                        tracing::warn!(lock = %name, %error, "the leader's body did not run to its end");
                    }
                    due = due.max(clock.now() + PAUSE);
                }
            }
        }
    }
}

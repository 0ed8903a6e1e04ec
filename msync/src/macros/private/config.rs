//! The options of one annotated function, as the macro writes them down. Never decides anything by itself.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::held::OnLost;
use crate::macros::default_client::with_default_client;
use crate::{Client, Error, Timing};

/// The options of one annotated function.
#[derive(Clone, Default)]
pub struct Config {
    client: Option<Client>,
    pub(super) ttl: Option<Duration>,
    pub(super) at_least: Option<Duration>,
    pub(super) max_hold: Option<Duration>,
    patience: Patience,
    on_lost: OnLost,
    follower_waits: bool,
}

/// How long a call waits for its lock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Patience {
    #[default]
    Forever,
    TryOnce,
    Within(Duration),
}

/// Whatever leads to a client: the client, a reference, or a shared pointer to it.
#[diagnostic::on_unimplemented(
    message = "`via` takes an `msync::Client`, not `{Self}`",
    label = "this is not a client",
    note = "write an expression of type `Client`, `&Client` or `Arc<Client>`, such as `via = self.client`"
)]
pub trait AsClient {
    /// Returns the client.
    fn as_client(&self) -> &Client;
}

// === impl Config ===

impl Config {
    /// Makes the options of a function that has none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the client.
    #[must_use]
    pub fn via<C: AsClient + ?Sized>(mut self, client: &C) -> Self {
        self.client = Some(client.as_client().clone());
        self
    }

    /// Sets the ttl.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets how long the lock stays held at least.
    #[must_use]
    pub fn at_least(mut self, least: Duration) -> Self {
        self.at_least = Some(least);
        self
    }

    /// Sets how long the lock is held at most.
    #[must_use]
    pub fn max_hold(mut self, most: Duration) -> Self {
        self.max_hold = Some(most);
        self
    }

    /// Waits no longer than this.
    #[must_use]
    pub fn wait(mut self, longest: Duration) -> Self {
        self.patience = Patience::Within(longest);
        self
    }

    /// Does not wait.
    #[must_use]
    pub fn try_once(mut self) -> Self {
        self.patience = Patience::TryOnce;
        self
    }

    /// Leaves the body running when the lock is lost.
    #[must_use]
    pub fn on_lost_signal(mut self) -> Self {
        self.on_lost = OnLost::Signal;
        self
    }

    /// Ends the process when the lock is lost.
    #[must_use]
    pub fn on_lost_abort(mut self) -> Self {
        self.on_lost = OnLost::Abort;
        self
    }

    /// Waits until this process leads.
    #[must_use]
    pub fn on_follower_wait(mut self) -> Self {
        self.follower_waits = true;
        self
    }

    pub(super) async fn with_client<T>(&self, make: impl FnOnce(&Client) -> Result<T, Error>) -> Result<T, Error> {
        match &self.client {
            Some(client) => make(client),
            None => with_default_client(make).await,
        }
    }

    /// Says whether anything differs from the lock's own options.
    pub(super) fn sets_options(&self) -> bool {
        self.ttl.or(self.at_least).or(self.max_hold).is_some()
    }

    pub(super) fn timing(&self) -> Result<Option<Timing>, Error> {
        self.ttl.map(Timing::with_ttl).transpose()
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    pub(super) fn on_lost(&self) -> OnLost {
        self.on_lost
    }

    pub(super) fn follower_waits(&self) -> bool {
        self.follower_waits
    }
}

// === impl AsClient ===

impl AsClient for Client {
    fn as_client(&self) -> &Client {
        self
    }
}

impl<C: AsClient + ?Sized> AsClient for &C {
    fn as_client(&self) -> &Client {
        (**self).as_client()
    }
}

impl<C: AsClient + ?Sized> AsClient for Arc<C> {
    fn as_client(&self) -> &Client {
        (**self).as_client()
    }
}

impl<C: AsClient + ?Sized> AsClient for Rc<C> {
    fn as_client(&self) -> &Client {
        (**self).as_client()
    }
}

impl<C: AsClient + ?Sized> AsClient for Box<C> {
    fn as_client(&self) -> &Client {
        (**self).as_client()
    }
}

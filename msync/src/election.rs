//! Elections: one leader at a time among all who campaign.
//!
//! An election is a lock that is kept between leaders and that must be accepted: a candidate may wait for days.

mod advert;
pub(crate) mod campaigns;
pub(crate) mod candidate;
mod failing;
mod leader_loop;
mod leadership;
mod observe;
#[cfg(feature = "kube")]
mod pod_label;

use std::{slice::from_ref, sync::Arc, time::Duration};

pub use candidate::Candidate;
pub(crate) use candidate::Term;
use failing::Failing;
pub use leadership::Leadership;
pub use observe::{Leader, Leaders};

#[cfg(feature = "kube")]
use self::pod_label::{PodLabel, Predecessors};
#[cfg(feature = "kube")]
use crate::client::Cluster;
use crate::{
    Client, Error, Lease, LockGuard, LockName, Timing,
    clock::Home,
    engine::Grip,
    held::{OnLost, Stopped, held},
    listener::Label,
    lock::{self, Options, log_release},
    protocol::Patience,
    record::Advert,
};

/// How long a campaign that failed pauses before it goes on, at the most; half of it at least.
const PAUSE: Duration = Duration::from_secs(5);

/// An election, to campaign in or to observe. Cloning is cheap.
///
/// # When something fails
/// What the caller of each sees:
///
/// | | an outage of the store | the term is lost | the client is shut down |
/// |---|---|---|---|
/// | [`campaign`](Self::campaign) | waits, with warnings in the log | | [`Error::ShutDown`] |
/// | [`try_campaign`](Self::try_campaign) | [`Error::Store`] after a third of the ttl, never `None` | | [`Error::ShutDown`] |
/// | [`campaign_timeout`](Self::campaign_timeout) | [`Error::Unavailable`] after the limit | | [`Error::ShutDown`] |
/// | [`Leadership`], [`Lease`] | lost at the deadline, by the local clock | [`check`](Lease::check) says [`Error::Lost`], [`lost`](Lease::lost) completes, [`run`](Leadership::run) drops its body | lost, [`LossReason::ShutDown`](crate::LossReason::ShutDown); others lead when it is dropped |
/// | [`resign`](Leadership::resign) | [`Error::Store`]; others wait for the ttl | [`Error::Lost`] | [`Error::Lost`] with that reason |
/// | [`lead`](Self::lead) | drops the body at the deadline, and makes it again when it leads again | the same, at once | drops the body, resigns, [`Error::ShutDown`] |
/// | [`candidate`](Self::candidate) | leads no more from the deadline on, campaigns on | leads no more, campaigns on | leads no more; [`fault`](Candidate::fault) and [`changed`](Candidate::changed) say [`Error::ShutDown`] |
/// | [`advertise`](Self::advertise), `label_pod` | tried again while the term lasts | out of date; the label is taken off | the label is taken off |
/// | [`observe`](Self::observe) | the leader counts as none after its ttl; goes on | | ends never; drop it |
///
/// The caller's runtime matters to none of them: clients live on a thread of msync's own. Only one with an injected clock
/// ([`ClientBuilder::clock`](crate::ClientBuilder::clock), and [`MemoryStore`](crate::MemoryStore)'s of a test) lives on the
/// runtime that moves that clock; when it has ended, what was held says
/// [`LossReason::RuntimeEnded`](crate::LossReason::RuntimeEnded).
#[derive(Clone, Debug)]
#[must_use = "an election has no leader until somebody campaigns"]
pub struct Election {
    engine: Grip,
    name: LockName,
    options: Options,
    advert: Option<Arc<str>>,
    #[cfg(feature = "kube")]
    cluster: Option<Cluster>,
    #[cfg(feature = "kube")]
    label: Option<Arc<PodLabel>>,
}

// === impl Client: elections ===

impl Client {
    /// Names an election, as [`lock`](Self::lock) names a lock. Nothing is sent before a campaign.
    ///
    /// # Errors
    /// [`Error::InvalidName`] when the name is empty.
    pub fn election(&self, name: impl AsRef<str>) -> Result<Election, Error> {
        let election = Election::new(self.engine().clone(), LockName::of(name.as_ref())?, self.timing());
        #[cfg(feature = "kube")]
        let election = election.within(self.cluster());
        Ok(election)
    }

    /// An election for a background task, which does not keep the client alive.
    pub(crate) fn election_of_task(&self, name: LockName) -> Election {
        Election::new(self.engine().for_task(), name, self.timing())
    }

    /// Says what keeps an election from being decided, if nobody has been seen to lead it lately.
    pub(crate) async fn cannot_campaign(&self, name: &LockName) -> Option<Error> {
        self.engine().unavailable(name, self.timing().ttl()).await
    }
}

// === impl Election ===

impl Election {
    pub(crate) fn new(engine: Grip, name: LockName, timing: Timing) -> Self {
        let options = Options { retained: true, instant: false, ..Options::new(timing) };
        Self {
            engine,
            name,
            options,
            advert: None,
            #[cfg(feature = "kube")]
            cluster: None,
            #[cfg(feature = "kube")]
            label: None,
        }
    }

    /// Says where the pods of its candidates are.
    #[cfg(feature = "kube")]
    fn within(mut self, cluster: Option<&Cluster>) -> Self {
        self.cluster = cluster.cloned();
        self
    }

    /// Returns the name.
    pub fn name(&self) -> &LockName {
        &self.name
    }

    /// Says what stands for this election in [figures](crate::listener); see [`Lock::label`](crate::Lock::label).
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.options.label = Some(Label::Made(label.into()));
        self
    }

    /// Says what stands for this election in figures: a template that is in the program.
    pub(crate) fn label_fixed(mut self, label: Option<&'static str>) -> Self {
        self.options.label = label.map(Label::Fixed);
        self
    }

    /// Sets how long a leadership lives without renewal, and how it is renewed.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.options.timing = timing;
        self
    }

    /// Returns the same election for a background task, which does not keep the client alive.
    pub(crate) fn of_task(&self) -> Self {
        Self { engine: self.engine.for_task(), ..self.clone() }
    }

    /// Says where its background work lives.
    pub(crate) fn home(&self) -> Home {
        self.engine.home
    }

    /// Waits, for what no promise depends on.
    pub(crate) fn pause(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let clock = &self.engine.clock;
        clock.sleep_until(clock.now() + duration)
    }

    /// Puts a text into the record while this process leads, such as the address to reach it at: observers see it as
    /// [`Leader::advert`]. At most 256 bytes.
    ///
    /// It is written by a request of its own after each election, again until it is there; whoever looks before that sees a
    /// leader without it. No place for secrets: whoever may read the resource sees it.
    ///
    /// # Errors
    /// [`Error::AdvertTooLong`] when it is longer.
    ///
    /// # Examples
    /// ```
    /// # use futures::StreamExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::standalone();
    /// let election = client.election("writer")?.advertise("10.0.0.7:8080")?;
    /// let term = election.campaign().await?;
    ///
    /// let mut leaders = std::pin::pin!(election.observe());
    /// while let Some(leader) = leaders.next().await {
    ///     if let Some(address) = leader.as_ref().and_then(|leader| leader.advert()) {
    ///         println!("send writes to {address}");
    ///         break;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn advertise(mut self, text: impl AsRef<str>) -> Result<Self, Error> {
        let text = text.as_ref();
        if text.len() > Advert::MAX_LEN {
            return Err(Error::AdvertTooLong { length: text.len() });
        }
        self.advert = Some(text.into());
        Ok(self)
    }

    /// Labels the leader's own pod with `msync.dev/leader-of-<election>: "true"` while it leads, so that a Service with that
    /// selector routes to the leader. An election with a name of more than 53 characters has a label that ends in a hash;
    /// [`pod_label`](Self::pod_label) returns it.
    ///
    /// The pod is the one that is called as its client's [owner](crate::Client::owner), which is so by default in a pod, in
    /// the namespace of the pod. It needs the right to `patch` its `pods`, which `examples/manifests/rbac-pod-label.yaml` in
    /// the repository gives. Without that pod there is a warning in the log, and no label; while it is refused, by a missing
    /// right or by a policy, it is tried ever more rarely, up to once a minute, with one warning after ten seconds.
    ///
    /// The label is put on after each election, and taken off before a [resignation](Leadership::resign) is sent; a
    /// leader that is dropped releases at once and takes it off in the background; when the leadership is lost, it is taken
    /// off as soon as the API server can be reached. What a crashed leader wears, its successor takes off. So for a moment
    /// there may be no pod with the label, or two: whoever is asked must still know whether it leads. Nobody waits for a
    /// label longer than two seconds. In memory there are no pods, and this does nothing.
    ///
    /// Never make the *readiness* of a pod depend on leading: a rollout would wait for followers that cannot become ready.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn f(client: msync::Client) -> Result<(), msync::Error> {
    /// let writer = client.election("writer")?.label_pod();
    /// writer.lead(async |_term| { /* serve what Service writes to */ }).await?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "kube")]
    pub fn label_pod(mut self) -> Self {
        let cluster = self.cluster.as_ref();
        self.label = cluster.map(|cluster| Arc::new(PodLabel::new((*cluster.client).clone(), &self.name)));
        self
    }

    /// Returns the label that [`label_pod`](Self::label_pod) puts on, for the selector of a Service.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::standalone();
    /// assert_eq!(client.election("writer")?.pod_label(), "msync.dev/leader-of-writer");
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "kube")]
    pub fn pod_label(&self) -> String {
        pod_label::key(&self.name)
    }

    /// Campaigns until elected, however long it takes and however often the API server fails meanwhile; the log says so
    /// after five seconds of failures, and whenever that time has doubled.
    ///
    /// # Errors
    /// [`Error::Forbidden`] and [`Error::CrdMissing`] when they have lasted ten seconds, what admission refuses at once
    /// ([`Error::Store`]); [`Error::WouldDeadlock`] inside a body of this election; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the candidacy, and resigns if it was elected meanwhile. A future that is kept and not polled
    /// may be elected without anybody to lead: it resigns within a ttl, and campaigns anew when it is next polled.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// let term = client.election("scheduler")?.campaign().await?;
    /// let outcome = term.run(async { "led" }).await?;
    /// term.resign().await?;
    /// # Ok(()) }
    /// ```
    pub async fn campaign(&self) -> Result<Leadership, Error> {
        self.elected(Patience::Wait).await
    }

    /// Leads at once if nobody does; `None` while another leads or is expected to.
    ///
    /// # Errors
    /// As [`campaign`](Self::campaign), and [`Error::Store`] when the store does not answer for a third of the ttl.
    ///
    /// # Cancel safety
    /// Dropping the future resigns if it was elected meanwhile.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// if let Some(term) = client.election("nightly")?.try_campaign().await? {
    ///     term.run(async { /* tonight it is this process */ }).await?;
    ///     term.resign().await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn try_campaign(&self) -> Result<Option<Leadership>, Error> {
        match self.elected(Patience::Try).await {
            Ok(term) => Ok(Some(term)),
            Err(Error::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Campaigns for no longer than `limit`. A limit of zero is one try, which takes as long as a request.
    ///
    /// # Errors
    /// After the limit [`Error::Timeout`] if another led, [`Error::Unavailable`] if nobody was seen to lead because the store
    /// could not be used; otherwise as [`campaign`](Self::campaign). For one try as [`try_campaign`](Self::try_campaign), and
    /// [`Error::Timeout`] if another leads.
    ///
    /// # Cancel safety
    /// As [`campaign`](Self::campaign).
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// match client.election("scheduler")?.campaign_timeout(Duration::from_secs(30)).await {
    ///     Ok(term) => term.resign().await?,
    ///     Err(error) if error.is_busy() => println!("another leads"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn campaign_timeout(&self, limit: Duration) -> Result<Leadership, Error> {
        if limit.is_zero() {
            let tried = self.elected(Patience::Poll { create_only: false }).await;
            let busy = |error: &Error| matches!(error, Error::Busy { .. });
            return tried.map_err(|error| if busy(&error) { lock::timeout(&self.name, limit) } else { error });
        }
        let since = self.engine.clock.now();
        lock::within(&self.engine, &self.name, self.campaign(), (since, since + limit), limit).await
    }

    /// Stands by until this process leads, then runs a body under the term, and drops it when leadership is lost and stands
    /// by again: for whatever is to run in one replica only, such as a controller. Ends with the body, whose value it
    /// returns, and resigns; or with the client.
    ///
    /// The body is made anew for each term and gets the term's [`Lease`], for its fencing token. It is dropped at its next
    /// await when the term is lost, before another can lead, and always before this process resigns. Failures of later
    /// campaigns, as in an outage, are logged and waited out.
    ///
    /// # Errors
    /// [`Error::ShutDown`] when the client is shut down, after the body was dropped and the term given back; what keeps the
    /// first campaign from succeeding, as [`campaign`](Self::campaign).
    ///
    /// # Cancel safety
    /// Dropping the future drops the body, and resigns.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # async fn reconcile(token: msync::FencingToken) -> usize { 3 }
    /// # let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// let done = client.election("controller")?.lead(async |term| reconcile(term.token()).await).await?;
    /// assert_eq!(done, 3);
    /// # Ok(()) }
    /// ```
    // Not `AsyncFnMut`: whether its futures can be sent, and so whether this can be spawned, could not be said.
    pub async fn lead<F, Fut>(&self, mut body: F) -> Result<Fut::Output, Error>
    where
        F: FnMut(Lease) -> Fut,
        Fut: Future,
    {
        let mut term = self.campaign().await?;
        loop {
            let lease = term.lease();
            let ended = held(from_ref(&lease), OnLost::Cancel, || body(lease.clone())).await;
            log_release(term.resign().await);
            match ended.map_err(Stopped::into_error) {
                Ok(value) => return Ok(value),
                Err(error) if error.is_shut_down() => return Err(Error::ShutDown),
                Err(error) => tracing::debug!(lock = %self.name, %error, "stands by again"),
            }
            term = self.campaign_on().await?;
        }
    }

    /// Campaigns through failures that it has got over before.
    async fn campaign_on(&self) -> Result<Leadership, Error> {
        let mut failing = Failing::default();
        loop {
            match self.campaign().await {
                Err(error) if !error.is_shut_down() => {
                    if failing.is_told(&error) {
                        tracing::warn!(lock = %self.name, %error, "the campaign failed and is tried again");
                    }
                    self.pause_after_failure().await;
                }
                elected => return elected,
            }
        }
    }

    async fn elected(&self, patience: Patience) -> Result<Leadership, Error> {
        #[cfg(feature = "kube")]
        let predecessors = self.label.as_ref().map(|_| Predecessors::watch(&self.engine, &self.name));
        let turn = lock::acquire(&self.engine, &self.name, &self.options, patience).await?;
        #[cfg(feature = "kube")]
        let worn = self.label.as_ref().zip(predecessors.as_ref());
        #[cfg(feature = "kube")]
        let worn = worn.map(|(label, predecessors)| label.wear(&self.engine, turn.lease(), predecessors));
        if let Some(text) = &self.advert {
            advert::put_up(&self.engine, turn.lease().clone(), Arc::clone(text));
        }
        Ok(Leadership {
            guard: LockGuard::new(turn),
            #[cfg(feature = "kube")]
            worn,
        })
    }

    /// Waits before the next campaign after one that failed, for a random part: all replicas fail together.
    pub(crate) async fn pause_after_failure(&self) {
        let part = u32::try_from((self.engine.random)() % 1000).unwrap_or(0);
        self.pause(PAUSE / 2 + PAUSE / 2 * part / 1000).await;
    }
}

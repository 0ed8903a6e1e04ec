//! A label on the leader's own pod, so that a Service routes to the leader.
//!
//! Beside the label stands an annotation of the same name with the term that it was put on for, and every removal tests it:
//! so a successor that cleans up after a crash, late, takes nothing from one that leads again. A label is a sign for others
//! and no promise: nothing in the protocol depends on it, nothing waits for it longer than a moment.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    api::{Api, Patch, PatchParams},
    core::Status,
};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Lease, LockName,
    clock::Clock,
    engine::{Engine, Listener},
    name,
    record::{Record, Term},
    runtime,
    store::{
        Sighting,
        kube::{FIELD_MANAGER, is_failed_condition},
    },
};

/// How long a failed attempt is followed by nothing, twice as long each time once it was refused; and how long a release waits
/// for a label at the most.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long an attempt may take: a label is put on again for the same term, and comes off once.
const ATTEMPT: Duration = Duration::from_secs(10);
/// A refusal is told of when it has lasted for some ten seconds: right after a start of the API server everything is forbidden.
const TOLD: u32 = 4;
/// A removal that is refused so often, within a minute, is left undone: nobody waits for it as for a label that is missing.
const MOST_REFUSALS: u32 = 6;

/// How many who led are kept in mind. A campaign may last for months; each leader takes off what those before it left, so
/// of the oldest nothing is left to be taken off.
const KEPT: usize = 16;

/// The pods that are labelled, in the namespace of this one.
#[derive(Clone)]
pub(super) struct PodLabel {
    pods: Api<Pod>,
    key: Arc<str>,
}

/// Sees who leads while this process campaigns: whoever it takes over from may have left a label behind.
pub(super) struct Predecessors {
    seen: Arc<Mutex<Seen>>,
    watching: tokio::task::JoinHandle<()>,
}

/// Who led last, the newest at the end: the term, and the name of the pod.
#[derive(Debug, Default)]
struct Seen(VecDeque<(Term, String)>);

/// A label that this process wears, or is about to. Dropping it takes it off, in the background.
#[derive(Debug)]
pub(super) struct Worn {
    orders: mpsc::UnboundedSender<oneshot::Sender<()>>,
    clock: Arc<dyn Clock>,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attempt {
    Done,
    /// There is no such pod.
    Hopeless,
    /// A right, credentials or a policy forbid it, in these words. That may pass.
    Refused(String),
    Failed,
}

// === impl PodLabel ===

impl PodLabel {
    pub(super) fn new(client: kube::Client, election: &LockName) -> Self {
        let namespace = std::env::var("POD_NAMESPACE").unwrap_or_else(|_| client.default_namespace().to_owned());
        Self { pods: Api::namespaced(client, &namespace), key: key(election).into() }
    }

    /// Puts the label on, in the background, until the lease ends or what this returns says so.
    pub(super) fn wear(&self, engine: &Engine, lease: &Lease, predecessors: &Predecessors) -> Worn {
        let (orders, inbox) = mpsc::unbounded_channel();
        let term = lease.standing().borrow().term;
        let left_behind = predecessors.besides(term);
        let wearer = Wearer {
            label: self.clone(),
            pod: engine.id.owner().to_owned(),
            term,
            lease: lease.clone(),
            clock: Arc::clone(&engine.clock),
            calls: AtomicBool::new(false),
            wears: AtomicBool::new(false),
        };
        let clock = Arc::clone(&engine.clock);
        runtime::spawn(lease.home(), wearer.run(left_behind, inbox));
        Worn { orders, clock }
    }

    async fn put_on(&self, pod: &str, term: Term) -> Attempt {
        let patch = json!({"metadata": {
            "labels": {&*self.key: "true"},
            "annotations": {&*self.key: term.to_string()},
        }});
        self.patch(pod, &Patch::<_>::Merge(patch)).await
    }

    /// Takes it off if it was put on for that term.
    async fn take_off(&self, pod: &str, term: Term) -> Attempt {
        let key = self.key.replace('/', "~1");
        let patch = json!([
            {"op": "test", "path": format!("/metadata/annotations/{key}"), "value": term.to_string()},
            {"op": "remove", "path": format!("/metadata/annotations/{key}")},
            {"op": "remove", "path": format!("/metadata/labels/{key}")},
        ]);
        let patch = serde_json::from_value(patch).expect("it is a JSON patch");
        self.patch(pod, &Patch::<()>::Json(patch)).await
    }

    async fn patch<P: serde::Serialize + std::fmt::Debug>(&self, pod: &str, patch: &Patch<P>) -> Attempt {
        let how = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.pods.patch_metadata(pod, &how, patch).await {
            Ok(_) => Attempt::Done,
            Err(kube::Error::Api(status)) => self.refused(pod, &status),
            Err(error) => {
                tracing::debug!(pod, label = &*self.key, %error, "a patch of the label failed and is tried again");
                Attempt::Failed
            }
        }
    }

    fn refused(&self, pod: &str, status: &Status) -> Attempt {
        match status.code {
            // Of another term, or off already.
            422 if is_failed_condition(status) => Attempt::Done,
            404 => {
                tracing::warn!(
                    pod,
                    label = &*self.key,
                    "there is no such pod: the owner of a client is to be its pod's name"
                );
                Attempt::Hopeless
            }
            408 | 409 | 429 | 500.. => Attempt::Failed,
            _ => Attempt::Refused(status.message.clone()),
        }
    }
}

impl std::fmt::Debug for PodLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodLabel").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The label of an election. What follows the `/` has at most 63 characters, so a long name ends in a hash.
pub(super) fn key(election: &LockName) -> String {
    const PREFIX: &str = "leader-of-";
    format!("msync.dev/{PREFIX}{}", name::fitting(election.as_str(), 63 - PREFIX.len()))
}

// === impl Seen ===

impl Seen {
    fn note(&mut self, record: &Record) {
        if record.is_free() || self.0.iter().any(|(term, _)| *term == record.term) {
            return;
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((record.term, record.engine.owner().to_owned()));
    }

    fn besides(&self, own: Term) -> Vec<(Term, String)> {
        self.0.iter().filter(|(term, _)| *term != own).cloned().collect()
    }
}

// === impl Predecessors ===

impl Predecessors {
    /// Begins to note who leads.
    pub(super) fn watch(engine: &Engine, election: &LockName) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (noted, mut listener) = (Arc::clone(&seen), Listener::new(engine, election.clone()));
        let watching = runtime::spawn(engine.home, async move {
            loop {
                let sighting = listener.next().await;
                let mut seen = noted.lock().unwrap_or_else(PoisonError::into_inner);
                match sighting {
                    Sighting::Listed(found) => found.iter().for_each(|(_, snapshot)| seen.note(&snapshot.record)),
                    Sighting::Changed(_, snapshot) => seen.note(&snapshot.record),
                    Sighting::Gone(..) | Sighting::Alive => {}
                }
            }
        });
        Self { seen, watching }
    }

    fn besides(&self, own: Term) -> Vec<(Term, String)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).besides(own)
    }
}

impl Drop for Predecessors {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

// === impl Worn ===

impl Worn {
    /// Takes it off, before a release; waits for that no longer than a moment.
    pub(super) async fn take_off(self) {
        let (done, ended) = oneshot::channel();
        let late = self.clock.sleep_until(self.clock.now() + PAUSE);
        if self.orders.send(done).is_ok() {
            tokio::select! {
                biased;
                _ = ended => {}
                () = late => {}
            }
        }
    }
}

/// Who wears it: a task.
struct Wearer {
    label: PodLabel,
    pod: String,
    term: Term,
    lease: Lease,
    clock: Arc<dyn Clock>,
    /// An attempt is on its way.
    calls: AtomicBool,
    /// The label may be on.
    wears: AtomicBool,
}

// === impl Wearer ===

impl Wearer {
    async fn run(self, left_behind: Vec<(Term, String)>, mut orders: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
        let lost = self.lease.lost();
        let mut told = {
            let mut lost = std::pin::pin!(lost);
            let mut worn = std::pin::pin!(self.clean_up_and_wear(left_behind));
            // What was sent is waited for: one that arrives after the removal would stay.
            let mut ends = std::pin::pin!(async {
                tokio::select! { biased; told = orders.recv() => told, _ = &mut lost => None }
            });
            tokio::select! {
                biased;
                told = &mut ends => { self.settle(worn.as_mut()).await; told }
                () = &mut worn => ends.await,
            }
        };
        if self.wears.load(Relaxed) {
            self.take_off(&self.pod, self.term, &mut || drop(told.take())).await;
        }
        drop(told);
        while orders.recv().await.is_some() {} // each is answered by being dropped
    }

    /// Gives an attempt that is on its way its time.
    async fn settle(&self, worn: std::pin::Pin<&mut impl Future<Output = ()>>) {
        tokio::select! {
            biased;
            () = worn => {}
            () = poll_fn(|_| if self.calls.load(Relaxed) { Poll::Pending } else { Poll::Ready(()) }) => {}
            () = self.pause() => {}
        }
    }

    /// Its own first: it is what traffic waits for.
    async fn clean_up_and_wear(&self, left_behind: Vec<(Term, String)>) {
        let mut tries = Tries::default();
        while self.lease.check().is_ok() {
            let wore = self.wears.swap(true, Relaxed);
            let attempt = self.in_time(self.label.put_on(&self.pod, self.term)).await;
            if matches!(attempt, Attempt::Refused(_) | Attempt::Hopeless) {
                self.wears.store(wore, Relaxed);
            }
            let Some(pause) = tries.after(&attempt) else { break };
            tries.tell(&attempt, &self.pod, &self.label.key);
            self.clock.sleep_until(self.clock.now() + pause).await;
        }
        for (term, pod) in left_behind {
            if self.lease.check().is_ok() {
                self.take_off(&pod, term, &mut || ()).await;
            }
        }
    }

    /// Takes a label off, and says when whoever waits for that has waited long enough: until it is done, or was refused.
    async fn take_off(&self, pod: &str, term: Term, enough: &mut (dyn FnMut() + Send)) {
        let mut tries = Tries::default();
        loop {
            let attempt = self.in_time(self.label.take_off(pod, term)).await;
            let Some(pause) = tries.after(&attempt) else { return };
            tries.tell(&attempt, pod, &self.label.key);
            if tries.refusals > 0 {
                enough();
            }
            if tries.refusals == MOST_REFUSALS {
                return;
            }
            self.clock.sleep_until(self.clock.now() + pause).await;
        }
    }

    async fn in_time(&self, attempt: impl Future<Output = Attempt>) -> Attempt {
        self.calls.store(true, Relaxed);
        let late = self.clock.sleep_until(self.clock.now() + ATTEMPT);
        let attempt = tokio::select! {
            biased;
            attempt = attempt => attempt,
            () = late => Attempt::Failed,
        };
        self.calls.store(false, Relaxed);
        attempt
    }

    fn pause(&self) -> impl Future<Output = ()> + Send + 'static {
        self.clock.sleep_until(self.clock.now() + PAUSE)
    }
}

/// A patch that is tried until it succeeds.
#[derive(Debug, Default)]
struct Tries {
    refusals: u32,
}

// === impl Tries ===

impl Tries {
    /// Returns how long an attempt is followed by nothing; `None` when there is nothing more to do.
    fn after(&mut self, attempt: &Attempt) -> Option<Duration> {
        match attempt {
            Attempt::Done | Attempt::Hopeless => return None,
            Attempt::Refused(_) => self.refusals = self.refusals.saturating_add(1),
            Attempt::Failed => self.refusals = 0,
        }
        let pause = PAUSE.saturating_mul(1 << self.refusals.saturating_sub(1).min(8));
        Some(pause.min(LONGEST_PAUSE))
    }

    /// Tells people once of a refusal that lasts.
    fn tell(&self, attempt: &Attempt, pod: &str, label: &str) {
        if let (Attempt::Refused(fault), TOLD) = (attempt, self.refusals) {
            tracing::warn!(pod, label, fault, "the label is refused: grant `patch` on `pods`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EngineId;

    #[test]
    fn what_is_refused_is_tried_ever_more_rarely_and_what_fails_every_two_seconds() {
        let (refused, mut tries) = (Attempt::Refused("no".to_owned()), Tries::default());
        let pauses: Vec<_> = (0..8).map(|_| tries.after(&refused).unwrap().as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        let lasts: u64 = pauses[..TOLD as usize - 1].iter().sum();
        assert!((10..20).contains(&lasts), "it has lasted {lasts} s when it is told");
        assert_eq!(tries.after(&Attempt::Failed), Some(PAUSE));
        assert_eq!(tries.after(&refused), Some(PAUSE), "from the beginning");
        assert_eq!([tries.after(&Attempt::Done), tries.after(&Attempt::Hopeless)], [None, None]);
        let mut endless = Tries { refusals: u32::MAX };
        assert_eq!(endless.after(&refused), Some(LONGEST_PAUSE));
    }

    fn led_by(term: u64, pod: &str) -> Record {
        Record { term: Term(term), engine: EngineId::new(pod, term), ..Record::default() }
    }

    #[test]
    fn a_leader_is_noted_once_and_nobody_and_oneself_are_not_cleaned_up_after() {
        let mut seen = Seen::default();
        for record in [led_by(1, "a"), led_by(1, "a"), Record::default(), led_by(2, "b"), led_by(3, "c")] {
            seen.note(&record);
        }
        let left = seen.besides(Term(3));
        assert_eq!(left, [(Term(1), "a".to_owned()), (Term(2), "b".to_owned())]);
    }

    #[test]
    fn a_campaign_of_months_keeps_the_newest_who_led_and_no_more() {
        let mut seen = Seen::default();
        for term in 1..=1000 {
            seen.note(&led_by(term, &format!("pod-{term}")));
        }
        let left = seen.besides(Term(1001));
        assert_eq!(left.len(), KEPT);
        assert_eq!((left[0].1.as_str(), left[KEPT - 1].1.as_str()), ("pod-985", "pod-1000"));
    }

    #[test]
    fn the_name_of_a_label_has_at_most_63_characters_and_elections_stay_apart() {
        let (a, b) = ("a".repeat(253), format!("{}b", "a".repeat(252)));
        let keys: Vec<_> = [&a, &b].map(|text| key(&LockName::new(text).unwrap())).into();
        assert_ne!(keys[0], keys[1]);
        for key in &keys {
            let (prefix, name) = key.split_once('/').unwrap();
            assert_eq!((prefix, name.len()), ("msync.dev", 63));
            assert!(name.ends_with(|last: char| last.is_ascii_alphanumeric()), "{name}");
        }
        assert_eq!(key(&LockName::new("writer.v1").unwrap()), "msync.dev/leader-of-writer.v1");
        let longest = "x".repeat(53);
        assert_eq!(key(&LockName::new(&longest).unwrap()), format!("msync.dev/leader-of-{longest}"));
    }
}

//! Events of the cluster (`kubectl events`, `kubectl describe lock`): who leads, who leads no more, which lock was lost.
//!
//! They are told by a listener and written by a task of their own, a few at a time: no lock waits for one, and none is
//! retried for longer than a reader would care. What cannot be written is dropped.

mod budget;

use std::{sync::Arc, time::Duration};

use budget::Budget;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::{
    FencingToken, LockName, LossReason,
    clock::{Clock, Now, Wall},
    listener::{Listener, Loss, Open, Subject},
    runtime,
};

/// So many may wait to be written.
const ROOM: usize = 64;
/// An event is tried so often, if the API server does not answer, with a pause between: for two minutes.
const MOST_TRIES: u32 = 24;
const PAUSE: Duration = Duration::from_secs(5);
/// What is forbidden so often, for ten seconds, stays so: right after a start of the API server everything is forbidden.
const MOST_DENIALS: u32 = 3;
/// How long one try may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Who reports, as the API server wants it named.
const CONTROLLER: &str = "metaparticle.io/msync";
/// The longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reason {
    LeaderElected,
    LeaderResigned,
    LeaderLost,
    LockLost,
}

/// One event, still to be written.
#[derive(Clone, Debug)]
struct Note {
    reason: Reason,
    lock: LockName,
    uid: Option<String>,
    text: String,
    now: Now,
}

/// Takes what is told, and leaves it to the task that writes it.
pub(crate) struct Recorder {
    owner: Arc<str>,
    clock: Arc<dyn Clock>,
    notes: mpsc::Sender<Note>,
    /// How many are not written yet.
    open: Arc<watch::Sender<usize>>,
}

/// Writes events.
struct Writer {
    events: Api<Event>,
    namespace: String,
    owner: Arc<str>,
    clock: Arc<dyn Clock>,
    budget: Budget,
    /// That they are refused was told.
    refused: bool,
}

/// How a try to write has ended.
enum Written {
    Done,
    Again,
    /// By rights, in these words.
    Forbidden(String),
    /// The event that it repeats is gone: events live for an hour.
    Gone,
    Never,
}

// === impl Reason ===

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::LeaderElected => "LeaderElected",
            Self::LeaderResigned => "LeaderResigned",
            Self::LeaderLost => "LeaderLost",
            Self::LockLost => "LockLost",
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::LeaderElected => "Campaign",
            Self::LeaderResigned => "Resign",
            Self::LeaderLost | Self::LockLost => "Hold",
        }
    }

    fn is_bad(self) -> bool {
        matches!(self, Self::LeaderLost | Self::LockLost)
    }
}

// === impl Recorder ===

impl Recorder {
    /// Starts the task that writes; it ends with the recorder.
    pub(crate) fn start(client: kube::Client, namespace: &str, owner: &str, clock: Arc<dyn Clock>) -> (Self, Open) {
        let (notes, inbox) = mpsc::channel(ROOM);
        let (open, watched) = watch::channel(0);
        let (open, owner) = (Arc::new(open), Arc::<str>::from(owner));
        let writer = Writer {
            events: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            owner: Arc::clone(&owner),
            clock: Arc::clone(&clock),
            budget: Budget::default(),
            refused: false,
        };
        runtime::spawn(clock.home(), writer.run(inbox, Arc::clone(&open)));
        (Self { owner, clock, notes, open }, watched)
    }

    fn note(&self, subject: &Subject<'_>, reason: Reason, text: String) {
        let (lock, uid) = (subject.name().clone(), subject.uid().map(str::to_owned));
        let note = Note { reason, lock, uid, text: shortened(text), now: self.clock.read() };
        self.open.send_modify(|open| *open += 1);
        if self.notes.try_send(note).is_err() {
            self.open.send_modify(|open| *open -= 1);
        }
    }
}

impl Listener for Recorder {
    fn acquired(&self, subject: &Subject<'_>, token: FencingToken) {
        if subject.is_election() {
            self.note(subject, Reason::LeaderElected, elected(&self.owner, token));
        }
    }

    fn released(&self, subject: &Subject<'_>, token: FencingToken, held: Duration) {
        if subject.is_election() {
            self.note(subject, Reason::LeaderResigned, resigned(&self.owner, token, held));
        }
    }

    fn lost(&self, subject: &Subject<'_>, loss: &Loss<'_>) {
        let reason = if subject.is_election() { Reason::LeaderLost } else { Reason::LockLost };
        self.note(subject, reason, lost(&self.owner, loss.token, loss.held, loss.reason, loss.fault));
    }
}

fn elected(owner: &str, token: FencingToken) -> String {
    format!("{owner} leads, with fencing token {token}")
}

fn resigned(owner: &str, token: FencingToken, held: Duration) -> String {
    format!("{owner} leads no more, after {}: it has resigned; its fencing token was {token}", seconds(held))
}

fn lost(owner: &str, token: FencingToken, held: Duration, reason: LossReason, fault: Option<&str>) -> String {
    let behind = fault.map(|fault| format!("; the last fault was: {fault}")).unwrap_or_default();
    format!("{owner} has lost it after {}: {reason}; its fencing token was {token}{behind}", seconds(held))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_NOTE {
        let end = (0..=LONGEST_NOTE - 3).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

// === impl Writer ===

impl Writer {
    async fn run(mut self, mut inbox: mpsc::Receiver<Note>, open: Arc<watch::Sender<usize>>) {
        while let Some(note) = inbox.recv().await {
            self.write(&note).await;
            open.send_modify(|open| *open -= 1);
        }
    }

    async fn write(&mut self, note: &Note) {
        let key = (note.lock.clone(), note.reason.as_str());
        let Some(mut repeated) = self.budget.spend(&key, note.now.local) else {
            return tracing::debug!(lock = %note.lock, reason = note.reason.as_str(), "an event is one too many");
        };
        let mut denials = 0;
        for _ in 0..MOST_TRIES {
            match self.attempt(note, repeated.as_ref()).await {
                Written::Done => {
                    self.refused = false;
                    return;
                }
                Written::Forbidden(fault) => {
                    denials += 1;
                    if self.refused {
                        return;
                    }
                    if denials == MOST_DENIALS {
                        self.refused = true;
                        tracing::warn!(fault, "events are forbidden; apply examples/manifests/rbac-events.yaml");
                        return;
                    }
                }
                Written::Gone => {
                    self.budget.forget(&key);
                    repeated = None;
                    continue;
                }
                Written::Again => {}
                Written::Never => return,
            }
            self.clock.sleep_until(self.clock.now() + PAUSE).await;
        }
    }

    async fn attempt(&mut self, note: &Note, repeated: Option<&budget::Repeated>) -> Written {
        let event = event(note, &self.namespace, &self.owner);
        let how = PostParams::default();
        let patch = repeated.map(|repeated| (repeated.name.clone(), series(note, repeated.count)));
        let write = async {
            match &patch {
                Some((name, series)) => self.events.patch(name, &PatchParams::default(), &Patch::Merge(series)).await,
                None => self.events.create(&how, &event).await,
            }
        };
        let late = self.clock.sleep_until(self.clock.now() + ATTEMPT);
        let written = tokio::select! {
            biased;
            written = write => written,
            () = late => return Written::Again,
        };
        match written {
            Ok(made) => {
                self.budget.wrote(&(note.lock.clone(), note.reason.as_str()), made.metadata.name.unwrap_or_default());
                Written::Done
            }
            Err(kube::Error::Api(status)) if status.code == 404 && patch.is_some() => Written::Gone,
            Err(kube::Error::Api(status)) => self.refused(&status),
            Err(_) => Written::Again,
        }
    }

    fn refused(&mut self, status: &kube::core::Status) -> Written {
        match status.code {
            401 | 403 => return Written::Forbidden(status.message.clone()),
            429 | 500.. => return Written::Again,
            _ if !std::mem::replace(&mut self.refused, true) => {
                tracing::warn!(fault = status.message, "an event was refused; later ones are not told");
            }
            _ => {}
        }
        Written::Never
    }
}

fn event(note: &Note, namespace: &str, owner: &str) -> Event {
    let kind = if note.reason.is_bad() { "Warning" } else { "Normal" };
    let regarding = ObjectReference {
        api_version: Some("metaparticle.io/v1".to_owned()),
        kind: Some("Lock".to_owned()),
        name: Some(note.lock.to_string()),
        namespace: Some(namespace.to_owned()),
        uid: note.uid.clone(),
        ..ObjectReference::default()
    };
    Event {
        metadata: ObjectMeta {
            // The API server takes no dot at its end.
            generate_name: Some(format!("{}-", note.lock)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(date(note.now.wall))),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(owner.to_owned()),
        action: Some(note.reason.action().to_owned()),
        reason: Some(note.reason.as_str().to_owned()),
        regarding: Some(regarding),
        note: Some(note.text.clone()),
        type_: Some(kind.to_owned()),
        ..Event::default()
    }
}

/// The same again: the API server lets nothing but the series of an event change.
fn series(note: &Note, count: i32) -> serde_json::Value {
    let series = EventSeries { count, last_observed_time: MicroTime(date(note.now.wall)) };
    json!({ "series": series })
}

fn date(wall: Wall) -> k8s_openapi::jiff::Timestamp {
    k8s_openapi::jiff::Timestamp::from_millisecond(wall.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BootClock;

    #[test]
    fn notes_name_owner_token_and_cause() {
        let (token, held) = (FencingToken::new(7, 0).unwrap(), Duration::from_millis(61_250));
        assert_eq!(elected("web-1", token), format!("web-1 leads, with fencing token {token}"));
        let told = lost("web-1", token, held, LossReason::Deadline, Some("no answer within 2s"));
        let expected =
            "web-1 has lost it after 61.2 s: its deadline passed without a confirmed renewal; its fencing token was";
        assert!(told.starts_with(expected) && told.ends_with("; the last fault was: no answer within 2s"), "{told}");
        assert!(!lost("web-1", token, held, LossReason::Deleted, None).contains("fault"));
    }

    /// Whoever shuts down waits until none is open.
    #[test]
    fn what_finds_no_room_is_dropped_and_not_waited_for() {
        let ((notes, mut inbox), (open, watched)) = (mpsc::channel(ROOM), watch::channel(0));
        let recorder = Recorder { owner: "web-1".into(), clock: Arc::new(BootClock), notes, open: Arc::new(open) };
        let name = LockName::of("e").unwrap();
        let subject = Subject::of_election(&name);
        for number in 0..ROOM as u64 + 3 {
            recorder.acquired(&subject, FencingToken::from(number));
        }
        assert_eq!(*watched.borrow(), ROOM);
        let written = std::iter::from_fn(|| inbox.try_recv().ok());
        assert_eq!(written.count(), ROOM);
    }

    #[test]
    fn a_note_is_cut_to_what_the_server_takes() {
        let long = shortened("ä".repeat(2_000));
        assert!(long.len() <= LONGEST_NOTE && long.ends_with('…'), "{}", long.len());
        assert_eq!(shortened("short".to_owned()), "short");
    }
}

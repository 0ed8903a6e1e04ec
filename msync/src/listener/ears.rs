//! The way of what is told to its listeners: from the drivers of locks through a channel to a thread of its own.
//!
//! Whoever tells never waits: where a listener is so slow that the channel is full, what is told is dropped and counted.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use super::{Answer, Listener, Loss, Renewal, Subject, Verb, Wait};
use crate::{FencingToken, LockName, LossReason};

/// So much may wait to be told.
const ROOM: usize = 8_192;

/// What is told, and of what.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) name: LockName,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) election: bool,
    pub(crate) uid: Option<Arc<str>>,
    pub(crate) what: What,
}

/// What is told of a lock.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Waiting,
    Waited(Wait, Duration),
    Acquired(FencingToken),
    Released(FencingToken, Duration),
    Lost { token: FencingToken, held: Duration, reason: LossReason, fault: Option<String> },
    Renewed(Renewal),
    Refused(String),
}

enum Told {
    News(Box<News>),
    Called(Verb, Answer, Duration),
    /// Whoever waits for this has been told all before it.
    Mark(oneshot::Sender<()>),
}

/// Where a client tells what happens.
#[derive(Debug)]
pub(crate) struct Ears {
    told: SyncSender<Told>,
    dropped: Arc<AtomicU64>,
    /// How many things that were told are still to be written down somewhere.
    open: Option<Open>,
}

/// Tells how many things are still to be written down.
pub(crate) type Open = watch::Receiver<usize>;

// === impl Ears ===

impl Ears {
    /// Opens them; `None` if nobody listens.
    pub(crate) fn open(listeners: &[Arc<dyn Listener>], open: Option<Open>) -> Option<Self> {
        if listeners.is_empty() {
            return None;
        }
        let (told, tales) = sync_channel(ROOM);
        let dropped = Arc::<AtomicU64>::default();
        let mouth = Mouth { listeners: listeners.to_vec(), dropped: Arc::clone(&dropped), panicked: false };
        let run = move || mouth.run(&tales);
        thread::Builder::new().name("msync-listener".to_owned()).spawn(run).expect("the system gives a thread");
        Some(Self { told, dropped, open })
    }

    /// Tells what has become of a lock.
    pub(crate) fn tell(&self, news: News) {
        self.send(Told::News(Box::new(news)));
    }

    /// Tells of a call.
    pub(crate) fn tell_of_call(&self, verb: Verb, answer: Answer, took: Duration) {
        self.send(Told::Called(verb, answer, took));
    }

    fn send(&self, told: Told) {
        if self.told.try_send(told).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Completes when all is told, and written down, that was told before.
    pub(crate) async fn heard(&self) {
        let (done, heard) = oneshot::channel();
        self.send(Told::Mark(done));
        let _ = heard.await;
        if let Some(mut open) = self.open.clone() {
            let _ = open.wait_for(|open| *open == 0).await;
        }
    }
}

/// What tells the listeners.
struct Mouth {
    listeners: Vec<Arc<dyn Listener>>,
    dropped: Arc<AtomicU64>,
    /// A panic of a listener was told of; the next ones are not.
    panicked: bool,
}

// === impl Mouth ===

impl Mouth {
    fn run(mut self, tales: &Receiver<Told>) {
        for told in tales {
            for listener in self.listeners.clone() {
                let tell = AssertUnwindSafe(|| told.to(&*listener));
                if catch_unwind(tell).is_err() && !std::mem::replace(&mut self.panicked, true) {
                    tracing::error!("a listener has panicked; it is told on, and its next panics are not");
                }
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(dropped, "a listener is too slow: what it is told has gaps, and gauges may be wrong");
            }
            if let Told::Mark(done) = told {
                let _ = done.send(()); // whoever waits no more does not mind
            }
        }
    }
}

// === impl Told ===

impl Told {
    fn to(&self, listener: &dyn Listener) {
        match self {
            Self::News(news) => news.to(listener),
            Self::Called(verb, answer, took) => listener.called(*verb, *answer, *took),
            Self::Mark(_) => {}
        }
    }
}

impl News {
    fn to(&self, listener: &dyn Listener) {
        let subject = &Subject {
            name: &self.name,
            label: self.label.as_deref(),
            election: self.election,
            uid: self.uid.as_deref(),
        };
        match &self.what {
            What::Waiting => listener.waiting(subject),
            What::Waited(end, after) => listener.waited(subject, *end, *after),
            What::Acquired(token) => listener.acquired(subject, *token),
            What::Released(token, held) => listener.released(subject, *token, *held),
            What::Lost { token, held, reason, fault } => {
                let (token, held, reason, fault) = (*token, *held, *reason, fault.as_deref());
                listener.lost(subject, &Loss { token, held, reason, fault });
            }
            What::Renewed(end) => listener.renewed(subject, *end),
            What::Refused(fault) => listener.refused(subject, fault),
        }
        match &self.what {
            What::Acquired(_) if self.election => listener.leading(subject, true),
            What::Released(..) | What::Lost { .. } if self.election => listener.leading(subject, false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        mpsc::{Sender, channel},
    };

    use super::*;

    /// Notes what it is told; the first thing it is told it waits at.
    struct Slow(Mutex<Option<Receiver<()>>>, Sender<Duration>);

    impl Listener for Slow {
        fn called(&self, _: Verb, _: Answer, took: Duration) {
            if let Some(gate) = self.0.lock().unwrap().take() {
                let _ = gate.recv();
            }
            let _ = self.1.send(took);
        }
    }

    struct Panics;

    impl Listener for Panics {
        fn called(&self, _: Verb, _: Answer, _: Duration) {
            panic!("on purpose");
        }
    }

    #[test]
    fn without_a_listener_there_are_no_ears() {
        assert!(Ears::open(&[], None).is_none());
    }

    #[test]
    fn who_tells_never_waits_for_a_listener() {
        let ((open, gate), (told, heard)) = (channel(), channel());
        let ears = Ears::open(&[Arc::new(Slow(Mutex::new(Some(gate)), told))], None).unwrap();
        for number in 0..ROOM as u64 + 1_000 {
            ears.tell_of_call(Verb::Get, Answer::Done, Duration::from_secs(number));
        }
        while ears.dropped.load(Ordering::Relaxed) == 0 {}
        open.send(()).unwrap();
        drop(ears);
        let heard: Vec<_> = heard.iter().collect();
        assert!((ROOM..=ROOM + 1).contains(&heard.len()), "{}", heard.len());
        assert!(heard.windows(2).all(|pair| pair[0] < pair[1]), "in order");
    }

    #[test]
    fn a_listener_that_panics_harms_no_other() {
        let (told, heard) = channel();
        let ears = Ears::open(&[Arc::new(Panics), Arc::new(Slow(Mutex::default(), told))], None).unwrap();
        for _ in 0..3 {
            ears.tell_of_call(Verb::Get, Answer::Done, Duration::ZERO);
        }
        drop(ears);
        assert_eq!(heard.iter().count(), 3);
    }
}

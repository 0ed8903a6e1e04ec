//! Listeners that are slower than what happens: nobody waits for them, and what they miss is counted.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use msync::{
    Client, FencingToken, MemoryStore,
    clock::TokioClock,
    listener::{Answer, Listener, Subject, Verb, Wait},
};
use tests::{logs::Logs, memory::builder};

/// Counts what it is told; waits at the first thing for as long as somebody has the other end of its gate.
struct Counts {
    told: AtomicU64,
    gate: Mutex<Receiver<()>>,
}

// === impl Counts ===

impl Counts {
    fn new() -> (Arc<Self>, Sender<()>) {
        let (open, gate) = channel();
        (Arc::new(Self { told: AtomicU64::new(0), gate: Mutex::new(gate) }), open)
    }

    fn count(&self) {
        let _ = self.gate.lock().unwrap().recv();
        self.told.fetch_add(1, Ordering::Relaxed);
    }
}

impl Listener for Counts {
    fn waiting(&self, _: &Subject<'_>) {
        self.count();
    }

    fn waited(&self, _: &Subject<'_>, _: Wait, _: Duration) {
        self.count();
    }

    fn acquired(&self, _: &Subject<'_>, _: FencingToken) {
        self.count();
    }

    fn released(&self, _: &Subject<'_>, _: FencingToken, _: Duration) {
        self.count();
    }

    fn called(&self, _: Verb, _: Answer, _: Duration) {
        self.count();
    }
}

async fn turns(client: &Client, turns: u64) {
    for _ in 0..turns {
        client.lock("x").unwrap().acquire().await.unwrap().release().await.unwrap();
    }
}

/// Returns how many things are told of so many turns, to a listener that begins to listen after the last.
async fn told_of(number: u64) -> u64 {
    let (counts, gate) = Counts::new();
    let client = builder("a", TokioClock::default()).listener(Arc::clone(&counts)).memory(&MemoryStore::new()).build();
    turns(&client, number).await;
    drop((client, gate));
    super::figures::all_told(&counts);
    counts.told.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn what_a_slow_listener_misses_is_counted_and_told_once() {
    const TURNS: u64 = 3_000;
    let logs = Logs::everywhere();
    let all = TURNS * told_of(1).await;
    let heard = told_of(TURNS).await;
    let told: Vec<_> = logs.lines().into_iter().filter(|line| line.starts_with("a listener is too slow")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let dropped = told[0].split_once("dropped=").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
    assert_eq!(dropped, Some(all - heard), "{heard} of {all} were heard: {told:?}");
    assert!(heard >= 8_192, "{heard}");
}

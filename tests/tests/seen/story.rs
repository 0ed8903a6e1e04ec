//! The log as a story: what happened to a lock can be told from it alone.

use std::time::Duration;

use msync::{LockGuard, MemoryStore};
use tests::{
    faulty::{Fate, Faulty, unknown},
    logs::Logs,
    memory::{client, client_of, pass, until, waiter},
};

/// The lines, without the random numbers in them.
fn told(logs: &Logs) -> Vec<String> {
    logs.lines().iter().map(|line| without_token(line)).collect()
}

fn without_token(line: &str) -> String {
    line.split(' ').filter(|word| !word.starts_with("token=")).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_hand_off_of_a_lock_is_told_at_debug() {
    let logs = Logs::capture_all();
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let waiting = waiter(&b, "x");
    pass(Duration::from_secs(3)).await;
    guard.release().await.unwrap();
    waiting.await.unwrap().release().await.unwrap();
    let story = [
        "acquired lock=x waited=0ns",
        "queued lock=x place=1 holder=\"a\"",
        "released lock=x held=3s",
        "handed over lock=x to=\"b\"",
        "acquired lock=x waited=3s",
        "released lock=x held=0ns",
    ];
    assert_eq!(told(&logs), story);
    assert!(logs.lines()[0].contains(" token="), "{:?}", logs.lines());
}

#[tokio::test(start_paused = true)]
async fn a_change_of_leaders_is_told_at_info() {
    let logs = Logs::capture();
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let term = a.election("e").unwrap().campaign().await.unwrap();
    let election = b.election("e").unwrap();
    let standing_by = tokio::spawn(async move { election.campaign().await.unwrap() });
    pass(Duration::from_secs(30)).await;
    assert!(term.hand_over_to("b").await.unwrap());
    let second = standing_by.await.unwrap();
    second.resign().await.unwrap();
    let story = [
        "campaigning lock=e",
        "leading lock=e waited=0ns",
        "campaigning lock=e",
        "resigned lock=e held=30s",
        "leading lock=e waited=30s",
        "handed over lock=e to=\"b\"",
        "resigned lock=e held=0ns",
    ];
    let (mut told, mut story) = (told(&logs), story.map(str::to_owned).to_vec());
    told.sort();
    story.sort();
    assert_eq!(told, story, "{:?}", logs.lines());
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_at_warn_with_the_fault_behind_it() {
    let logs = Logs::capture();
    let faulty = Faulty::new(MemoryStore::new());
    let client = client_of(faulty.clone(), "a");
    let guard = client.lock("x").unwrap().acquire().await.unwrap();
    pass(Duration::from_secs(20)).await;
    faulty.every(Fate::Fail(unknown()));
    guard.lost().await;
    pass(Duration::from_millis(1)).await;
    let lost: Vec<_> = logs.lines().into_iter().filter(|line| line.starts_with("lost ")).collect();
    let [line] = &lost[..] else { panic!("once: {:?}", logs.lines()) };
    for part in ["lock=x", "token=", "held=", "reason=its deadline passed", "fault=", "the connection was lost"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loss_without_a_fault_names_none() {
    let logs = Logs::capture();
    let store = MemoryStore::new();
    let client = client(&store, "a");
    let term = client.election("e").unwrap().campaign().await.unwrap();
    store.delete(term.name());
    term.lost().await;
    drop(term);
    pass(Duration::from_secs(1)).await;
    let lost: Vec<_> = logs.lines().into_iter().filter(|line| line.starts_with("lost the leadership ")).collect();
    assert_eq!(lost.len(), 1, "once, and no resignation: {:?}", logs.lines());
    assert!(lost[0].contains("reason=its object was deleted") && !lost[0].contains("fault"), "{lost:?}");
    assert!(!logs.lines().iter().any(|line| line.starts_with("resigned")), "{:?}", logs.lines());
}

/// Within ten seconds, then whenever the time has doubled, and at its end; never once per call.
#[tokio::test(start_paused = true)]
async fn an_outage_is_told_with_its_length_and_not_per_call() {
    let logs = Logs::capture();
    let faulty = Faulty::new(MemoryStore::new());
    let client = client_of(faulty.clone(), "a");
    faulty.every(Fate::Fail(unknown()));
    let waiting = waiter(&client, "x");
    pass(Duration::from_secs(10)).await;
    assert_eq!(logs.warnings(), 1, "{:?}", logs.lines());
    pass(Duration::from_secs(300)).await;
    assert!(faulty.total() > 50, "it tried {} times", faulty.total());
    assert!((5..=8).contains(&logs.warnings()), "{:?}", logs.lines());
    faulty.heal();
    until("it has the lock", || waiting.is_finished()).await;
    let last = logs.lines().pop().unwrap();
    assert!(last.starts_with("the store can be used again lock=x lasting=31"), "{:?}", logs.lines());
    let all = logs.lines();
    let failing: Vec<_> = all.iter().filter(|line| line.starts_with("the store cannot be used")).collect();
    assert!(failing.iter().all(|line| line.contains("lock=x") && line.contains("lasting=") && line.contains("fault=")));
}

#[tokio::test(start_paused = true)]
async fn spans_tell_waiting_apart_from_work() {
    let logs = Logs::capture_all();
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let lock = b.lock("x").unwrap();
    let body = async |_: &LockGuard| {
        tracing::info!(target: "msync::test", "begins");
        pass(Duration::from_secs(2)).await;
        tracing::info!(target: "msync::test", "ends");
    };
    let work = tokio::spawn(async move { lock.run(body).await.unwrap() });
    pass(Duration::from_secs(3)).await;
    drop(guard);
    work.await.unwrap();
    let spans = logs.spans();
    let of = |name: &str, waited: &str| {
        let found = |span: &&String| span.starts_with(name) && span.contains("lock=x") && span.contains(waited);
        spans.iter().any(|span| found(&span) && span.contains("token="))
    };
    assert!(of("msync.acquire", "waited=0ns") && of("msync.acquire", "waited=3s"), "{spans:?}");
    assert!(of("msync.hold", "waited=3s"), "{spans:?}");
    let waits = logs.inside("msync.acquire");
    assert!(waits.len() == 2 && waits[1].len() >= 2, "entered at each poll: {waits:?}");
    assert!(waits.iter().flatten().all(|inside| inside == "entered"), "the work is no part of the wait: {waits:?}");
    let holds = logs.inside("msync.hold");
    assert!(holds.len() == 1 && holds[0][0] == "entered", "{holds:?}");
    let work: Vec<_> = holds[0].iter().filter(|inside| *inside != "entered").collect();
    assert_eq!(work, ["begins", "ends"]);
}

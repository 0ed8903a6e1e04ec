//! What observers see: leaders, their changes, their deaths; never a leader who has long been dead.

use std::time::Duration;

use futures::{Stream, StreamExt};
use msync::{Leader, MemoryStore};
use tests::{
    faulty::{Fate, Faulty, Kind, Sight},
    memory::{TTL, client, client_of, name, pass, within},
};

/// Takes all that is to be seen now; owners only, or "nobody".
async fn seen(stream: &mut (impl Stream<Item = Option<Leader>> + Unpin)) -> Vec<String> {
    let mut all = Vec::new();
    while let Ok(Some(leader)) = tokio::time::timeout(Duration::from_millis(1), stream.next()).await {
        all.push(leader.map_or_else(|| "nobody".to_owned(), |leader| leader.owner().to_owned()));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_the_present_leader_first_and_then_every_change() {
    let store = MemoryStore::new();
    let (a, b, watcher) = (client(&store, "a"), client(&store, "b"), client(&store, "watcher"));
    let mut stream = Box::pin(watcher.election("e").unwrap().observe());
    assert_eq!(seen(&mut stream).await, ["nobody"]);
    let term = a.election("e").unwrap().campaign().await.unwrap();
    assert_eq!(seen(&mut stream).await, ["a"]);
    let mut late = Box::pin(watcher.election("e").unwrap().observe());
    assert_eq!(seen(&mut late).await, ["a"]);
    pass(Duration::from_secs(100)).await;
    assert_eq!(seen(&mut stream).await, [""; 0], "renewals are no change");
    term.resign().await.unwrap();
    assert_eq!(seen(&mut stream).await, ["nobody"]);
    let term = b.election("e").unwrap().campaign().await.unwrap();
    let leader = within(Duration::from_secs(1), "told", stream.next()).await.unwrap().unwrap();
    assert_eq!((leader.owner(), leader.identity()), ("b", b.identity()));
    drop(term);
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_counts_as_none_after_its_ttl_whoever_else_writes() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, watcher) = (client_of(faulty.clone(), "a"), client(&store, "watcher"));
    let _term = a.election("e").unwrap().campaign().await.unwrap();
    let mut stream = Box::pin(watcher.election("e").unwrap().observe());
    assert_eq!(seen(&mut stream).await, ["a"]);
    faulty.every(Fate::Hang);
    pass(TTL).await;
    assert_eq!(seen(&mut stream).await, ["nobody"]);
    store.edit(&name("e"), |record| record.waiters.push(msync::unstable::record::Entry::from_text("rubbish")));
    assert_eq!(seen(&mut stream).await, [""; 0], "a new waiter is no sign of the leader's life");
    store.expire_watches();
    assert_eq!(seen(&mut stream).await, [""; 0], "nor is a list");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_by_hand_leaves_no_leader() {
    let store = MemoryStore::new();
    let (a, watcher) = (client(&store, "a"), client(&store, "watcher"));
    let _term = a.election("e").unwrap().campaign().await.unwrap();
    let mut stream = Box::pin(watcher.election("e").unwrap().observe());
    assert_eq!(seen(&mut stream).await, ["a"]);
    store.delete("e");
    assert_eq!(seen(&mut stream).await, ["nobody"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_is_waited_out() {
    let store = MemoryStore::new();
    let blind = Faulty::new(store.clone());
    let (a, b, watcher) = (client(&store, "a"), client(&store, "b"), client_of(blind.clone(), "watcher"));
    let term = a.election("e").unwrap().campaign().await.unwrap();
    let mut stream = Box::pin(watcher.election("e").unwrap().observe());
    assert_eq!(seen(&mut stream).await, ["a"]);
    blind.watches(Sight::Broken);
    let _next = tokio::spawn({
        let election = b.election("e").unwrap();
        async move { election.campaign().await.unwrap() }
    });
    pass(Duration::from_secs(1)).await;
    term.resign().await.unwrap();
    assert_eq!(within(2 * TTL, "nobody, for all one sees", stream.next()).await, Some(None));
    blind.heal();
    store.expire_watches();
    let leader = within(3 * TTL, "the new leader", stream.next()).await.unwrap().unwrap();
    assert_eq!(leader.owner(), "b");
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_is_dropped_leaves_no_task() {
    let store = MemoryStore::new();
    let watcher = client(&store, "watcher");
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut stream = Box::pin(watcher.election("e").unwrap().observe());
    assert_eq!(seen(&mut stream).await, ["nobody"]);
    drop((stream, watcher));
    pass(Duration::from_secs(1)).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), before);
}

/// Takes what leaders say of themselves.
async fn heard(stream: &mut (impl Stream<Item = Option<Leader>> + Unpin)) -> Vec<String> {
    let mut all = Vec::new();
    while let Ok(Some(leader)) = tokio::time::timeout(Duration::from_secs(1), stream.next()).await {
        all.extend(leader.and_then(|leader| leader.advert().map(str::to_owned)));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn observers_see_what_the_leader_advertises_and_nobody_elses() {
    let store = MemoryStore::new();
    let (a, b, watcher) = (client(&store, "a"), client(&store, "b"), client(&store, "watcher"));
    let [one, two] = [&a, &b].map(|client| client.election("e").unwrap());
    let (one, silent, two) = (one.advertise("one:80").unwrap(), two.clone(), two.advertise("two:80").unwrap());
    let mut stream = Box::pin(watcher.election("e").unwrap().observe());
    let term = one.campaign().await.unwrap();
    assert_eq!(heard(&mut stream).await, ["one:80"]);
    pass(Duration::from_secs(100)).await;
    assert_eq!(heard(&mut stream).await, [""; 0], "renewals keep it");
    let next = tokio::spawn(async move { two.campaign().await });
    pass(Duration::from_secs(1)).await;
    term.resign().await.unwrap();
    assert_eq!(heard(&mut stream).await, ["two:80"]);
    next.await.unwrap().unwrap().resign().await.unwrap();
    assert_eq!(heard(&mut stream).await, [""; 0], "nobody leads");
    let term = silent.campaign().await.unwrap();
    assert_eq!(heard(&mut stream).await, [""; 0], "what a leader before it has said is out of date");
    let late = Box::pin(watcher.election("e").unwrap().observe()).next().await.unwrap().unwrap();
    assert_eq!((late.owner(), late.advert()), ("b", None));
    term.resign().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_leader_advertises_is_tried_until_it_is_there_and_keeps_nobody_waiting() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let election = client_of(faulty.clone(), "a").election("e").unwrap().advertise("one:80").unwrap();
    let advert = || tests::memory::record(&store, "e").and_then(|record| record.advert().map(str::to_owned));
    faulty.on(|request| if request.kind == Kind::Advertise { Fate::Hang } else { Fate::Pass });
    let term = within(Duration::from_secs(1), "leads", election.campaign()).await.unwrap();
    pass(Duration::from_secs(30)).await;
    assert_eq!(advert(), None);
    faulty.every(Fate::Pass);
    pass(Duration::from_secs(5)).await;
    assert_eq!(advert().as_deref(), Some("one:80"));
    term.check().unwrap();
    let asked = faulty.count(Kind::Advertise);
    term.resign().await.unwrap();
    pass(Duration::from_secs(30)).await;
    assert_eq!(faulty.count(Kind::Advertise), asked);
}

#[tokio::test(start_paused = true)]
async fn an_advertisement_that_does_not_fit_is_refused() {
    let election = client(&MemoryStore::new(), "a").election("e").unwrap();
    assert!(election.clone().advertise("x".repeat(256)).is_ok());
    let error = election.advertise("ä".repeat(129)).unwrap_err();
    assert!(matches!(error, msync::Error::AdvertTooLong { length: 258, .. }), "{error}");
}

//! Bad input: each is refused with a sentence that helps.

use std::time::Duration;

use msync::{Client, Error, MemoryStore, Timing};
use tests::memory::{client, pass, ttl};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn invalid_names_are_refused_with_a_reason() {
    let a = client(&MemoryStore::new(), "a");
    let long = "x".repeat(254);
    let bad = ["", "Upper", "under_score", "-edge", "edge-", "two..dots", ".dot", "slash/ed", "späce", " x", &long];
    for name in bad {
        let errors =
            [a.lock(name).err(), a.election(name).err(), a.lock_all(["ok", name]).err()].map(|error| error.unwrap());
        for error in errors {
            println!("{error}");
            let text = error.to_string();
            assert!(matches!(error, Error::InvalidName { .. }));
            assert!(text.starts_with("invalid lock name ") && text.contains(": ") && !text.ends_with('.'), "{text}");
        }
    }
    let longest = "x".repeat(253);
    for name in ["x", "a.b-c.9", "0", &longest] {
        drop(a.lock(name).unwrap());
    }
    assert!(matches!(a.lock_all(Vec::<String>::new()), Err(Error::InvalidName { .. })));
}

#[test]
fn unsafe_timings_are_refused_with_a_reason() {
    let base = Timing::default();
    let bad = [
        Timing::with_ttl(Duration::ZERO),
        Timing::with_ttl(Duration::from_micros(1_500_500)),
        Timing::with_ttl(Duration::MAX),
        base.renew_every(Duration::ZERO),
        base.renew_every(Duration::MAX),
        base.renew_every(ms(13_000)),
        base.margin(Duration::ZERO),
        base.margin(Duration::MAX),
        base.margin(ms(14_000)),
        base.attempt(Duration::ZERO),
        base.attempt(Duration::MAX),
    ];
    for timing in bad {
        let error = timing.unwrap_err();
        println!("{error}");
        assert!(matches!(error, Error::InvalidTiming { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn durations_without_end_are_taken_as_such() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let lock = a.lock("x").unwrap().at_least(Duration::ZERO).max_hold(Duration::MAX);
    let guard = lock.acquire_timeout(Duration::MAX).await.unwrap();
    pass(Duration::from_secs(60)).await;
    guard.check().unwrap();
    guard.ensure(Duration::ZERO).unwrap();
    assert!(matches!(guard.ensure(Duration::MAX), Err(Error::TooShort { .. })));
    guard.release().await.unwrap();
    let forever = a.lock("y").unwrap().at_least(Duration::MAX).acquire().await.unwrap();
    drop(forever);
    pass(Duration::from_secs(600)).await;
    assert!(a.lock("y").unwrap().try_acquire().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_of_zero_is_over_at_once_and_leaves_nothing() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let _held = a.lock("x").unwrap().acquire().await.unwrap();
    let error = b.lock("x").unwrap().acquire_timeout(Duration::ZERO).await.unwrap_err();
    println!("{error}");
    assert!(matches!(error, Error::Unavailable { .. }));
    pass(Duration::from_secs(1)).await;
    assert_eq!(tests::memory::queue(&store, "x"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_kubernetes_would_refuse_is_made_presentable() {
    let store = MemoryStore::new();
    let long = "y".repeat(300);
    for owner in ["", "Web_7", "...", "ünï", "a b", &long, "-"] {
        let client = Client::builder().owner(owner).memory(&store).build();
        println!("{owner:?} -> {}", client.identity());
        msync::LockName::new(client.owner()).expect("a valid name");
        assert!(client.owner().len() <= 63);
    }
}

#[tokio::test(start_paused = true)]
async fn remaining_and_ensure_count_down_and_are_topped_up_by_renewals() {
    let store = MemoryStore::new();
    let guard = client(&store, "a").lock("x").unwrap().timing(ttl(10)).acquire().await.unwrap();
    assert_eq!(guard.remaining(), ms(9000));
    pass(ms(800)).await; // the first renewal comes after a quarter of its interval at the earliest
    assert_eq!(guard.remaining(), ms(8200));
    guard.ensure(ms(8200)).unwrap();
    let error = guard.ensure(ms(8201)).unwrap_err();
    println!("{error}");
    pass(ms(2600)).await;
    assert!(guard.remaining() > ms(6400), "renewed after a third at the latest: {:?}", guard.remaining());
}

#[tokio::test(start_paused = true)]
async fn errors_read_well() {
    let lock = "x".to_owned();
    let reason = msync::LossReason::TakenOver;
    let all = [
        Error::Busy { name: lock.clone() },
        Error::Timeout { name: lock.clone(), after: ms(1500) },
        Error::Lost { name: lock.clone(), reason },
        Error::TooShort { name: lock.clone(), remaining: ms(20) },
        Error::WouldDeadlock { name: lock.clone() },
        Error::TokenTooLow { name: lock, token: 1, floor: 2 },
        Error::ShutDown,
    ];
    for error in all {
        let text = error.to_string();
        println!("{text}");
        assert!(text.starts_with(char::is_lowercase) && !text.ends_with('.'), "{text}");
        assert!(text.contains("lock x") || matches!(error, Error::ShutDown), "{text}");
    }
}

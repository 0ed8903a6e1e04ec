//! Bad input: each is refused with a sentence that helps.

use std::time::Duration;

use msync::{Client, Error, LockName, MemoryStore, Timing};
use proptest::{
    prelude::{Just, Strategy, any, prop, prop_assert, prop_oneof, proptest},
    strategy::ValueTree,
    test_runner::TestRunner,
};
use tests::memory::{client, pass, ttl, within};

/// The shortest and the longest ttl that there are.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn what_must_be_a_name_and_is_none_is_refused_with_a_reason() {
    let long = "x".repeat(254);
    let bad = ["", "Upper", "under_score", "-edge", "edge-", "two..dots", ".dot", "slash/ed", "späce", " x", &long];
    for name in bad {
        let error = name.parse::<LockName>().unwrap_err();
        println!("{error}");
        let text = error.to_string();
        assert!(matches!(error, Error::InvalidName { .. }));
        assert!(text.starts_with("invalid lock name ") && text.contains(": ") && !text.ends_with('.'), "{text}");
    }
}

/// One rule for all doors: `#[locked]` and `#[leader_only]` are tested beside the macros.
#[tokio::test(start_paused = true)]
async fn any_text_names_the_same_lock_at_every_door() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let long = "é".repeat(3000);
    for text in ["Router-A", "10.0.0.1:57400", "a/b", "Cluster Coordinator", "x\0y", "..", "a", "a-b", &long] {
        let name = LockName::escaped(text);
        assert_eq!(a.lock(text).unwrap().name(), &name);
        assert_eq!(a.lock(&name).unwrap().name(), &name);
        assert_eq!(a.election(text).unwrap().name(), &name);
        assert_eq!(a.lock_all([text]).unwrap().locks()[0].name(), &name);
        let guard = a.lock(text).unwrap().acquire().await.unwrap();
        assert_eq!(store.names(), [name]);
        guard.release().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_no_name_at_any_door() {
    let a = client(&MemoryStore::new(), "a");
    let doors = [a.lock("").err(), a.election("").err(), a.lock_all(["ok", ""]).err()];
    for error in doors {
        assert!(matches!(error, Some(Error::InvalidName { .. })), "{error:?}");
    }
    let ended =
        within(Duration::from_secs(1), "refused at once", a.leader_loop("", Duration::from_secs(1), async |_| {}));
    assert!(matches!(ended.await, Err(Error::InvalidName { .. })));
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

/// Anything that a caller can write down, the extremes above all.
fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(Duration::MAX),
        Just(Duration::from_secs(u64::MAX)),
        Just(Duration::from_millis(u64::MAX)),
        Just(Duration::from_nanos(u64::MAX)),
        Just(SHORTEST),
        Just(LONGEST),
        (0..200_000u64).prop_map(Duration::from_millis),
        (any::<u64>(), 0..1_000_000_000u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        (0..100_000u64, 0..1_000_000_000u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
    ]
}

proptest! {
    /// No setter panics, whatever it is given; what it accepts is safe and can be written into a record.
    #[test]
    fn every_timing_is_accepted_safely_or_refused(
        ttl in any_duration(),
        changes in prop::collection::vec((0..3u8, any_duration()), 0..4),
    ) {
        let mut timing = Timing::with_ttl(ttl).unwrap_or_default();
        for (setter, value) in changes {
            let changed = match setter {
                0 => timing.renew_every(value),
                1 => timing.margin(value),
                _ => timing.attempt(value),
            };
            timing = changed.unwrap_or(timing);
            let parts =
                [timing.ttl(), timing.renew_interval(), timing.safety_margin(), timing.attempt_timeout()];
            let [ttl, renew, margin, attempt] = parts;
            prop_assert!((SHORTEST..=LONGEST).contains(&ttl) && margin >= ttl / 50);
            prop_assert!(renew + attempt + margin < ttl && !renew.is_zero() && !attempt.is_zero());
            prop_assert!(parts.iter().all(|part| part.subsec_nanos() % 1_000_000 == 0));
        }
    }
}

/// Whatever an option is given, it is taken as it stands or refused: nothing overflows, panics or turns into "at once".
#[tokio::test(start_paused = true)]
async fn no_duration_of_any_option_overflows() {
    let mut runner = TestRunner::deterministic();
    let mut draw = || any_duration().new_tree(&mut runner).expect("nothing is filtered").current();
    for round in 0..300 {
        let store = MemoryStore::new();
        let a = client(&store, "a");
        let (least, most, limit, wanted, every) = (draw(), draw(), draw(), draw(), draw());
        let said =
            format!("{round}: at_least {least:?}, max_hold {most:?}, limit {limit:?}, {wanted:?}, every {every:?}");
        let options = |lock: msync::Lock| lock.at_least(least).max_hold(most);
        let one = options(a.lock("x").unwrap()).acquire_timeout(limit).await;
        let all = a.lock_all(["y", "z"]).unwrap().map(options).acquire_timeout(limit).await;
        match (one, all) {
            (Ok(one), Ok(all)) => {
                assert!(
                    one.remaining() <= most && (one.ensure(wanted).is_err() || wanted <= one.remaining()),
                    "{said}"
                );
                drop((all.ensure(wanted), one.release().await, all.release().await));
            }
            // What was held for `max_hold` while the rest was acquired, and options that contradict each other.
            (one, all) => assert!(most.is_zero() || least > most, "{said}: {one:?}, {all:?}"),
        }
        let runs = std::cell::Cell::new(0_u32);
        let looped = tokio::time::timeout(
            Duration::from_secs(30),
            a.leader_loop("e", every, async |_| {
                runs.set(runs.get() + 1);
                if runs.get() > 1000 {
                    std::future::pending::<()>().await;
                }
            }),
        );
        match looped.await {
            Ok(ended) => assert!(matches!(ended, Err(Error::InvalidTiming { .. })), "{said}: {ended:?}"),
            Err(_) => assert!(runs.get() > 0 && (every < Duration::from_secs(30) || runs.get() == 1), "{said}"),
        }
        assert_eq!(every < Duration::from_millis(1), runs.get() == 0, "{said}");
    }
}

/// What else takes a duration: elections, renewals on demand, sweeps, and a store that is to be out of order.
#[tokio::test(start_paused = true)]
async fn no_other_duration_overflows_either() {
    let ends = [Duration::ZERO, Duration::from_nanos(1), Duration::from_nanos(u64::MAX), Duration::MAX];
    for duration in ends {
        let store = MemoryStore::new();
        let a = client(&store, "a");
        let term = a.election("e").unwrap().campaign_timeout(duration.max(ms(1))).await.unwrap();
        assert_eq!(term.ensure(duration).is_ok(), duration < ms(1), "{duration:?}");
        term.resign().await.unwrap();
        let guard = a.lock("x").unwrap().acquire().await.unwrap();
        let renewed = within(Duration::from_secs(60), "renewed", guard.renewed(duration)).await;
        assert_eq!(renewed.is_ok(), duration < ms(1), "{duration:?}: {renewed:?}");
        let swept = a.sweep().older_than(duration).patience(Duration::ZERO).run().await.unwrap();
        assert!(swept.removed.iter().all(|name| name.as_str() == "e"), "{duration:?}: {swept:?}");
        within(Duration::from_secs(60), "swept", a.sweep().patience(duration).run()).await.unwrap();
        guard.check().unwrap();
        store.slow(duration);
        store.outage(duration);
        pass(Duration::from_secs(60)).await;
        assert_eq!(guard.check().is_ok(), duration < ms(1), "{duration:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_of_zero_is_one_try() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let held = a.lock("x").unwrap().acquire_timeout(Duration::ZERO).await.expect("a free lock is had");
    let error = b.lock("x").unwrap().acquire_timeout(Duration::ZERO).await.unwrap_err();
    println!("{error}");
    assert!(matches!(error, Error::Timeout { after: Duration::ZERO, .. }));
    let error = b.lock_all(["w", "x", "y"]).unwrap().acquire_timeout(Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { name, .. } if name == "x"));
    pass(Duration::from_secs(1)).await;
    assert_eq!(tests::memory::queue(&store, "x"), 0);
    assert_eq!(store.names().len(), 1, "nothing is left of the set");
    held.release().await.unwrap();
    let all = b.lock_all(["w", "x", "y"]).unwrap().acquire_timeout(Duration::ZERO).await.expect("all are free");
    all.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_campaign_of_no_time_is_one_try() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a").election("e").unwrap(), client(&store, "b").election("e").unwrap());
    let term = a.campaign_timeout(Duration::ZERO).await.expect("nobody has ever led");
    let error = b.campaign_timeout(Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { after: Duration::ZERO, .. }), "{error:?}");
    pass(Duration::from_secs(1)).await;
    assert_eq!(tests::memory::queue(&store, "e"), 0, "it does not stand");
    term.resign().await.unwrap();
    b.campaign_timeout(Duration::ZERO).await.expect("nobody leads any more").check().unwrap();
}

/// A free record that is kept, as elections and the sidecar leave them.
#[tokio::test(start_paused = true)]
async fn a_try_takes_a_record_that_was_left_free() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    a.lock("x").unwrap().retained().acquire().await.unwrap().release().await.unwrap();
    client(&store, "b").lock("x").unwrap().acquire_timeout(Duration::ZERO).await.unwrap().check().unwrap();
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

//! A store that cannot be used is not busy, is never silent, and is not hammered.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use msync::{
    Client, Error, MemoryStore, Outcome,
    clock::TokioClock,
    locked,
    unstable::{
        record::Refused,
        store::{Fatal, Fault},
    },
};
use tests::{
    faulty::{Fate, Faulty, Kind, forbidden, unknown},
    logs::Logs,
    memory::{TTL, builder, client, client_of, name, pass, record, ttl, until, waiter, within},
};
use tokio::time::Instant;

fn faulty(fate: Fate) -> (Faulty, Client) {
    let faulty = Faulty::new(MemoryStore::new());
    faulty.every(fate);
    let client = client_of(faulty.clone(), "a");
    (faulty, client)
}

fn denied(text: &str) -> Fate {
    Fate::Fail(Fault::Fatal(Fatal::Other(Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(text)))))
}

#[tokio::test(start_paused = true)]
async fn a_time_out_that_never_saw_a_holder_is_not_busy_and_says_what_the_store_said() {
    for fate in [Fate::Fail(unknown()), Fate::Hang, Fate::Fail(Fault::Busy(None))] {
        let (_, client) = faulty(fate.clone());
        let limit = Duration::from_secs(30);
        let error = client.lock("x").unwrap().acquire_timeout(limit).await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable { after, .. } if *after == limit), "{fate:?}: {error:?}");
        assert!(!error.is_busy(), "{error}");
        let set = client.lock_all(["x", "y"]).unwrap().acquire_timeout(limit).await.unwrap_err();
        assert!(matches!(set, Error::Unavailable { .. }), "{fate:?}: {set:?}");
        let election = client.election("e").unwrap().campaign_timeout(limit).await.unwrap_err();
        assert!(matches!(election, Error::Unavailable { .. }) && !election.is_busy(), "{fate:?}: {election:?}");
    }
    let (_, client) = faulty(Fate::Fail(unknown()));
    let error = client.lock("x").unwrap().acquire_timeout(Duration::from_secs(3)).await.unwrap_err();
    assert!(error.to_string().contains("the connection was lost"), "{error}");
    let (_, client) = faulty(Fate::Hang);
    let error = client.lock("x").unwrap().acquire_timeout(Duration::from_secs(1)).await.unwrap_err();
    assert!(error.to_string().contains("no call was answered"), "{error}");
}

/// The lock of a set that could not be had is named, and is not busy, though the one before it was had.
#[tokio::test(start_paused = true)]
async fn a_set_names_the_lock_that_could_not_be_had_and_gives_back_the_others() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    faulty.on(|request| if request.name.as_str() == "y" { Fate::Fail(unknown()) } else { Fate::Pass });
    let set = client_of(faulty, "a").lock_all(["x", "y"]).unwrap();
    let limited = set.acquire_timeout(Duration::from_secs(30)).await.unwrap_err();
    assert!(matches!(&limited, Error::Unavailable { name, .. } if name == "y") && !limited.is_busy(), "{limited:?}");
    let tried = set.try_acquire().await.unwrap_err();
    assert!(matches!(&tried, Error::Store { .. }) && tried.to_string().contains("lock y"), "{tried:?}");
    let once = set.acquire_timeout(Duration::ZERO).await.unwrap_err();
    assert!(matches!(&once, Error::Store { .. }) && !once.is_busy(), "{once:?}");
    until("x is given back", || tests::memory::is_untouched(&store, "x")).await;
}

#[tokio::test(start_paused = true)]
async fn a_time_out_behind_a_holder_is_busy() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
    let held = b.lock("x").unwrap().acquire().await.unwrap();
    let limit = Duration::from_secs(5);
    let error = a.lock("x").unwrap().acquire_timeout(limit).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }) && error.is_busy(), "{error:?}");
    let patient = waiter(&a, "x");
    pass(Duration::from_secs(1)).await;
    faulty.every(Fate::Hang);
    let error = a.lock("x").unwrap().acquire_timeout(limit).await.unwrap_err();
    assert!(error.is_busy(), "its holder is in sight, and no call has failed: {error:?}");
    patient.abort();
    drop(held);
    let mine = client(&store, "c");
    let _held = mine.lock("y").unwrap().acquire().await.unwrap();
    let error = mine.lock("y").unwrap().acquire_timeout(limit).await.unwrap_err();
    assert!(error.is_busy(), "another task of this process has it: {error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_named_even_by_a_shorter_time_out() {
    let (_, client) = faulty(Fate::Fail(forbidden()));
    let error = client.lock("x").unwrap().acquire_timeout(Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(&error, Error::Forbidden(text) if text.contains("may not create")), "{error:?}");
}

#[locked("nightly", wait = "30s", on_busy = skip, via = client)]
async fn nightly(client: &Client, ran: &mut bool) {
    *ran = true;
}

#[locked("nightly", wait = "30s", on_busy = skip, via = client)]
async fn nightly_outcome(client: &Client) -> Result<Outcome<()>, Error> {
    Ok(Outcome::Ran(()))
}

#[locked(["nightly", "weekly"], wait = "30s", on_busy = skip, via = client)]
async fn both(client: &Client) -> Result<Outcome<()>, Error> {
    Ok(Outcome::Ran(()))
}

#[locked("nightly", wait = none, on_busy = skip, via = client)]
async fn nightly_once(client: &Client) -> Result<Outcome<()>, Error> {
    Ok(Outcome::Ran(()))
}

#[tokio::test(start_paused = true)]
async fn a_job_is_not_skipped_in_silence_when_the_store_cannot_be_used() {
    for fate in [Fate::Fail(unknown()), Fate::Hang, Fate::Fail(forbidden())] {
        let logs = Logs::capture();
        let (_, client) = faulty(fate.clone());
        let mut ran = false;
        nightly(&client, &mut ran).await;
        assert!(!ran);
        assert!(logs.errors() == 1, "{fate:?}: {:?}", logs.lines());
        for skipped in [nightly_outcome(&client).await, both(&client).await, nightly_once(&client).await] {
            let error = skipped.expect_err("skipping would hide it");
            assert!(!error.is_busy(), "{fate:?}: {error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_another_process_does_is_skipped_without_a_word() {
    let logs = Logs::capture();
    let store = MemoryStore::new();
    let _held = client(&store, "b").lock("nightly").unwrap().acquire().await.unwrap();
    let a = client(&store, "a");
    let mut ran = false;
    nightly(&a, &mut ran).await;
    assert!(matches!(nightly_outcome(&a).await, Ok(Outcome::Skipped)));
    assert!(!ran && logs.errors() == 0 && logs.warnings() == 0, "{:?}", logs.lines());
}

#[msync::leader_only("scheduler", via = client)]
async fn tick(client: &Client) -> Result<Outcome<()>, Error> {
    Ok(Outcome::Ran(()))
}

#[msync::leader_only("scheduler", on_follower = skip, via = client)]
async fn quiet_tick(client: &Client) {
    panic!("nobody leads");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_campaign_is_no_follower() {
    let logs = Logs::capture();
    let (_, client) = faulty(Fate::Fail(unknown()));
    let first = tick(&client).await;
    pass(Duration::from_secs(10)).await;
    let later = tick(&client).await;
    for told in [first, later] {
        assert!(matches!(&told, Err(Error::Unavailable { .. })), "{told:?}");
    }
    quiet_tick(&client).await;
    assert!(logs.errors() == 1, "{:?}", logs.lines());
}

#[tokio::test(start_paused = true)]
async fn a_leaders_loop_that_cannot_campaign_neither_spins_nor_floods_the_log() {
    // Campaigns go on by themselves, so each has an election of its own.
    for (name, fate) in [("f", Fate::Fail(forbidden())), ("d", denied("no label")), ("u", Fate::Fail(unknown()))] {
        let logs = Logs::capture();
        let (faulty, client) = faulty(fate.clone());
        let at_work = client.clone();
        let every = Duration::from_millis(1);
        let looping = tokio::spawn(async move { at_work.leader_loop(name, every, |_| async {}).await });
        pass(Duration::from_secs(60)).await;
        assert!(faulty.total() <= 120, "{fate:?}: {} calls in a minute", faulty.total());
        assert!((1..=16).contains(&logs.warnings()), "{fate:?}: {} warnings in a minute", logs.warnings());
        looping.abort();
    }
}

/// Of what will not pass by itself there would be a warning every few seconds, from all replicas in step.
#[tokio::test(start_paused = true)]
async fn a_candidate_that_cannot_campaign_is_told_ever_more_rarely_and_not_in_step() {
    let logs = Logs::capture();
    let (faulty, client) = faulty(denied("no label"));
    let moments = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&moments);
    faulty.on(move |_| {
        noted.lock().unwrap().push(Instant::now());
        denied("no label")
    });
    let candidate = client.election("e").unwrap().candidate();
    pass(Duration::from_secs(3600)).await;
    assert!((1..=16).contains(&logs.warnings()), "{} warnings in an hour", logs.warnings());
    let moments = moments.lock().unwrap().clone();
    let pauses: BTreeSet<_> = moments.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert!(pauses.len() > 20 && pauses.iter().all(|millis| (2_500..=5_010).contains(millis)), "{pauses:?}");
    let resigned = within(Duration::from_millis(100), "resigned", candidate.resign()).await;
    assert!(matches!(resigned, Ok(()) | Err(Error::Store { .. })), "{resigned:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_leader_advertises_in_vain_is_tried_ever_more_rarely_and_told_once() {
    let logs = Logs::capture();
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    faulty.on(|request| if request.kind == Kind::Advertise { denied("no label") } else { Fate::Pass });
    let client = client_of(faulty.clone(), "a");
    let election = client.election("e").unwrap().advertise("10.0.0.7:8080").unwrap();
    let term = election.campaign().await.unwrap();
    pass(Duration::from_secs(600)).await;
    assert!((8..=30).contains(&faulty.count(Kind::Advertise)), "{} attempts", faulty.count(Kind::Advertise));
    let told = logs.lines().iter().filter(|line| line.contains("advertises")).count();
    assert_eq!(told, 1, "{:?}", logs.lines());
    term.check().unwrap();
    faulty.heal();
    pass(Duration::from_secs(60)).await;
    let shown = record(&store, "e").unwrap();
    assert_eq!(shown.advert(), Some("10.0.0.7:8080"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_used_is_warned_of_within_ten_seconds_and_ever_more_rarely() {
    let logs = Logs::capture();
    let (faulty, client) = faulty(Fate::Fail(unknown()));
    let waiting: Vec<_> = (0..3).map(|_| waiter(&client, "x")).collect();
    pass(Duration::from_secs(10)).await;
    assert!((1..=2).contains(&logs.warnings()), "once per lock and not per task: {:?}", logs.lines());
    assert!(logs.lines().iter().any(|line| line.contains("lock=x") && line.contains("connection was lost")));
    pass(Duration::from_secs(3600)).await;
    assert!((8..=12).contains(&logs.warnings()), "{:?}", logs.lines());
    faulty.heal();
    pass(Duration::from_secs(10)).await;
    assert!(logs.lines().iter().any(|line| line.contains("can be used again")), "{:?}", logs.lines());
    let told = logs.lines().len();
    pass(Duration::from_secs(600)).await;
    assert_eq!(logs.lines().len(), told);
    for waiting in waiting {
        waiting.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_processes_whose_writes_fail_ask_at_most_twice_a_second_each_and_not_in_step() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    faulty.on(|request| if request.kind == Kind::Read { Fate::Pass } else { Fate::Fail(unknown()) });
    let clients: Vec<_> = (0..20).map(|n| client_of(faulty.clone(), &format!("c{n}"))).collect();
    let waiting: Vec<_> = clients.iter().map(|client| waiter(client, "x")).collect();
    pass(Duration::from_secs(5)).await;
    let mut seconds = Vec::new();
    for _ in 0..60 {
        let before = faulty.total();
        pass(Duration::from_secs(1)).await;
        seconds.push(faulty.total() - before);
    }
    let all: usize = seconds.iter().sum();
    assert!(all <= 20 * 2 * 60, "{seconds:?}");
    assert!(seconds.iter().all(|calls| *calls < 3 * all / 60), "in step: {seconds:?}");
    for waiting in waiting {
        waiting.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_denies_for_seconds_after_a_start_of_the_server_costs_nobody_anything() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, b) = (client_of(faulty.clone(), "a"), client_of(faulty.clone(), "b"));
    let held = a.lock("x").unwrap().acquire().await.unwrap();
    let released = a.lock("y").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Fail(forbidden()));
    let waiting = waiter(&b, "z");
    let releasing = tokio::spawn(released.release());
    pass(Duration::from_secs(4)).await;
    faulty.heal();
    within(Duration::from_secs(5), "acquired", waiting).await.unwrap().check().unwrap();
    within(Duration::from_secs(5), "released", releasing).await.unwrap().unwrap();
    assert!(record(&store, "y").is_none(), "it does not wait for its ttl");
    pass(2 * TTL).await;
    held.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_denied_for_longer_is_made_good_before_its_ttl() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let a = client_of(faulty.clone(), "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Fail(forbidden()));
    let error = within(Duration::from_secs(11), "told", guard.release()).await.unwrap_err();
    assert!(matches!(error, Error::Forbidden(_)), "{error:?}");
    pass(Duration::from_secs(3)).await;
    faulty.heal();
    until("released", || record(&store, "x").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn what_admission_refuses_is_said_at_once_with_its_words() {
    let (faulty, client) = faulty(denied("admission webhook \"p\" denied the request: no label"));
    let lock = client.lock("x").unwrap();
    for error in [
        within(Duration::from_secs(1), "at once", lock.acquire()).await.unwrap_err(),
        within(Duration::from_secs(1), "at once", lock.try_acquire()).await.unwrap_err(),
        within(Duration::from_secs(1), "at once", client.election("x").unwrap().campaign()).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Store { .. }) && error.to_string().contains("no label"), "{error:?}");
    }
    faulty.heal();
    let logs = Logs::capture();
    let guard = lock.acquire().await.unwrap();
    faulty.every(denied("no label"));
    assert_eq!(guard.lost().await, msync::LossReason::Refused);
    pass(Duration::from_secs(1)).await;
    assert!(logs.lines().iter().any(|line| line.contains("no label") && line.contains("lost")), "{:?}", logs.lines());
}

#[tokio::test(start_paused = true)]
async fn refusals_that_never_end_end_every_wait() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    store.edit(&name("x"), |_| ());
    faulty.on(|request| match request.kind {
        Kind::Claim | Kind::Enqueue | Kind::Renew => Fate::Fail(Fault::Refused(Refused::Mismatch)),
        _ => Fate::Pass,
    });
    let a = client_of(faulty.clone(), "a");
    let tried = within(TTL, "a try ends", a.lock("x").unwrap().try_acquire()).await;
    assert!(matches!(tried, Err(Error::Store { .. })), "{tried:?}");
    let waited = within(4 * TTL, "an acquisition ends", a.lock("x").unwrap().acquire()).await;
    assert!(matches!(waited, Err(Error::Store { .. })), "{waited:?}");
    assert!(faulty.total() < 150, "{}", faulty.total());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_three_seconds_for_each_write_is_waited_for() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    // As the API server does with a request that is given up: it is not applied.
    faulty.on(|request| match request.kind {
        Kind::Read => Fate::Pass,
        _ => Fate::Delay(Duration::from_secs(3)),
    });
    let (a, b) = (client_of(faulty.clone(), "a"), client_of(faulty.clone(), "b"));
    let tried = within(TTL, "tried", a.lock("t").unwrap().try_acquire()).await.unwrap();
    drop(tried.expect("it is free"));
    let held = within(TTL, "acquired", a.lock("x").unwrap().acquire()).await.unwrap();
    let waiting = waiter(&b, "x");
    pass(4 * TTL).await;
    held.check().unwrap();
    within(TTL, "released", held.release()).await.unwrap();
    let next = within(2 * TTL, "handed over", waiting).await.unwrap();
    pass(4 * TTL).await;
    next.check().unwrap();
    let term = within(TTL, "elected", a.election("e").unwrap().campaign()).await.unwrap();
    pass(4 * TTL).await;
    term.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_becomes_slow_under_a_holder_does_not_cost_the_lock() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    let held = a.lock("x").unwrap().acquire().await.unwrap();
    pass(2 * TTL).await;
    faulty.on(|request| if request.kind == Kind::Read { Fate::Pass } else { Fate::Delay(Duration::from_secs(3)) });
    pass(4 * TTL).await;
    held.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_too_slow_for_the_ttl_is_said_to_be() {
    let logs = Logs::capture();
    let (_, client) = faulty(Fate::Delay(Duration::from_secs(8)));
    let waiting = waiter(&client, "x");
    pass(Duration::from_secs(120)).await;
    assert!(!waiting.is_finished());
    let told = |line: &String| line.contains("longer to answer than the ttl allows") && line.contains("longest=6.75s");
    assert!(logs.lines().iter().any(told), "{:?}", logs.lines());
    waiting.abort();
    let longer = client.lock("y").unwrap().timing(ttl(30));
    within(Duration::from_secs(60), "with a longer ttl", longer.acquire()).await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_of_any_store_says_the_same() {
    let store = Faulty::new(MemoryStore::new());
    store.every(Fate::Fail(Fault::Fatal(Fatal::CrdOutdated("outdated: it does not keep spec.beat".to_owned()))));
    let client = builder("a", TokioClock::default()).store(Arc::new(store)).build();
    let error = within(Duration::from_secs(1), "at once", client.lock("x").unwrap().acquire()).await.unwrap_err();
    assert!(matches!(&error, Error::CrdMissing(text) if text.contains("spec.beat")), "{error:?}");
}

//! `#[leader_only]` on the memory store, in paused time.

use std::{
    future::pending,
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
};

use futures::StreamExt;
use msync::{Client, Error, FencingToken, LossReason, MemoryStore, Outcome, leader_only};
use tokio::time::{Instant, sleep, timeout};

use crate::memory::{SECOND, name, pair};

#[leader_only("job", via = client)]
async fn skip(client: &Client, runs: &AtomicU32) {
    runs.fetch_add(1, Ordering::Relaxed);
}

#[leader_only("job", via = client)]
async fn outcome(client: &Client) -> Result<Outcome<u8>, Error> {
    Ok(Outcome::Ran(1))
}

#[leader_only("job", via = client, on_follower = error)]
async fn error(client: &Client) -> Result<(), Error> {
    Ok(())
}

#[leader_only("job", via = client, on_follower = wait, guard = term)]
async fn wait(client: &Client) -> Result<FencingToken, Error> {
    term.check()?;
    Ok(term.token())
}

#[leader_only("job", via = client, on_follower = error)]
async fn lose(client: &Client, store: &MemoryStore) -> Result<(), Error> {
    store.delete("job");
    pending().await
}

#[tokio::test(start_paused = true)]
async fn followers_skip_err_or_wait_and_the_leader_runs() {
    let (_store, a, b) = pair();
    let runs = AtomicU32::new(0);
    skip(&a, &runs).await;
    skip(&b, &runs).await;
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    assert_eq!((outcome(&a).await.unwrap(), outcome(&b).await.unwrap()), (Outcome::Ran(1), Outcome::Skipped));
    error(&a).await.unwrap();
    assert!(matches!(error(&b).await, Err(Error::Busy { .. })));
    assert!(timeout(100 * SECOND, wait(&b)).await.is_err());
    let first = wait(&a).await.unwrap();
    let waiting = tokio::spawn(async move { wait(&b).await });
    sleep(SECOND).await;
    a.shutdown().await;
    let second = timeout(5 * SECOND, waiting).await.expect("handed over").unwrap().unwrap();
    assert!(second > first);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_loses_is_cancelled_and_runs_again_when_it_regains() {
    let (store, a, _) = pair();
    let first = wait(&a).await.unwrap();
    let lost = timeout(SECOND, lose(&a, &store)).await.expect("told at once");
    assert!(matches!(lost, Err(Error::Lost { reason: LossReason::Deleted, .. })));
    assert!(timeout(100 * SECOND, wait(&a)).await.expect("regained").unwrap() > first);
}

#[tokio::test(start_paused = true)]
async fn signal_lets_the_body_of_a_lost_leader_end() {
    #[leader_only("job", via = client, on_follower = error, on_lost = signal, guard = term)]
    async fn work(client: &Client, store: &MemoryStore) -> Result<LossReason, Error> {
        store.delete("job");
        let reason = term.lost().await;
        sleep(SECOND).await;
        Ok(reason)
    }
    let (store, a, _) = pair();
    assert_eq!(work(&a, &store).await.unwrap(), LossReason::Deleted);
}

#[tokio::test(start_paused = true)]
async fn calls_of_the_leader_run_side_by_side_under_one_term() {
    #[leader_only("job", via = client, on_follower = wait, guard = term)]
    async fn outer(client: &Client) -> Result<(FencingToken, FencingToken), Error> {
        Ok((term.token(), wait(client).await?))
    }
    let (_store, a, _) = pair();
    let (outer_token, inner_token) = outer(&a).await.unwrap();
    assert_eq!(outer_token, inner_token);
}

#[tokio::test(start_paused = true)]
async fn the_leaders_loop_goes_on_in_the_next_process() {
    let (_store, a, b) = pair();
    wait(&a).await.unwrap(); // either may win: let it be `a`
    let (runs_a, runs_b) = (AtomicU32::new(0), AtomicU32::new(0));
    let count = async |client: &Client, runs: &AtomicU32| {
        client
            .leader_loop("job", 10 * SECOND, async |_| runs.store(runs.load(Ordering::Relaxed) + 1, Ordering::Relaxed))
            .await
    };
    let ended = tokio::join!(count(&a, &runs_a), count(&b, &runs_b), async {
        sleep(55 * SECOND).await;
        a.shutdown().await;
        sleep(55 * SECOND).await;
        b.shutdown().await;
    });
    assert!(matches!((&ended.0, &ended.1), (Err(Error::ShutDown), Err(Error::ShutDown))));
    assert!(ended.0.unwrap_err().is_shut_down());
    let runs = (runs_a.into_inner(), runs_b.into_inner());
    assert!((5..=7).contains(&runs.0) && (5..=7).contains(&runs.1), "{runs:?}");
}

/// The next run is half an hour away; so is the end of the body.
#[tokio::test(start_paused = true)]
async fn the_leaders_loop_ends_with_its_client_and_not_at_its_next_run() {
    for ends in [true, false] {
        let (_store, a, _b) = pair();
        let runs = AtomicU32::new(0);
        let looped = a.leader_loop("job", 1800 * SECOND, async |_| {
            runs.fetch_add(1, Ordering::Relaxed);
            if !ends {
                pending::<()>().await;
            }
        });
        let ((ended, told), shut) = tokio::join!(
            async {
                let ended = looped.await;
                (ended, Instant::now())
            },
            async {
                sleep(60 * SECOND).await;
                let shut = Instant::now();
                a.shutdown().await;
                shut
            }
        );
        let since = told - shut;
        assert!(matches!(ended, Err(Error::ShutDown)) && since < SECOND, "{since:?}");
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }
}

/// From the beginning of one run to that of the next, however long the campaign took.
#[tokio::test(start_paused = true)]
async fn the_leaders_loop_runs_once_when_it_comes_to_lead_late() {
    let (_store, a, b) = pair();
    wait(&a).await.unwrap();
    let runs = AtomicU32::new(0);
    let looped = b.leader_loop("job", 1800 * SECOND, async |_| {
        runs.fetch_add(1, Ordering::Relaxed);
    });
    let crowd = async {
        sleep(5 * 1800 * SECOND).await;
        a.shutdown().await;
        sleep(1700 * SECOND).await;
    };
    tokio::select! {
        ended = looped => panic!("{ended:?}"),
        () = crowd => {}
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_interval_that_is_none_is_refused() {
    let (_store, a, _b) = pair();
    for every in [std::time::Duration::ZERO, SECOND / 1_000_000_000, SECOND / 1001] {
        let refused = timeout(SECOND, a.leader_loop("job", every, async |_| {})).await.expect("at once");
        assert!(matches!(refused, Err(Error::InvalidTiming { .. })), "{every:?}");
    }
}

/// What the loop and the macro call an election is what `election` calls it: it can be observed.
#[tokio::test(start_paused = true)]
async fn an_election_of_any_name_can_be_observed() {
    #[leader_only(name = text, via = client, on_follower = wait, guard = term)]
    async fn lead(client: &Client, text: &str) -> Result<String, Error> {
        Ok(term.name().to_string())
    }
    let (_store, a, b) = pair();
    let text = "Cluster Coordinator";
    let name = lead(&a, text).await.unwrap();
    assert_eq!(b.election(text).unwrap().name().as_str(), name);
    let leader = pin!(b.election(text).unwrap().observe()).next().await.unwrap();
    assert_eq!(leader.unwrap().identity(), a.identity());
    assert!(matches!(lead(&a, "").await, Err(Error::InvalidName { .. })), "nothing is no name");
}

#[tokio::test(start_paused = true)]
async fn the_ttl_of_a_leader_is_that_of_its_record() {
    #[leader_only("job", via = client, ttl = "1m", on_follower = wait, guard = term)]
    async fn rare(client: &Client) -> Result<bool, Error> {
        Ok(term.remaining() > 50 * SECOND)
    }
    let (store, a, _b) = pair();
    assert!(rare(&a).await.unwrap());
    assert_eq!(store.snapshot(&name("job")).unwrap().record.ttl, 60 * SECOND);
    assert!(wait(&a).await.is_ok(), "another function of the election runs under the same term");
}

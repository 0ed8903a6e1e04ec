//! The example clients of `examples/clients`, each run as it is against a real sidecar. A language whose toolchain is not
//! on this machine is skipped, said loudly.
// Processes and sockets run in real time: there is no clock to inject.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use serde_json::Value;
use tests::eventually;

mod check;
mod language;
mod late;
mod run;
mod sidecar;

use language::{Language, example, languages};
use run::Log;
use sidecar::Sidecar;

/// Long enough for a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(90);
/// The seconds that a client may be silent: short, for the test waits for more than that; but long enough for a client that
/// the machine forgets for a while (5 was too short once, on a machine with ten times more to do than it could).
const TTL: f64 = 12.0;
/// More than the ttl, so that only beats keep the lock.
const WORK: f64 = TTL + 1.0;

/// Does it for all languages at the same time; every one that fails is told.
async fn in_each_language(test: impl AsyncFn(&'static Language) -> Result<()>) -> Result<()> {
    let outcomes = join_all(languages().iter().map(async |language| (language.name, test(language).await))).await;
    let failed = outcomes.into_iter().filter_map(|(name, outcome)| Some(format!("{name}: {:#}", outcome.err()?)));
    let failed: Vec<String> = failed.collect();
    ensure!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

/// Compilers and interpreters read a file as the locale has it, and old ones of Java refuse then what is not ASCII.
#[test]
fn clients_are_readable_in_every_locale() -> Result<()> {
    let mut read = 0;
    for language in std::fs::read_dir(example(""))? {
        for file in std::fs::read_dir(language?.path())? {
            let path = file?.path();
            ensure!(std::fs::read(&path)?.is_ascii(), "{}", path.display());
            read += 1;
        }
    }
    ensure!(read >= 5, "{read}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_of_a_language_take_turns() -> Result<()> {
    let sidecar = Sidecar::start().await?;
    in_each_language(async |language| take_turns(language, &sidecar).await).await
}

async fn take_turns(language: &Language, sidecar: &Sidecar) -> Result<()> {
    let (lock, log) = (language.name, Log::new()?);
    let path = format!("/locks/{lock}");
    ensure!(sidecar.ask("PUT", &format!("{path}?ttl=600"), "test").await?.0 == 200);
    // One request for all the time, so it stays ahead of b, which asks again and again.
    let a = log.client(language, sidecar.port, "a").waiting(300).spawn(lock, WORK)?;
    eventually("a waits", LIMIT, async || waits(sidecar, lock, "a").await).await?;
    let b = log.client(language, sidecar.port, "b").spawn(lock, 0.1)?;
    eventually("b waits", LIMIT, async || waits(sidecar, lock, "b").await).await?;
    ensure!(sidecar.ask("DELETE", &path, "test").await?.0 == 204);
    log.succeeds(a).await?;
    log.succeeds(b).await?;
    // Within the ttl, so only a release can have freed it.
    ensure!(sidecar.ask("PUT", &path, "test").await?.0 == 200, "b has not released it");

    let told = log.lines();
    let (first, second) = (token(&told, "a", lock)?, token(&told, "b", lock)?);
    let expected = [
        format!("a holds {lock}, fencing token {first}"),
        "a is done".to_owned(),
        format!("b holds {lock}, fencing token {second}"),
        "b is done".to_owned(),
    ];
    ensure!(told == expected, "{told:?}");
    ensure!(second > first, "{told:?}");
    Ok(())
}

/// Whether a client stands in the queue of a lock.
async fn waits(sidecar: &Sidecar, lock: &str, client: &str) -> bool {
    let Ok((200, listing)) = sidecar.ask("GET", "/locks", "test").await else { return false };
    let listed = listing["locks"].as_array().into_iter().flatten().find(|listed| listed["name"] == lock);
    let waiting = listed.and_then(|listed| listed["waiting"].as_array()).into_iter().flatten();
    waiting.map(|request| &request["client"]).any(|waiting| waiting == client)
}

fn token(told: &[String], client: &str, lock: &str) -> Result<u64> {
    let start = format!("{client} holds {lock}, fencing token ");
    let found = told.iter().find_map(|line| line.strip_prefix(&start));
    Ok(found.with_context(|| format!("{told:?}"))?.parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_lost_its_lock_stops_its_work() -> Result<()> {
    let sidecar = Sidecar::start().await?;
    in_each_language(async |language| lose(language, &sidecar).await).await
}

/// Somebody waits, somebody else releases in the client's name: its next beat says that the lock is another's.
async fn lose(language: &Language, sidecar: &Sidecar) -> Result<()> {
    let (lock, log) = (language.name, Log::new()?);
    let client = log.client(language, sidecar.port, "a").spawn(lock, 600.0)?;
    eventually("a holds", LIMIT, async || log.says("a holds")).await?;
    let path = format!("/locks/{lock}");
    let waiting = format!("{path}?wait=60&ttl=600");
    let (taken, released) = tokio::join!(sidecar.ask("PUT", &waiting, "thief"), async {
        eventually("the thief waits", LIMIT, async || waits(sidecar, lock, "thief").await).await?;
        sidecar.ask("DELETE", &path, "a").await
    });
    ensure!((taken?.0, released?.0) == (200, 204));
    let failed = log.ended(client).await?;
    ensure!(!failed.success() && !log.says("a is done") && log.complains("lost"), "{failed}, {log:?}");
    let (_, held) = sidecar.ask("GET", "/locks", "test").await?;
    let held = held["locks"].as_array().into_iter().flatten().find(|listed| listed["name"] == lock).cloned();
    ensure!(held.as_ref().is_some_and(|held| held["client"] == "thief"), "the loser released it: {held:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_told_to_end_leaves_at_once() -> Result<()> {
    let sidecar = Sidecar::start().await?;
    in_each_language(async |language| leave(language, &sidecar).await).await
}

/// One client is told so (SIGTERM) while it holds, another while it waits.
async fn leave(language: &Language, sidecar: &Sidecar) -> Result<()> {
    let (lock, log) = (language.name, Log::new()?);
    let a = log.client(language, sidecar.port, "a").spawn(lock, 600.0)?;
    eventually("a holds", LIMIT, async || log.says("a holds")).await?;
    let b = log.client(language, sidecar.port, "b").waiting(300).spawn(lock, 600.0)?;
    eventually("b waits", LIMIT, async || waits(sidecar, lock, "b").await).await?;
    run::terminate(&b)?;
    log.ended(b).await?;
    eventually("b leaves the queue long before its wait is over", LIMIT, async || !waits(sidecar, lock, "b").await)
        .await?;
    run::terminate(&a)?;
    log.ended(a).await?;
    // Within the ttl, so only a release can have freed it.
    ensure!(sidecar.ask("PUT", &format!("/locks/{lock}"), "test").await?.0 == 200, "a has not released it: {log:?}");
    ensure!(!log.says("is done") && !log.says("b holds"), "{log:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_bear_a_sidecar_that_ends_and_comes_back() -> Result<()> {
    let mut first = Sidecar::start().await?;
    ensure!(first.ask("PUT", "/locks/kept?ttl=600", "test").await?.0 == 200);
    first.process.terminate()?;
    eventually("it takes no new locks", LIMIT, async || {
        first.ask("GET", "/locks", "test").await.is_ok_and(|(_, listing)| listing["draining"] == Value::Bool(true))
    })
    .await?;
    let mut running = Vec::new();
    for language in languages() {
        let log = Log::new()?;
        running.push((language, log.client(language, first.port, "a").spawn(language.name, 0.1)?, log));
    }
    for (language, _, log) in &running {
        let told = eventually("it is told to come back", LIMIT, async || log.complains("answers 503")).await;
        told.with_context(|| format!("{}: {log:?}", language.name))?;
    }
    ensure!(first.ask("DELETE", "/locks/kept", "test").await?.0 == 204);
    first.process.wait(LIMIT).await?;
    let _second = Sidecar::start_on(first.port).await?;
    for (language, client, log) in running {
        log.succeeds(client).await.with_context(|| language.name)?;
        ensure!(log.says("a is done"), "{}: {log:?}", language.name);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_repeat_what_was_heard_too_late() -> Result<()> {
    let sidecar = Sidecar::start().await?;
    in_each_language(async |language| {
        let (late, log) = (late::proxy(sidecar.port).await?, Log::new()?);
        let client = log.client(language, late, "a").spawn(language.name, 0.1)?;
        log.succeeds(client).await?;
        ensure!(log.says("a is done") && log.complains("answers 408"), "{log:?}");
        Ok(())
    })
    .await
}

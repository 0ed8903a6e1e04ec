//! The macros between processes, on a real API server. Children find it as a service would: by the environment.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use kube::{Api, ResourceExt};
use msync::{
    Error, leader_only, locked,
    unstable::crd::{Lock, ORIGINAL_NAME},
};
use tempfile::TempDir;
use tests::{
    process::{ChildProcess, Spawn, follow_parent, is_child},
    testbed::{ADMIN, TestServer},
};
use tokio::{sync::OnceCell, time::sleep};

use crate::LIMIT;

/// How often each process takes the lock.
const TURNS: usize = 10;
/// Where the children work, and what makes their lock's name unique.
const DIR: &str = "MSYNC_TEST_DIR";

/// The shared server with the resource installed; `None` when there is none, why was printed already.
async fn server() -> Result<Option<&'static TestServer>> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let Some(server) = TestServer::shared().await? else { return Ok(None) };
    let client = server.client(ADMIN).await?;
    INSTALLED.get_or_try_init(|| msync::unstable::crd::install_crd(&client)).await?;
    Ok(Some(server))
}

fn child(test: &str, server: &TestServer, dir: &Path) -> Result<ChildProcess> {
    let child = Spawn::this_test(test)?.env("KUBECONFIG", server.kubeconfig(ADMIN)?);
    child.env("MSYNC_STORE", "kube").env(DIR, dir).spawn()
}

/// The child's directory, and the part of its locks' names that no other run has.
fn work_place() -> Result<(PathBuf, String)> {
    let dir = PathBuf::from(std::env::var_os(DIR).context("the parent names a directory")?);
    let run = dir.file_name().context("it has a name")?.to_string_lossy().into_owned();
    Ok((dir, run))
}

#[locked("exclusion-{run}", guard = lease)]
async fn alone(dir: &Path, run: &str) -> Result<()> {
    let mark = dir.join("inside");
    fs::File::create_new(&mark).context("another process is inside")?;
    sleep(Duration::from_millis(5)).await;
    let mut log = fs::File::options().append(true).create(true).open(dir.join("tokens"))?;
    writeln!(log, "{}", lease.token().get())?;
    fs::remove_file(&mark)?;
    Ok(())
}

#[tokio::test]
#[ignore = "a child of the other tests"]
async fn child_takes_turns() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    follow_parent();
    let (dir, run) = work_place()?;
    for _ in 0..TURNS {
        alone(&dir, &run).await?;
    }
    println!("\ndone");
    Ok(())
}

#[tokio::test]
async fn processes_exclude_each_other_and_tokens_only_grow() -> Result<()> {
    let Some(server) = server().await? else { return Ok(()) };
    let (_dir, place) = run()?;
    let mut children: Vec<ChildProcess> =
        (0..3).map(|_| child("cluster::child_takes_turns", server, &place)).collect::<Result<_>>()?;
    for child in &mut children {
        child.line_with("done", LIMIT).await?;
    }
    let log = fs::read_to_string(place.join("tokens"))?;
    let tokens: Vec<u64> = log.lines().map(str::parse).collect::<Result<_, _>>()?;
    assert_eq!(tokens.len(), 3 * TURNS);
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    Ok(())
}

#[locked("stuck-{run}", ttl = "2s")]
async fn hold_for_ever(run: &str) -> Result<(), Error> {
    println!("\nheld");
    loop {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "a child of the other tests"]
async fn child_holds() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    follow_parent();
    let ended = hold_for_ever(&work_place()?.1).await;
    println!("\nlost: {}", ended.is_err_and(|error| error.is_lost()));
    Ok(())
}

/// Takes the children's lock over, with the default client of a process of its own.
#[tokio::test]
#[ignore = "a child of the other tests"]
async fn child_takes_over() -> Result<()> {
    #[locked("stuck-{run}", ttl = "2s", wait = "30s")]
    async fn take_over(run: &str) -> Result<(), Error> {
        println!("\ntaken over");
        Ok(())
    }
    if is_child() {
        follow_parent();
        take_over(&work_place()?.1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn l1_a_killed_holder_is_followed_within_its_ttl() -> Result<()> {
    let Some(server) = server().await? else { return Ok(()) };
    let (_dir, place) = run()?;
    let mut holder = child("cluster::child_holds", server, &place)?;
    holder.line_with("held", LIMIT).await?;
    let mut next = child("cluster::child_takes_over", server, &place)?;
    sleep(Duration::from_secs(1)).await;
    holder.kill()?;
    next.line_with("taken over", Duration::from_secs(15)).await?;
    Ok(())
}

#[tokio::test]
async fn s3_a_holder_that_froze_beyond_its_ttl_runs_not_one_step_more() -> Result<()> {
    let Some(server) = server().await? else { return Ok(()) };
    let (_dir, place) = run()?;
    let mut holder = child("cluster::child_holds", server, &place)?;
    holder.line_with("held", LIMIT).await?;
    holder.stop().await?;
    let mut next = child("cluster::child_takes_over", server, &place)?;
    next.line_with("taken over", LIMIT).await?;
    holder.resume()?;
    assert_eq!(holder.line_with("lost", LIMIT).await?, "lost: true");
    Ok(())
}

#[locked("mail-{address}", via = client, guard = lease)]
async fn send(client: &msync::Client, locks: &Api<Lock>, address: &str) -> Result<(String, Lock)> {
    let name = lease.name().to_string();
    let object = locks.get(&name).await?;
    Ok((name, object))
}

#[tokio::test]
async fn the_object_of_an_escaped_name_shows_the_original() -> Result<()> {
    let Some(server) = server().await? else { return Ok(()) };
    let (kube, namespace) = (server.client(ADMIN).await?, server.namespace().await?);
    let locks = Api::namespaced(kube.clone(), &namespace);
    let client = msync::Client::builder().namespace(namespace).kube(kube).build();
    let (name, object) = send(&client, &locks, "Zoë \"Z\"\t<zoe@example.org>/\u{1f512}\n").await?;
    assert!(name.starts_with("mail-zo") && name.len() < 60, "{name}");
    assert_eq!(object.annotations()[ORIGINAL_NAME], "mail-Zoë \"Z\"\t<zoe@example.org>/\u{1f512}\n");
    let (name, object) = send(&client, &locks, "17").await?;
    assert_eq!((name.as_str(), object.annotations().len()), ("mail-17", 0));
    // More than the API server would store beside an object: it is cut.
    let long = "Ö".repeat(300_000);
    let (_, object) = send(&client, &locks, &long).await?;
    assert!(object.annotations()[ORIGINAL_NAME].starts_with("mail-ÖÖÖ"));
    client.shutdown().await;
    Ok(())
}

#[leader_only("leader-{run}", guard = term)]
async fn tick(run: &str) -> Result<msync::Outcome<u64>, Error> {
    Ok(msync::Outcome::Ran(term.token().get()))
}

#[tokio::test]
#[ignore = "a child of the other tests"]
async fn child_ticks() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    follow_parent();
    let run = work_place()?.1;
    loop {
        if let msync::Outcome::Ran(token) = tick(&run).await? {
            println!("\nled {token}");
        } else {
            println!("\nfollowed");
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn one_process_leads_and_another_after_it_was_killed() -> Result<()> {
    let Some(server) = server().await? else { return Ok(()) };
    let (_dir, place) = run()?;
    let mut first = child("cluster::child_ticks", server, &place)?;
    let led = token(&first.line_with("led", LIMIT).await?)?;
    let mut second = child("cluster::child_ticks", server, &place)?;
    second.line_with("followed", LIMIT).await?;
    first.kill()?;
    assert!(token(&second.line_with("led", LIMIT).await?)? > led);
    Ok(())
}

fn token(line: &str) -> Result<u64> {
    let number = line.rsplit(' ').next().context("a line has a last word")?;
    Ok(number.parse()?)
}

/// A directory for one run, and a place inside of it whose name may stand in a lock's name.
fn run() -> Result<(TempDir, PathBuf)> {
    let dir = tempfile::Builder::new().prefix("run").rand_bytes(8).tempdir()?;
    let name = dir.path().file_name().context("it has a name")?.to_string_lossy().to_lowercase();
    let place = dir.path().join(name);
    fs::create_dir(&place)?;
    Ok((dir, place))
}

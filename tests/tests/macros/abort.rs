//! `on_lost = abort`: the process ends. Each test runs itself in a child process, on a store in its memory.

use std::{future::pending, os::unix::process::ExitStatusExt, process::Command, thread};

use msync::{Client, Error, MemoryStore, leader_only, locked};

use crate::LIMIT;

/// Set in the child.
const INSIDE: &str = "MSYNC_TEST_ABORTS";
const SIGABRT: i32 = 6;

/// Runs `body` in a child process that it must end.
fn aborts<Fut: Future>(test: &str, body: impl FnOnce(Client, MemoryStore) -> Fut) {
    if std::env::var_os(INSIDE).is_some() {
        thread::spawn(|| {
            thread::sleep(LIMIT);
            std::process::exit(1);
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let store = MemoryStore::new();
        runtime.block_on(body(Client::builder().memory(&store).build(), store));
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(SIGABRT), "{:?}: {said}", output.status);
    assert!(said.contains("lock job is lost: its object was deleted; on_lost = abort: the process ends"), "{said}");
}

#[test]
fn a_holder_that_loses_aborts_though_its_body_blocks_the_thread() {
    #[locked("job", via = client, on_lost = abort)]
    async fn stuck(client: &Client, store: &MemoryStore) -> Result<(), Error> {
        store.delete("job");
        loop {
            thread::park();
        }
    }
    let test = "abort::a_holder_that_loses_aborts_though_its_body_blocks_the_thread";
    aborts(test, async |client, store| stuck(&client, &store).await);
}

#[test]
fn a_leader_that_loses_aborts_though_its_body_blocks_the_thread() {
    #[leader_only("job", via = client, on_follower = error, on_lost = abort)]
    async fn stuck(client: &Client, store: &MemoryStore) -> Result<(), Error> {
        store.delete("job");
        loop {
            thread::park();
        }
    }
    let test = "abort::a_leader_that_loses_aborts_though_its_body_blocks_the_thread";
    aborts(test, async |client, store| stuck(&client, &store).await);
}

#[test]
fn a_leader_that_loses_aborts_though_its_body_would_wait() {
    #[leader_only("job", via = client, on_lost = abort)]
    async fn waiting(client: &Client, store: &MemoryStore) {
        store.delete("job");
        pending().await
    }
    let test = "abort::a_leader_that_loses_aborts_though_its_body_would_wait";
    aborts(test, async |client, store| waiting(&client, &store).await);
}

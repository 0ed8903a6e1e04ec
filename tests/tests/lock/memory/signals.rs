//! The end of a process by a signal. Each test runs itself in a child process, which signals itself.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
    thread,
    time::Duration,
};

use msync::{Client, Error, LockGuard, MemoryStore};
use rustix::process::{Signal, getpid, kill_process};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Set in the child.
const INSIDE: &str = "MSYNC_TEST_SIGNALS";
const LIMIT: Duration = Duration::from_secs(60);

/// The exit codes of the child: its test ran to its end, or it hung.
const DONE: i32 = 10;
const HUNG: i32 = 11;

/// Runs `body` in a child process; returns how that ended.
fn child(test: &str, body: impl FnOnce()) -> ExitStatus {
    if std::env::var_os(INSIDE).is_some() {
        thread::spawn(|| {
            thread::sleep(LIMIT);
            std::process::exit(HUNG);
        });
        body();
        std::process::exit(DONE);
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let test = format!("memory::signals::{test}");
    let output = child.args(["--exact", &test, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    eprintln!("{}", String::from_utf8_lossy(&output.stderr)); // shown if the test fails
    output.status
}

fn send(signal: Signal) {
    kill_process(getpid(), signal).unwrap();
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn client(store: &MemoryStore) -> Client {
    Client::builder().memory(store).build()
}

/// Campaigns for ever, as a leader does.
async fn campaigns(client: &Client) -> Result<(), Error> {
    loop {
        let term = client.election("job")?.campaign().await?;
        send(Signal::TERM);
        let _ = term.run(std::future::pending::<()>()).await;
    }
}

#[test]
fn until_a_signal_a_program_runs_and_then_all_is_released() {
    let status = child("until_a_signal_a_program_runs_and_then_all_is_released", || {
        let store = MemoryStore::new();
        let client = client(&store);
        let ended = current_thread().block_on(client.run_until_signal(campaigns(&client))).unwrap();
        assert!(ended.is_none(), "{ended:?}: a signal is no failure");
        assert!(tests::memory::is_untouched(&store, "job"), "{:?}", tests::memory::record(&store, "job"));
    });
    assert_eq!(status.code(), Some(DONE));
}

#[test]
fn a_program_that_ends_by_itself_is_released_as_well() {
    let status = child("a_program_that_ends_by_itself_is_released_as_well", || {
        let store = MemoryStore::new();
        let client = client(&store);
        let main = async { client.lock("x").unwrap().at_least(LIMIT).acquire().await.map(|guard| guard.token().get()) };
        let token = current_thread().block_on(client.run_until_signal(main)).unwrap().expect("no signal came").unwrap();
        assert!(token > 0);
        let shut = current_thread().block_on(client.lock("x").unwrap().acquire());
        assert!(matches!(shut, Err(Error::ShutDown)), "{shut:?}");
    });
    assert_eq!(status.code(), Some(DONE));
}

/// A request in flight when SIGTERM comes: what its handler gave, and whether all was released at the end.
fn serves(drains_first: bool) -> (Result<u16, Error>, bool) {
    let store = MemoryStore::new();
    let client = client(&store);
    let answered = current_thread().block_on(async {
        let mut asked_to_end = signal(SignalKind::terminate()).unwrap();
        let (lock, (begun, began)) = (client.lock("orders").unwrap(), oneshot::channel());
        let handler = async move |_: &LockGuard| {
            let _ = begun.send(());
            tokio::time::sleep(Duration::from_millis(300)).await;
            200
        };
        let request = tokio::spawn(async move { lock.run(handler).await });
        began.await.unwrap();
        send(Signal::TERM);
        asked_to_end.recv().await;
        if !drains_first {
            client.shutdown().await;
        }
        let answered = request.await.unwrap(); // as a server does that ends gracefully
        client.shutdown().await;
        answered
    });
    (answered, tests::memory::is_untouched(&store, "orders"))
}

/// The recipe of the guide for axum and other servers.
#[test]
fn a_server_that_drains_first_answers_what_is_in_flight_and_releases() {
    let status = child("a_server_that_drains_first_answers_what_is_in_flight_and_releases", || {
        let (answered, released) = serves(true);
        assert!(matches!(answered, Ok(200)) && released, "{answered:?}");
    });
    assert_eq!(status.code(), Some(DONE));
}

/// What the guide warns of.
#[test]
fn a_server_that_shuts_down_first_cancels_what_is_in_flight() {
    let status = child("a_server_that_shuts_down_first_cancels_what_is_in_flight", || {
        let (answered, released) = serves(false);
        assert!(answered.as_ref().is_err_and(Error::is_shut_down) && released, "{answered:?}");
    });
    assert_eq!(status.code(), Some(DONE));
}

/// The loop's end comes first, and `main` returns at once: the last handle waits for the resignation.
#[test]
fn a_main_that_ends_with_its_loop_has_resigned() {
    let status = child("a_main_that_ends_with_its_loop_has_resigned", || {
        let store = MemoryStore::new();
        let main = async {
            let client = client(&store);
            tokio::select! {
                ended = campaigns(&client) => ended,
                ended = client.shutdown_on_signal() => ended,
            }
        };
        let ended = current_thread().block_on(main);
        assert!(matches!(ended, Ok(()) | Err(Error::ShutDown)), "{ended:?}");
        assert!(tests::memory::is_untouched(&store, "job"), "{:?}", tests::memory::record(&store, "job"));
    });
    assert_eq!(status.code(), Some(DONE));
}

/// The guard is never dropped, so the shutdown would take one ttl.
fn shuts_down_until(second: Signal) {
    let client = client(&MemoryStore::new());
    current_thread().block_on(async {
        let guard = client.lock("x").unwrap().acquire().await.unwrap();
        let signals = async {
            tokio::task::yield_now().await;
            send(Signal::TERM);
            guard.lost().await;
            send(second);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            ended = client.shutdown_on_signal() => panic!("{ended:?}"),
            () = signals => {}
        }
    });
}

#[test]
fn a_second_sigterm_ends_a_process_that_shuts_down() {
    let status = child("a_second_sigterm_ends_a_process_that_shuts_down", || shuts_down_until(Signal::TERM));
    assert_eq!(status.code(), Some(128 + Signal::TERM.as_raw()));
}

#[test]
fn a_ctrl_c_ends_a_process_that_shuts_down() {
    let status = child("a_ctrl_c_ends_a_process_that_shuts_down", || shuts_down_until(Signal::INT));
    assert_eq!(status.code(), Some(128 + Signal::INT.as_raw()));
}

/// Just then somebody presses the keys a second time.
#[test]
fn a_second_signal_ends_a_process_whose_only_thread_is_blocked() {
    let status = child("a_second_signal_ends_a_process_whose_only_thread_is_blocked", || {
        let client = client(&MemoryStore::new());
        let blocks = async |guard: &LockGuard| {
            send(Signal::TERM);
            while guard.check().is_ok() {
                thread::sleep(Duration::from_millis(10)); // until the shutdown has begun
            }
            send(Signal::TERM);
            thread::sleep(2 * LIMIT);
        };
        let lock = client.lock("x").unwrap();
        current_thread().block_on(async {
            tokio::select! {
                biased;
                ended = client.shutdown_on_signal() => panic!("{ended:?}"),
                ran = lock.run(blocks) => panic!("{ran:?}"),
            }
        });
    });
    assert_eq!(status.code(), Some(128 + Signal::TERM.as_raw()));
}

#[test]
fn who_no_longer_waits_for_a_signal_has_a_client_that_works() {
    let status = child("who_no_longer_waits_for_a_signal_has_a_client_that_works", || {
        let client = client(&MemoryStore::new());
        current_thread().block_on(async {
            tokio::select! {
                biased;
                ended = client.shutdown_on_signal() => panic!("{ended:?}"),
                () = tokio::task::yield_now() => {}
            }
            send(Signal::TERM); // tokio's handler stays for the life of the process
            tokio::time::sleep(Duration::from_millis(200)).await;
            client.lock("x").unwrap().acquire().await.unwrap().release().await.unwrap();
        });
    });
    assert_eq!((status.code(), status.signal()), (Some(DONE), None));
}

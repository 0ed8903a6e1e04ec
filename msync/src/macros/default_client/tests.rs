use super::*;
use crate::{LockName, clock::TokioClock, election::campaigns::term};

fn client(store: &MemoryStore, owner: &str) -> Client {
    Client::builder().owner(owner).clock(TokioClock::default()).memory(store).build()
}

async fn default_client() -> Result<Client, Error> {
    with_default_client(|client| Ok(client.clone())).await
}

/// Asks the default client, waiting until it leads, who does.
async fn leader() -> Result<String, Error> {
    let (client, job) = (default_client().await?, LockName::new("job")?);
    let term = tokio::select! {
        term = term(&client, &job, None, None, true) => term?,
        () = client.election(&job)?.pause(Duration::from_secs(60)) => panic!("somebody else leads on"),
    };
    term.expect("it waits").lease.check()?;
    Ok(client.owner().to_owned())
}

/// The one test that sets the client of the whole process.
#[tokio::test(start_paused = true)]
async fn who_is_replaced_or_shut_down_leads_no_more() {
    let store = MemoryStore::new();
    shutdown().await;
    for owner in ["early", "late"] {
        init(client(&store, owner));
        assert_eq!(leader().await.unwrap(), owner);
    }
    let last = default_client().await.unwrap();
    let led = term(&last, &LockName::new("job").unwrap(), None, None, true).await.unwrap().unwrap().lease;
    init(last.clone());
    drop(last);
    client(&store, "another").lock("other").unwrap().acquire().await.unwrap().release().await.unwrap();
    led.check().expect("who is replaced by itself leads on");
    shutdown().await;
    assert!(matches!(leader().await, Err(Error::ShutDown)));
    let record = store.snapshot(&LockName::new("job").unwrap()).unwrap().record;
    assert!(record.is_free(), "{record:?}");
}

#[test]
fn without_a_choice_the_error_says_what_to_do() {
    let error = Error::from(NoClient::from(NoChoice::Nobody)).to_string();
    for way in ["msync::init(client)", "MSYNC_STORE=kube", "MSYNC_STORE=memory"] {
        assert!(error.contains(way), "{error}");
    }
    let unknown = Error::from(NoClient::from(NoChoice::Unknown("redis".to_owned()))).to_string();
    assert_eq!(unknown, "no default client: MSYNC_STORE is \"redis\"; it may be `memory`, `kube` or `leases`");
}

#[cfg(not(feature = "kube"))]
#[tokio::test]
async fn without_kube_the_error_says_what_to_do() {
    let error = start(Choice::Kube).await.expect_err("no cluster").to_string();
    assert!(error.contains("msync::init(client)") && error.contains("MSYNC_STORE=memory"), "{error}");
}

/// In paused time a year passes at once, by the same clock for the test and for its locks.
#[test]
fn in_memory_a_paused_runtime_has_a_client_of_its_own_on_its_own_clock() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (one, two) = (runtime(), runtime());
    let first = one.block_on(async {
        let client = start(Choice::Memory).await.unwrap();
        let before = client.clock().now();
        let year = std::time::Duration::from_secs(365 * 24 * 3600);
        crate::clock::of_caller().sleep_until(before + year).await;
        assert!(client.clock().now().since(before) >= year, "its clock follows");
        assert_eq!(default_client().await.unwrap().identity(), client.identity(), "each call gets the same");
        client.identity().to_owned()
    });
    let second = two.block_on(async { start(Choice::Memory).await.unwrap().identity().to_owned() });
    assert_ne!(first, second);
    let kept = one.block_on(async { default_client().await.unwrap().identity().to_owned() });
    assert_eq!(kept, first, "another runtime has changed nothing");
    let id = one.handle().id();
    drop(one);
    assert!(!local::has(id), "it goes with its runtime");
}

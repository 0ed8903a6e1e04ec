use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::{
    clock::{BootClock, TokioClock},
    listener::{Listener, Subject, Wait},
};

/// Counts what it is told.
#[derive(Default)]
struct Ear(AtomicUsize);

impl Listener for Ear {
    fn waited(&self, _: &Subject<'_>, _: Wait, _: Duration) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a client has of its builder, in the words of its `Debug`.
fn made(client: &Client) -> (String, String, Timing) {
    (client.owner().to_owned(), format!("{:?}", client.engine.store), client.timing())
}

fn bits() -> u64 {
    7
}

/// Each setter, called before the store is chosen and after.
fn set<S>(builder: ClientBuilder<S>) -> ClientBuilder<S> {
    let timing = Timing::with_ttl(Duration::from_secs(3)).unwrap();
    builder.owner("me").pod_uid("pod").namespace("shop").timing(timing).clock(BootClock).random(bits)
}

#[test]
fn the_order_of_a_builders_calls_does_not_matter() {
    let store = MemoryStore::new();
    let (before, after) =
        (set(Client::builder()).memory(&store).build(), set(Client::builder().memory(&store)).build());
    assert_eq!(made(&before), made(&after));
    assert_eq!(before.identity(), after.identity(), "the same pod, the same bits");
}

/// With the real clock: a listener lives on a thread of its own, which no test can pause.
#[tokio::test]
async fn a_listener_hears_wherever_it_is_set() {
    let (ear, store) = (Arc::new(Ear::default()), MemoryStore::new());
    let clients = [
        Client::builder().listener(Arc::clone(&ear)).memory(&store).build(),
        Client::builder().memory(&store).listener(Arc::clone(&ear)).build(),
    ];
    for (nth, client) in clients.into_iter().enumerate() {
        client.lock("x").unwrap().acquire().await.unwrap().release().await.unwrap();
        client.shutdown().await;
        assert_eq!(ear.0.load(Ordering::Relaxed), nth + 1);
    }
}

#[test]
fn sessions_are_used_unless_told_otherwise() {
    let told = |value: &'static str| builder::sessions_told(Some(value.as_ref()));
    assert_eq!(builder::sessions_told(None), Some(true));
    for (values, used) in [(["", "1", "on", " true "], Some(true)), (["0", "off", "false", "0 "], Some(false))] {
        assert!(values.into_iter().all(|value| told(value) == used), "{values:?}");
    }
    for unknown in ["2", "yes please", "ON", "-"] {
        assert_eq!(told(unknown), None, "{unknown}");
    }
    for used in [true, false] {
        assert_eq!(Client::builder().sessions(used).uses_sessions(), used, "what is told here counts");
    }
}

#[cfg(feature = "kube")]
#[test]
fn others_who_hold_the_same_lease_know_nothing_of_sessions() {
    assert!(!Client::builder().leases().uses_sessions());
    assert!(Client::builder().leases().sessions(true).uses_sessions());
}

#[tokio::test(start_paused = true)]
async fn sessions_are_used_or_not_wherever_that_is_said() {
    for used in [true, false] {
        let stores = [(); 2].map(|()| MemoryStore::new());
        let builder = || Client::builder().clock(TokioClock::default());
        let clients =
            [builder().sessions(used).memory(&stores[0]).build(), builder().memory(&stores[1]).sessions(used).build()];
        for (client, store) in clients.iter().zip(&stores) {
            let _held = client.lock_all(["x", "y"]).unwrap().acquire().await.unwrap();
            client.clock().sleep_until(client.clock().now() + client.timing().ttl()).await;
            let under = store.snapshot(&LockName::new("x").unwrap()).map(|seen| !seen.record.under.is_none());
            assert_eq!(under, Some(used));
        }
    }
}

#[cfg(feature = "kube")]
#[test]
fn leases_are_chosen_wherever_that_is_said() {
    let config = || kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let kube = runtime::within(BootClock.home(), || kube::Client::try_from(config())).unwrap();
    let clients = [
        Client::builder().leases().kube(kube.clone()).build(),
        Client::builder().kube(kube.clone()).leases().build(),
        Client::builder().leases().config(config()).build().unwrap(),
        Client::builder().config(config()).leases().build().unwrap(),
    ];
    for client in &clients {
        assert!(made(client).1.contains("LeaseStore"), "{client:?}");
    }
    assert!(!made(&Client::builder().kube(kube).build()).1.contains("LeaseStore"));
}

#[cfg(feature = "kube")]
#[test]
fn a_namespace_counts_wherever_it_is_set() {
    let config = || kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let kube = runtime::within(BootClock.home(), || kube::Client::try_from(config())).unwrap();
    let clients = [
        set(Client::builder()).kube(kube.clone()).build(),
        set(Client::builder().kube(kube)).build(),
        set(Client::builder()).config(config()).build().unwrap(),
        set(Client::builder().config(config())).build().unwrap(),
    ];
    for client in &clients {
        assert_eq!(made(client), made(&clients[0]));
        assert!(made(client).1.contains("shop"), "{client:?}");
        assert_eq!(client.identity(), clients[0].identity());
    }
}

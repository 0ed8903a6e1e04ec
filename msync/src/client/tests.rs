use std::time::Duration;

use super::*;
use crate::clock::BootClock;

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

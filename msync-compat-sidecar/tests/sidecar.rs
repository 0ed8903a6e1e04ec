//! A whole sidecar over a stand-in for the engine: both ports, both loopback addresses, and its end.
#![allow(clippy::disallowed_methods, reason = "waits for conditions with generous limits")]

mod common;

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Instant;

use common::PATIENCE;
use common::store::{Engine, World};
use msync_compat_sidecar::front::{Hosts, Limits};
use msync_compat_sidecar::session::{Identity, Part};
use msync_compat_sidecar::sidecar::{Bound, Manner, Sidecar};

fn start(runtime: &tokio::runtime::Runtime) -> (Vec<SocketAddr>, Sidecar<Engine>) {
    let _inside = runtime.enter();
    let loopback: [IpAddr; 2] = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let bound = Bound::bind(&loopback, &[0, 0]).unwrap();
    let addresses = bound.addresses().to_vec();
    assert_eq!(bound.ports().len(), 2);
    let run_directories = vec!["/nonexistent".into(), std::env::temp_dir()];
    let manner = Manner { limits: Limits::default(), hosts: Hosts::loopback(), run_directories, part: Part::default() };
    let identity = Identity { owner: "host-a".into(), namespace: "default".into() };
    (addresses, bound.serve(manner, identity, World::new().engine("host-a")).unwrap())
}

fn put(address: SocketAddr) -> u16 {
    let request = format!("PUT /locks/n HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    common::talk(address, request.as_bytes()).pop().expect("an answer").status
}

#[test]
fn both_ports_on_both_loopback_addresses_serve_the_same_locks() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (addresses, sidecar) = start(&runtime);
    assert!(addresses.len() >= 2, "{addresses:?}");
    for address in addresses {
        assert_eq!(put(address), 200, "{address}");
    }
    runtime.block_on(sidecar.stop());
}

#[test]
fn a_stopped_sidecar_leaves_no_listener_and_closes_idle_connections() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (addresses, sidecar) = start(&runtime);
    let mut idle = common::connect(addresses[0]);
    assert_eq!(put(addresses[0]), 200);
    let begun = Instant::now();
    runtime.block_on(sidecar.stop());
    assert!(begun.elapsed() < PATIENCE);
    assert!(common::read_replies(&mut idle, 1).is_empty());
    assert!(TcpStream::connect(addresses[0]).is_err());
}

#[test]
fn a_taken_port_is_named() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (addresses, sidecar) = start(&runtime);
    let _inside = runtime.enter();
    let port = addresses[0].port();
    let error = Bound::bind(&[addresses[0].ip()], &[port]).unwrap_err();
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    runtime.block_on(sidecar.stop());
}

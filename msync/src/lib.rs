//! Distributed locks and leader election for Kubernetes, inside the process.
//!
//! A [`Client`] names [`Lock`]s and [`Election`]s; acquiring gives a guard with a [`FencingToken`], which is held until it
//! is dropped, released or lost. All of it lives in one custom resource per lock; there is no server besides the API
//! server, and no sidecar.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
//! let store = msync::MemoryStore::new(); // in production: msync::Client::try_default().await?
//! let client = msync::Client::builder().memory(&store).build();
//!
//! let guard = client.lock("invoices")?.acquire().await?;
//! println!("held with fencing token {}", guard.token());
//! guard.check()?;
//! guard.release().await?;
//!
//! let term = client.election("scheduler")?.campaign().await?;
//! term.run(async { /* what the leader does; dropped when it leads no more */ }).await?;
//! client.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! # In a service
//!
//! Attributes put a function under a lock, or keep it to the leader; their arguments make the name, and what a busy lock, a
//! follower or a loss means is an option of [`locked`] and [`leader_only`]. A signal ends bodies first, then locks.
//!
//! ```no_run
//! use msync::{Client, leader_only, locked};
//!
//! /// On one pod at a time for each customer.
//! #[locked("invoices-{customer}", guard = lease)]
//! async fn bill(customer: u64) -> Result<(), msync::Error> {
//!     println!("billing under fencing token {}", lease.token());
//!     Ok(())
//! }
//!
//! /// On the leader; the other pods skip it.
//! #[leader_only("scheduler")]
//! async fn tick() {}
//!
//! #[tokio::main]
//! async fn main() -> Result<(), msync::Error> {
//!     let client = Client::try_default().await?; // kubeconfig, or the pod's service account
//!     msync::init(client.clone()); // for the attributes
//!     let service = async {
//!         tick().await;
//!         bill(17).await
//!     };
//!     client.run_until_signal(service).await?.unwrap_or(Ok(()))
//! }
//! ```
//!
//! # In a cluster
//!
//! Kubernetes 1.32 or newer. Once per cluster the `Lock` resource, once per namespace the right to use it: [`manifests`] holds
//! the YAML of both, to be applied at deployment, and [`Client::install_crd`] is the first of them from a program.
//! `kubectl get locks` then shows who has what.
//!
//! # In tests
//!
//! Clients of one [`MemoryStore`] contend as processes do, and annotated functions take the client of [`init`], of their
//! option `via`, or with `MSYNC_STORE=memory` in the environment one of their own. More of that, of ttls, fencing, shutdown
//! and scheduled jobs in the [guide].
//!
//! # What is promised
//!
//! Given that clock rates are right within 1 % (offsets do not matter):
//!
//! * **S1** Each acquisition's token is greater than every earlier one of that lock.
//! * **S2** At no instant do two guards of one lock say held.
//! * **S3** Loss is signalled by the local deadline even if no API call ever returns; after a pause of the process the
//!   first poll of a body and the first `check()` say lost.
//! * **S4** Lost is final. **S5** Release touches only its own acquisition. **S6** An acquire that was cancelled, or
//!   that is not polled any more, leaves nothing that anybody renews; a set that waits for its last lock holds the others.
//! * **S7** The body and its arguments are dropped before the release is sent. **S8** `at_least` is honoured by all who
//!   use msync, also over an orderly shutdown.
//! * **L1** When a holder crashes, a waiter holds within about one ttl of the last renewal, or within two if the queue
//!   moved up so shortly before that nobody living at its head has seen that renewal. **L2** An orderly release with
//!   waiters is one write and one event until the successor runs. **L3** Orderly hand-over follows the queue.
//!
//! On [Leases](ClientBuilder::leases) instead of the resource the clocks of waiters who join within two seconds of each other
//! decide about their order, and S2 is about msync's engines: leaders of client-go, kubert or a hand are waited for as
//! their Lease says, and may believe longer.
//!
//! # What is not
//!
//! Exclusion of side effects, unless the resource compares fencing tokens: a process can freeze between a check and a
//! write; the [guide] shows how the [fencing token](FencingToken) stops it, in SQL. Exactly-once. Anything after a record was edited by hand, etcd restored from a backup, or a virtual machine from
//! a snapshot. Interruption of code that does not yield.
//!
//! # Features
//!
//! `testing` brings the module `testing`, for the tests of programs; `clap` brings `Args`, the arguments that say where
//! locks are. `macros` (default) brings the attributes. `kube` (default) stores locks in Kubernetes. Without it the memory store
//! remains, which builds in seconds. Binaries choose the Kubernetes version of `k8s-openapi` themselves, by its feature
//! `earliest`.
//!
//! `metrics` and `prometheus-client` bring figures, by the facade and in a registry of those names: see [`listener`].
//!
//! TLS is `rustls-tls` (default: rustls with ring), `aws-lc-rs` (rustls with that) or `openssl-tls` (where both are off;
//! HTTP/1.1 only). With rustls a provider of cryptography is installed for the process if the program has installed none: ring,
//! if there are two. `http-proxy` and `socks5` speak to the proxy that `HTTPS_PROXY` or the kubeconfig's `proxy-url` asks for.
//! `HTTPS_PROXY` is not for hosts of `NO_PROXY`, nor for this one.
//!
//! # Connections
//!
//! A client of the environment has connections of msync's own: with `TCP_NODELAY`, and one HTTP/2 connection for all
//! calls and watches, a second when the server's limit of streams is near. Nothing is sent twice behind the engine's back, and
//! a peer that is gone without a word is noticed by pings within 15 seconds, and by a call that is not answered at once
//! after it. `MSYNC_HTTP=1` keeps to HTTP/1.1, for balancers that spoil HTTP/2: there each watch has a connection,
//! and a watch whose connection was forgotten by a balancer is only missed after some minutes.
//!
//! # Other crates in this API
//!
//! A new major version of one of these is a new major version of msync:
//!
//! | crate | what is seen of it |
//! |---|---|
//! | `kube` (re-exported as `msync::kube`) | `kube::Client` and `kube::Config`, which a [`ClientBuilder`] takes |
//! | `tokio-util` | `CancellationToken`, which guards and leases return |
//! | `futures-core` | `Stream`, which [`Leaders`] is |
//! | `serde` | `Serialize` and `Deserialize` of [`LockName`] and [`FencingToken`] |
//! | `clap` 4 (feature `clap`) | the traits of its derive, which `Args` has |
//!
//! What is in the hidden module `unstable` is not part of the API.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "clap")]
mod args;
mod client;
pub mod clock;
mod config;
mod election;
mod engine;
mod error;
#[cfg(feature = "kube")]
mod events;
/// Questions and answers for users: which ttl, fencing, shutdown, scheduled jobs, testing.
///
#[doc = include_str!("../docs/guide.md")]
#[cfg(all(doc, not(doctest)))] // its code is run where the databases and servers that it shows are at hand
pub mod guide {}
mod health;
mod held;
pub mod listener;
mod lock;
mod macros;
#[cfg(feature = "kube")]
pub mod manifests;
mod name;
mod protocol;
mod record;
mod runtime;
mod signal;
mod store;
mod sweep;
#[cfg(feature = "testing")]
pub mod testing;
mod token;
#[cfg(feature = "kube")]
mod transport;
#[doc(hidden)]
pub mod unstable;
mod unwind;

#[cfg(feature = "clap")]
pub use args::Args;
pub use client::{Client, ClientBuilder};
pub use config::Timing;
pub use election::{Candidate, Election, Leader, Leaders, Leadership};
pub use error::{Error, LossReason};
pub use health::Unhealthy;
pub use held::{Lease, LeaseSet, Lost};
/// The kube crate that [`Client`] is built on: `ClientBuilder::kube` takes a client of this version.
#[cfg(feature = "kube")]
pub use kube;
pub use lock::{Lock, LockGuard, LockSet, LockSetGuard};
pub use macros::{Outcome, init, leader_loop, shutdown};
#[cfg(feature = "macros")]
pub use macros::{leader_only, locked};
pub use name::LockName;
pub use store::MemoryStore;
pub use sweep::{Sweep, Swept};
pub use token::FencingToken;

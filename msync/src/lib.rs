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
//! # What is promised
//!
//! Given that clock rates are right within 1 % (offsets do not matter):
//!
//! * **S1** Each acquisition's token is greater than every earlier one of that lock.
//! * **S2** At no instant do two guards of one lock say held.
//! * **S3** Loss is signalled by the local deadline even if no API call ever returns; after a pause of the process the
//!   first poll of a body and the first `check()` say lost.
//! * **S4** Lost is final. **S5** Release touches only its own acquisition. **S6** An acquire that was cancelled, or
//!   that is not polled any more, leaves nothing that anybody renews.
//! * **S7** The body and its arguments are dropped before the release is sent. **S8** `at_least` is honoured by all who
//!   use msync, also over an orderly shutdown.
//! * **L1** When a holder crashes, a waiter holds within about one ttl of the last renewal, or within two if the queue
//!   moved up so shortly before that nobody living at its head has seen that renewal. **L2** An orderly release with
//!   waiters is one write and one event until the successor runs. **L3** Orderly hand-over follows the queue.
//!
//! On [Leases](ClientBuilder::leases) instead of the resource the queue has the order of the waiters' clocks, and S2 is about
//! msync's engines: leaders of client-go, kubert or a hand are waited for as their Lease says, and may believe longer.
//!
//! # What is not
//!
//! Exclusion of side effects, unless the resource compares fencing tokens: a process can freeze between a check and a
//! write. The repository's `tests/tests/lock/memory/fence.rs` shows such a holder spoil a resource, and the [fencing
//! token](FencingToken) stop it. Exactly-once. Anything after a record was edited by hand, etcd restored from a backup, or a virtual machine from
//! a snapshot. Interruption of code that does not yield.
//!
//! # Features
//!
//! `macros` (default) brings the attributes. `kube` (default) stores locks in Kubernetes. Without it the memory store
//! remains, which builds in seconds. Binaries choose the Kubernetes version of `k8s-openapi` themselves, by its feature
//! `earliest`.
//!
//! TLS is `rustls-tls` (default: rustls with ring), `aws-lc-rs` (rustls with that) or `openssl-tls` (where both are off;
//! HTTP/1.1 only). With rustls a provider of cryptography is installed for the process if the program has installed none: ring,
//! if there are two. `http-proxy` and `socks5` speak to the proxy that `HTTPS_PROXY` or the kubeconfig's `proxy-url` asks for,
//! except for hosts of `NO_PROXY`.
//!
//! # Connections
//!
//! A client of the environment has connections of msync's own: with `TCP_NODELAY`, and one HTTP/2 connection for all
//! calls and watches, a second when the server's limit of streams is near. Nothing is sent twice behind the engine's back, and
//! a peer that is gone without a word is noticed by pings within 15 seconds, and by a call that is not answered at once
//! after it. `MSYNC_HTTP=1` keeps to HTTP/1.1, for balancers that spoil HTTP/2: there each watch has a connection,
//! and a watch whose connection was forgotten by a balancer is only missed after some minutes.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
pub mod clock;
mod config;
mod election;
mod engine;
mod error;
mod held;
mod lock;
mod macros;
#[cfg(feature = "kube")]
pub mod manifests;
mod name;
#[doc(hidden)]
pub mod protocol;
#[doc(hidden)]
pub mod record;
mod runtime;
mod signal;
#[doc(hidden)]
pub mod store;
mod sweep;
mod token;
#[cfg(feature = "kube")]
#[doc(hidden)]
pub mod transport;

#[cfg(feature = "kube")]
pub use client::Configured;
pub use client::{Chosen, Client, ClientBuilder};
pub use config::Timing;
pub use election::{Candidate, Election, Leader, Leadership};
pub use error::{Error, LossReason};
pub use held::{Lease, LeaseSet};
/// The kube crate that [`Client`] is built on: `ClientBuilder::kube` takes a client of this version.
#[cfg(feature = "kube")]
pub use kube;
pub use lock::{Lock, LockGuard, LockSet, LockSetGuard};
#[doc(hidden)]
pub use macros::private;
pub use macros::{Outcome, init, leader_loop, shutdown};
#[cfg(feature = "macros")]
pub use macros::{leader_only, locked};
pub use name::LockName;
pub use store::MemoryStore;
#[cfg(feature = "kube")]
#[doc(hidden)]
pub use store::kube::crd;
pub use sweep::{Sweep, Swept};
pub use token::FencingToken;

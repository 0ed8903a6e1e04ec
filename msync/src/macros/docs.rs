//! The attribute macros, with their documentation: its examples need this crate, so it cannot stand in `msync-macros`.

/// Runs an async function under a lock: one caller at a time in the whole cluster.
///
/// The function keeps its signature. A call makes the name, takes the lock, runs the body, drops the body **and all its
/// arguments**, releases the lock, and returns what the body returned. When the lock is lost, the body is dropped at its
/// next await, before another process can take the lock.
///
/// ```
/// # use msync::Error;
/// #[msync::locked("invoice-{id}")]
/// async fn settle(id: u64) -> Result<u64, Error> {
///     // one call per invoice at a time, whichever pod it is in
///     Ok(id)
/// }
/// # async fn main_() {
/// # msync::init(msync::Client::builder().memory(&msync::MemoryStore::new()).build());
/// assert_eq!(settle(17).await.unwrap(), 17);
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(main_());
/// ```
///
/// Not guaranteed: that side effects stop at the moment of the loss. Code between two awaits runs on; a resource that must
/// not see two writers checks the fencing token of the [guard](#guard).
///
/// # Grammar
/// ```text
/// #[locked( NAME {, OPTION} )]
/// NAME   := "text-{param}-{self.field:spec}"  |  name = EXPR  |  ["a-{x}", "b-{y}"]
/// OPTION := ttl = DURATION
///         | wait = DURATION | wait = none
///         | on_busy = error | on_busy = skip
///         | on_lost = cancel | on_lost = signal | on_lost = abort
///         | at_least = DURATION
///         | max_hold = DURATION
///         | guard = IDENT
///         | via = EXPR
///         | crate = PATH
/// DURATION := "500ms" | "30s" | "5m" | "1h" | "1m30s"  |  EXPR of type std::time::Duration
/// ```
/// Expressions may use the parameters and `self`; they are evaluated before the lock is taken.
///
/// # Name
/// A literal may hold parameters, their fields, and format specs. What is fixed is checked against RFC 1123 when the
/// program is compiled. A name that turns out invalid at run time is escaped: the nearest valid name and a hash. It is that
/// which `client.lock(…)` gives the same text; see [`LockName`](crate::LockName#one-rule-for-all-names). The `Lock`
/// object then shows the original, at most 1,024 bytes of it, in its annotation `metaparticle.io/original-name`. An empty
/// name is an error ([`InvalidName`](crate::Error::InvalidName)).
/// ```
/// # use msync::{Error, locked};
/// # struct Shop { name: String }
/// # impl Shop {
/// #[locked("stock-{self.name}-{item.0}-{shelf:03}")]
/// async fn restock(&self, item: (u64, u64), shelf: u8) -> Result<(), Error> {
///     Ok(())
/// }
///
/// #[locked(name = format!("mail-{}", address.trim()))]
/// async fn subscribe(address: &str) -> Result<(), Error> {
///     Ok(())
/// }
/// # }
/// ```
/// A list takes several locks, all or nothing, in one order everywhere, so that two transfers in opposite directions do not
/// wait for each other:
/// ```
/// # use msync::{Error, locked};
/// #[locked(["account-{from}", "account-{to}"])]
/// async fn transfer(from: u64, to: u64) -> Result<(), Error> {
///     Ok(())
/// }
/// ```
///
/// # Return types
/// Any of them may be behind an alias.
///
/// | | `Result<T, E>`, `E: From<msync::Error>` | `Result<S, E>` where `S` can skip | `S`: `()`, `Option<T>`, [`Outcome<T>`](crate::Outcome) |
/// |---|---|---|---|
/// | `on_busy = error` (default) | `Err` | `Err` | does not compile |
/// | `on_busy = skip`, busy | does not compile | `Ok(())`, `Ok(None)`, `Ok(Outcome::Skipped)` | `()`, `None`, `Outcome::Skipped` |
/// | `on_busy = skip`, lost or failed | does not compile | `Err` | logged, and the same |
///
/// # `ttl`
/// How long after a crash of its holder the lock is taken over; 15 seconds without it, between `"1s"` and `"24h"`.
/// ```
/// # use msync::{Error, locked};
/// #[locked("report", ttl = "1m")]
/// async fn report() -> Result<(), Error> {
///     Ok(())
/// }
/// ```
///
/// # `wait`
/// How long a call waits for the lock. Without it: until it is free, as with a mutex. `none` tries once.
/// ```
/// # use msync::{Error, locked};
/// # use std::time::Duration;
/// #[locked("report", wait = "5s")]
/// async fn patient() -> Result<(), Error> {
///     Ok(())
/// }
///
/// #[locked("report", wait = none)]
/// async fn impatient() -> Result<(), Error> {
///     Ok(())
/// }
///
/// #[locked("report", wait = deadline)]
/// async fn as_told(deadline: Duration) -> Result<(), Error> {
///     Ok(())
/// }
/// ```
///
/// # `on_busy`
/// What a lock means that is not free in time: `error` ([`Error::Busy`](crate::Error::Busy) or
/// [`Error::Timeout`](crate::Error::Timeout)) or `skip`. It needs `wait`. A store that cannot be used is not busy, and never
/// skipped in silence: that is an error, or logged as one where the return type holds none.
/// ```
/// # use msync::{Error, Outcome, locked};
/// #[locked("nightly", wait = none, on_busy = skip)]
/// async fn nightly() -> Result<Outcome<usize>, Error> {
///     let cleaned = 3;
///     Ok(Outcome::Ran(cleaned))
/// }
///
/// #[locked("mails", wait = none, on_busy = skip)]
/// async fn send_mails() {
///     // another pod is at it: nothing to do
/// }
/// ```
///
/// # `on_lost`
/// What a lost lock does to the body: `cancel` (the default) drops it at its next await and the call returns
/// [`Error::Lost`](crate::Error::Lost); `signal` lets it run and only the guard says so; `abort` ends the process at once,
/// for bodies that block a thread and cannot be dropped (on a runtime with more than one thread). A client that is shut down
/// aborts nothing: the body is dropped at its next await, and its lock is kept until then.
/// ```
/// # use msync::{Error, locked};
/// #[locked("import", on_lost = signal, guard = lease)]
/// async fn import(files: Vec<String>) -> Result<usize, Error> {
///     let mut done = 0;
///     for _file in files {
///         if lease.check().is_err() {
///             break; // clean up in peace
///         }
///         done += 1;
///     }
///     Ok(done)
/// }
///
/// #[locked("blocking-import", on_lost = abort)]
/// async fn import_blocking() -> Result<(), Error> {
///     // … hours of computing without an await …
///     Ok(())
/// }
/// ```
///
/// # `at_least`
/// Keeps the lock that long even if the body ends sooner: for jobs that several pods start at slightly different times.
/// ```
/// # use msync::locked;
/// #[locked("hourly", wait = none, on_busy = skip, at_least = "10m")]
/// async fn hourly() {}
/// ```
///
/// # `max_hold`
/// Drops the body and gives the lock away after that time, so that a stuck body does not keep it for ever.
/// ```
/// # use msync::{Error, locked};
/// #[locked("export", max_hold = "10m")]
/// async fn export() -> Result<(), Error> {
///     Ok(())
/// }
/// ```
///
/// # `guard`
/// Names a variable of the body: the [`Lease`](crate::Lease), or the [`LeaseSet`](crate::LeaseSet) of a list.
/// ```
/// # use msync::{Error, FencingToken, locked};
/// # async fn write(token: FencingToken) {}
/// #[locked("ledger", guard = lease)]
/// async fn book() -> Result<(), Error> {
///     write(lease.token()).await; // the ledger refuses older tokens
///     lease.check()
/// }
/// ```
///
/// # `via`
/// Which client to use: a `Client`, a reference or a shared pointer to one. Without it, the default client: the one given to
/// [`msync::init`](crate::init), or one made from the environment.
/// ```
/// # use msync::{Client, Error, locked};
/// struct Billing {
///     client: Client,
/// }
///
/// impl Billing {
///     #[locked("billing", via = self.client)]
///     async fn run(&mut self) -> Result<(), Error> {
///         Ok(())
///     }
/// }
/// ```
///
/// # `crate`
/// Where msync is, if a crate re-exports or renames it.
/// ```
/// # mod toolbox { pub extern crate msync; }
/// # use msync::Error;
/// #[toolbox::msync::locked("a", crate = crate::toolbox::msync)]
/// async fn work() -> Result<(), Error> {
///     Ok(())
/// }
/// # fn main() {}
/// ```
///
/// # Where it may stand
/// On async functions and methods, generic or not, also in traits with a default body, inside `#[async_trait]`, and above or
/// below `#[instrument]`, `#[tokio::test]` and `#[tokio::main]`. With two attributes on one function the lower one is taken
/// first; prefer a list.
///
/// A function that calls itself, or another one with the same name, gets
/// [`Error::WouldDeadlock`](crate::Error::WouldDeadlock) instead of waiting for itself. Tasks that the body spawns and
/// guards held by hand are not seen by this.
///
/// # Cancel safety
/// Dropping the future of a call drops the body and its arguments first and then releases the lock in the background. A
/// call that was still waiting leaves the queue and holds nothing.
///
/// # Panics
/// A panic of the body releases the lock and goes on.
pub use msync_macros::locked;

/// Runs an async function only in the process that leads an election.
///
/// The first call begins a campaign in the background, which goes on until the client is shut down; no call campaigns by
/// itself. While this process leads, a call runs the body under the term that is running; when leadership is lost the body is
/// dropped at its next await. When it is regained, calls run again. A term ends for others only when all bodies that ran
/// under it have been dropped; until then this process does not lead again either.
///
/// ```
/// # async fn main_() {
/// # msync::init(msync::Client::builder().memory(&msync::MemoryStore::new()).build());
/// #[msync::leader_only("scheduler")]
/// async fn tick() {
///     // in one pod only; in the others the call returns at once
/// }
///
/// tick().await;
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(main_());
/// ```
///
/// Not guaranteed: that a follower knows of its luck at once. The first calls wait up to a second for the campaign's
/// outcome, so that a lone process does not skip its first run.
///
/// Calls do not exclude each other: two calls in the leader run side by side. For that use [`locked`](macro@crate::locked).
/// For work every so often see [`leader_loop`](crate::leader_loop()).
///
/// # Grammar
/// ```text
/// #[leader_only( NAME {, OPTION} )]
/// NAME   := "text-{param}-{self.field:spec}"  |  name = EXPR
/// OPTION := on_follower = skip | on_follower = error | on_follower = wait
///         | ttl = DURATION
///         | on_lost = cancel | on_lost = signal | on_lost = abort
///         | guard = IDENT
///         | via = EXPR
///         | crate = PATH
/// ```
/// The name, `on_lost`, `guard`, `via` and `crate` mean what they mean in [`locked`](macro@crate::locked). Each name that
/// occurs is an election with a campaign of its own, for the life of the client: let there be few.
///
/// # `ttl`
/// How long after a crash of the leader another leads; the client's without it. An election has one campaign per client, so
/// the functions of one election have one ttl: that of the call that came first.
/// ```
/// # use msync::leader_only;
/// #[leader_only("sweeper", ttl = "1m")]
/// async fn sweep() {}
/// ```
///
/// # `on_follower`
/// What a call means while another process leads: `skip` (the default; the return types are those of `on_busy = skip`),
/// `error` ([`Error::Busy`](crate::Error::Busy)), or `wait` until this process leads. When nobody has been seen to lead for
/// a ttl and the store cannot be used, a call is an error, or logged as one.
/// ```
/// # use msync::{Error, Outcome, leader_only};
/// #[leader_only("scheduler")]
/// async fn tick() -> Result<Outcome<u32>, Error> {
///     Ok(Outcome::Ran(1))
/// }
///
/// #[leader_only("scheduler", on_follower = error)]
/// async fn command() -> Result<(), Error> {
///     Ok(())
/// }
///
/// #[leader_only("scheduler", on_follower = wait)]
/// async fn serve() -> Result<(), Error> {
///     Ok(())
/// }
/// ```
///
/// # `on_lost`
/// ```
/// # use msync::leader_only;
/// #[leader_only("scheduler", on_lost = abort)]
/// async fn blocking_work() {}
///
/// #[leader_only("scheduler", on_lost = signal, guard = term)]
/// async fn careful_work() {
///     while term.check().is_ok() {
///         // … a step …
/// #       break;
///     }
///     // … clean up in peace …
/// }
/// ```
///
/// # `guard`
/// ```
/// # use msync::{Error, leader_only};
/// #[leader_only("scheduler", guard = term)]
/// async fn write() -> Result<(), Error> {
///     let _token = term.token();
///     term.check()
/// }
/// ```
///
/// # `via`
/// ```
/// # use msync::{Client, leader_only};
/// #[leader_only("scheduler", via = client)]
/// async fn tick(client: &Client) {}
/// ```
///
/// # `crate`
/// ```
/// # mod toolbox { pub extern crate msync; }
/// #[toolbox::msync::leader_only("a", crate = crate::toolbox::msync)]
/// async fn work() {}
/// # fn main() {}
/// ```
///
/// # Cancel safety
/// Dropping the future of a call drops the body; the campaign and the term go on.
///
/// # Panics
/// A panic of the body goes on to the caller; the term goes on.
pub use msync_macros::leader_only;

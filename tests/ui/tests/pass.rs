//! Functions that the macros must leave as they were: what compiles and runs without the attribute does so with it.
//!
//! On the memory store. The lints are the strictest that a user may have.

#![deny(warnings, clippy::pedantic)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use msync::{Client, Error, Lease, MemoryStore, Outcome, leader_only, locked};

#[derive(Debug)]
#[allow(dead_code)]
enum MyError {
    Lock(Error),
    Parse(std::num::ParseIntError),
}

impl From<Error> for MyError {
    fn from(error: Error) -> Self {
        Self::Lock(error)
    }
}

impl From<std::num::ParseIntError> for MyError {
    fn from(error: std::num::ParseIntError) -> Self {
        Self::Parse(error)
    }
}

fn client() -> Client {
    Client::builder().memory(&MemoryStore::new()).build()
}

fn use_memory() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| msync::init(client()));
}

// === names ===

#[locked("fixed")]
async fn fixed() -> Result<u32, Error> {
    Ok(1)
}

#[locked("item-{id:>05}-{pair.0}-{r#type}")]
async fn from_parameters(id: u32, pair: (u8, u8), r#type: &str) -> Result<u32, Error> {
    Ok(id + u32::from(pair.1) + u32::try_from(r#type.len()).unwrap_or_default())
}

#[locked("only-in-the-name-{id}")]
async fn parameter_only_in_the_name(id: u32) -> Result<(), Error> {
    Ok(())
}

#[locked(name = format!("customer-{mail}"))]
async fn from_an_expression(mail: &str) -> Result<usize, Error> {
    Ok(mail.len())
}

#[locked(name = format!("unused-{id}"), ttl = if longer { TTL } else { TTL / 2 }, via = client)]
async fn parameters_only_in_options(id: u32, longer: bool, client: &Client) -> Result<(), Error> {
    Ok(())
}

#[locked(["b-{x}", "a"])]
async fn list(x: u8) -> Result<u8, Error> {
    Ok(x)
}

#[tokio::test]
async fn names_of_all_kinds_work() {
    use_memory();
    assert_eq!(fixed().await.unwrap(), 1);
    assert_eq!(from_parameters(7, (1, 2), "abc").await.unwrap(), 12);
    parameter_only_in_the_name(3).await.unwrap();
    parameters_only_in_options(3, true, &client()).await.unwrap();
    assert_eq!(from_an_expression("Ada@Example.org").await.unwrap(), 15);
    assert_eq!(list(4).await.unwrap(), 4);
}

// === signatures ===

#[locked("generic-{key}")]
async fn generic<'a, K, V>(map: &'a mut HashMap<K, V>, key: K, value: V) -> Result<&'a V, Error>
where
    K: Display + std::hash::Hash + Eq + Clone,
{
    map.insert(key.clone(), value);
    Ok(&map[&key])
}

#[locked("impl-trait")]
async fn impl_trait(items: impl IntoIterator<Item = u32>) -> Result<impl Iterator<Item = u32>, Error> {
    let doubled: Vec<_> = items.into_iter().map(|item| item * 2).collect();
    Ok(doubled.into_iter())
}

#[locked("patterns-{last}")]
async fn patterns((a, b): (u32, u32), _: String, [c, ..]: [u32; 3], mut last: u32) -> Result<u32, Error> {
    last += 1;
    Ok(a + b + c + last)
}

#[locked("early")]
async fn early(text: &str) -> Result<i32, MyError> {
    if text.is_empty() {
        return Ok(0);
    }
    let number: i32 = text.parse()?;
    Ok(number)
}

#[locked("temporaries")]
async fn temporaries(shared: std::sync::Mutex<Vec<u8>>) -> Result<usize, Error> {
    Ok(shared.lock().unwrap().len())
}

#[locked("not-send")]
async fn not_send(counter: Rc<RefCell<u32>>) -> Result<u32, Error> {
    tokio::task::yield_now().await;
    *counter.borrow_mut() += 1;
    Ok(*counter.borrow())
}

#[locked("never-ends")]
async fn diverges() -> Result<(), Error> {
    panic!("on purpose")
}

#[locked("const-generic")]
async fn const_generic<const N: usize>(items: [u8; N]) -> Result<usize, Error> {
    Ok(items.len() + N)
}

#[tokio::test]
async fn signatures_stay_as_they_were() {
    use_memory();
    let mut map = HashMap::new();
    assert_eq!(generic(&mut map, "k", 5).await.unwrap(), &5);
    assert_eq!(impl_trait([1, 2]).await.unwrap().sum::<u32>(), 6);
    assert_eq!(patterns((1, 2), String::new(), [3, 0, 0], 4).await.unwrap(), 11);
    assert_eq!(early("").await.unwrap(), 0);
    assert_eq!(early("17").await.unwrap(), 17);
    assert!(matches!(early("x").await, Err(MyError::Parse(_))));
    assert_eq!(temporaries(vec![1, 2].into()).await.unwrap(), 2);
    assert_eq!(not_send(Rc::default()).await.unwrap(), 1);
    assert_eq!(const_generic([1, 2, 3]).await.unwrap(), 6);
}

#[tokio::test]
async fn futures_of_send_bodies_are_send_and_static() {
    use_memory();
    let task = tokio::spawn(early("3"));
    assert_eq!(task.await.unwrap().unwrap(), 3);
    let task = tokio::spawn(list(3));
    assert_eq!(task.await.unwrap().unwrap(), 3);
    let task = tokio::spawn(leading());
    task.await.unwrap();
}

#[tokio::test]
async fn a_panic_goes_on_and_the_lock_is_free() {
    use_memory();
    for _ in 0..2 {
        let panic = tokio::spawn(diverges()).await.unwrap_err();
        assert!(panic.is_panic());
    }
}

// === methods ===

struct Service {
    client: Client,
    shared: Arc<Client>,
    name: String,
    count: u32,
}

trait Job {
    fn name(&self) -> String;

    fn work(&self, id: u32) -> impl Future<Output = Result<u32, Error>>;

    #[allow(async_fn_in_trait)]
    #[locked(name = self.name())]
    async fn default_method(&self) -> Result<usize, Error> {
        Ok(self.name().len())
    }
}

impl Service {
    fn new() -> Self {
        let client = client();
        Self { shared: Arc::new(client.clone()), client, name: "s".to_owned(), count: 0 }
    }

    #[locked("{self.name}-by-ref", via = self.client)]
    async fn by_ref(&self) -> Result<&str, Error> {
        Ok(&self.name)
    }

    #[locked("{self.name}-by-mut", via = self.shared)]
    async fn by_mut(&mut self, by: u32) -> Result<u32, Error> {
        self.count += by;
        Ok(self.count)
    }

    #[locked("{self.name}-by-value", via = &self.client)]
    async fn by_value(mut self) -> Result<String, Error> {
        self.name.push('!');
        Ok(self.name)
    }

    #[locked("{self.name}-by-arc", via = self.client)]
    async fn by_arc(self: Arc<Self>) -> Result<u32, Error> {
        Ok(self.count)
    }

    #[locked("no-self")]
    async fn associated() -> Result<Self, Error> {
        Ok(Self::new())
    }
}

impl Job for Service {
    fn name(&self) -> String {
        self.name.clone()
    }

    #[locked("{self.name}-{id}", via = self.client)]
    async fn work(&self, id: u32) -> Result<u32, Error> {
        Ok(self.count + id)
    }
}

#[tokio::test]
async fn methods_keep_their_self() {
    use_memory();
    let mut service = Service::new();
    assert_eq!(service.by_ref().await.unwrap(), "s");
    assert_eq!(service.by_mut(2).await.unwrap(), 2);
    assert_eq!(service.work(3).await.unwrap(), 5);
    assert_eq!(service.default_method().await.unwrap(), 1);
    assert_eq!(service.by_value().await.unwrap(), "s!");
    assert_eq!(Arc::new(Service::associated().await.unwrap()).by_arc().await.unwrap(), 0);
}

// === return types ===

mod own_result {
    #![allow(dead_code, unreachable_pub)]
    pub type Result<T> = std::result::Result<T, super::MyError>;

    #[msync::locked("alias")]
    pub async fn alias(x: u32) -> Result<u32> {
        std::result::Result::Ok(x)
    }

    pub enum Option<T> {
        Some(T),
        None,
    }

    #[derive(Debug)]
    pub struct Ok;

    #[msync::locked("shadowed-prelude")]
    pub async fn shadowed_prelude() -> std::result::Result<Ok, super::MyError> {
        std::result::Result::Ok(Ok)
    }
}

#[locked("skips", wait = none, on_busy = skip)]
async fn skip_unit() {
    inner_is_busy().await;
}

#[locked("skips", wait = none, on_busy = skip)]
async fn skip_option() -> Option<u32> {
    Some(1)
}

#[locked("skips", wait = none, on_busy = skip)]
async fn skip_outcome() -> Outcome<u32> {
    Outcome::Ran(1)
}

#[locked("skips", wait = "10ms", on_busy = skip)]
async fn skip_result() -> Result<Option<u32>, MyError> {
    Ok(Some(1))
}

#[locked("skips", wait = none, on_busy = error)]
async fn error_result() -> Result<(), MyError> {
    Ok(())
}

async fn inner_is_busy() {
    let all = tokio::spawn(async {
        assert_eq!(skip_option().await, None);
        assert!(skip_outcome().await.is_skipped());
        assert_eq!(skip_result().await.unwrap(), None);
        assert!(matches!(error_result().await, Err(MyError::Lock(Error::Busy { .. }))));
    });
    all.await.unwrap();
}

#[tokio::test]
async fn return_types_decide_what_busy_means() {
    use_memory();
    skip_unit().await;
    assert_eq!(skip_option().await, Some(1));
    assert_eq!(skip_outcome().await, Outcome::Ran(1));
    assert_eq!(skip_result().await.unwrap(), Some(1));
    assert_eq!(own_result::alias(2).await.unwrap(), 2);
    own_result::shadowed_prelude().await.unwrap();
}

// === options ===

const TTL: Duration = Duration::from_secs(20);

#[locked(
    "every-option",
    ttl = TTL,
    wait = "1m30s",
    on_busy = error,
    on_lost = cancel,
    at_least = "10ms",
    max_hold = Duration::from_secs(60),
    guard = lease,
    crate = ::msync,
)]
async fn every_option() -> Result<msync::FencingToken, Error> {
    lease.check()?;
    takes_lease(&lease);
    Ok(lease.token())
}

fn takes_lease(_: &Lease) {}

#[locked(["one", "two"], guard = leases)]
async fn guard_of_a_list() -> Result<(), Error> {
    leases.check()
}

mod renamed {
    extern crate msync as locks;

    #[locks::locked("renamed", crate = locks)]
    pub(super) async fn renamed() -> Result<(), locks::Error> {
        Ok(())
    }
}

#[tokio::test]
async fn every_option_is_accepted() {
    use_memory();
    let (first, second) = (every_option().await.unwrap(), every_option().await.unwrap());
    assert!(second > first);
    guard_of_a_list().await.unwrap();
    renamed::renamed().await.unwrap();
}

#[locked("recursive")]
async fn recursive(depth: u32) -> Result<u32, Error> {
    if depth == 0 { Ok(0) } else { Box::pin(recursive(depth - 1)).await }
}

#[tokio::test]
async fn recursion_is_an_error_and_not_a_dead_end() {
    use_memory();
    assert!(matches!(recursive(1).await, Err(Error::WouldDeadlock { .. })));
    assert_eq!(recursive(0).await.unwrap(), 0);
}

// === leader_only ===

#[leader_only("leading")]
async fn leading() {}

#[leader_only("leading-{id}", on_follower = wait, guard = term)]
async fn leading_waits(id: u32) -> Result<u32, MyError> {
    term.check()?;
    Ok(id)
}

#[leader_only("leading", on_follower = error, on_lost = signal)]
async fn leading_errs() -> Result<(), Error> {
    Ok(())
}

#[leader_only("leading")]
async fn leading_outcome() -> Result<Outcome<u8>, Error> {
    Ok(Outcome::Ran(1))
}

#[tokio::test]
async fn the_leader_runs() {
    use_memory();
    leading().await;
    assert_eq!(leading_waits(2).await.unwrap(), 2);
    leading_errs().await.unwrap();
    assert_eq!(leading_outcome().await.unwrap(), Outcome::Ran(1));
}

// === other attributes ===

#[async_trait::async_trait]
trait Boxed {
    async fn boxed(&self, id: u32, (a, b): (u32, u32)) -> Result<u32, Error>;
    async fn unit(&mut self);
    #[locked("default-{id}")]
    async fn with_default(&self, id: u32) -> Result<u32, Error> {
        Ok(id)
    }
}

#[async_trait::async_trait]
impl Boxed for Service {
    #[locked("{self.name}-{id}", via = self.client, guard = lease)]
    async fn boxed(&self, id: u32, (a, b): (u32, u32)) -> Result<u32, Error> {
        lease.check()?;
        Ok(self.count + id + a + b)
    }

    #[locked("boxed-unit", wait = none, on_busy = skip)]
    async fn unit(&mut self) {
        self.count += 1;
    }
}

#[tracing::instrument]
#[locked("instrument-above-{id}")]
async fn instrument_above(id: u32) -> Result<u32, Error> {
    Ok(id)
}

#[locked("instrument-below-{id}")]
#[tracing::instrument]
async fn instrument_below(id: u32) -> Result<u32, Error> {
    Ok(id)
}

#[locked("outer-{id}")]
#[locked("inner-{id}")]
async fn two_locks(id: u32) -> Result<u32, Error> {
    Ok(id)
}

#[locked("cfg-{id}")]
#[allow(clippy::unused_async)]
async fn attributes_on_parameters(
    #[allow(unused_variables)] unused: u32,
    #[cfg(any())] absent: u32,
    id: u32,
) -> Result<u32, Error> {
    #![allow(clippy::let_and_return)]
    let same = Ok(id);
    same
}

#[tokio::test]
async fn other_attributes_work_beside_it() {
    use_memory();
    let mut service = Service::new();
    assert_eq!(service.boxed(1, (2, 3)).await.unwrap(), 6);
    service.unit().await;
    assert_eq!(service.with_default(4).await.unwrap(), 4);
    assert_eq!(service.count, 1);
    assert_eq!(instrument_above(1).await.unwrap(), 1);
    assert_eq!(instrument_below(1).await.unwrap(), 1);
    assert_eq!(two_locks(1).await.unwrap(), 1);
    assert_eq!(attributes_on_parameters(1, 2).await.unwrap(), 2);
}

#[locked("test-below", via = client(), guard = lease)]
#[tokio::test]
async fn tokio_test_below() -> Result<(), Error> {
    lease.check()
}

#[tokio::test]
#[locked("test-above", via = client(), guard = lease)]
async fn tokio_test_above() -> Result<(), Error> {
    lease.check()
}

macro_rules! annotated {
    ($name:ident, $parameter:ident) => {
        #[locked("from-a-macro-{id}")]
        async fn $name($parameter: u32) -> Result<u32, Error> {
            Ok($parameter)
        }
    };
}
annotated!(made_by_a_macro, id);

#[tokio::test]
async fn functions_made_by_macros_work() {
    use_memory();
    assert_eq!(made_by_a_macro(9).await.unwrap(), 9);
}

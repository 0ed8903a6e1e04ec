//! Which locks the running task is inside of, so that waiting for one of them again is an error and not a dead end.
//!
//! The marks are set while a body is polled and taken away after the poll, so they follow the task from thread to thread
//! and into everything it awaits. Each is of one task: a body may poll other tasks, those of its `LocalSet`, which are not
//! inside of anything. Never seen: tasks that the body spawns, and guards held by hand.

use std::cell::RefCell;

use tokio::task::{Id, try_id};

use crate::{Error, Lease, LockName, record::EngineId};

thread_local! {
    static INSIDE: RefCell<Vec<Mark>> = const { RefCell::new(Vec::new()) };
}

/// One body that is being polled.
struct Mark {
    /// Whose body it is; none outside of tasks, as under `block_on`.
    task: Option<Id>,
    lease: Lease,
}

/// The marks of one poll, taken away again when it ends, by a panic too.
pub(crate) struct Marks(usize);

// === impl Marks ===

impl Marks {
    /// Marks the running task as inside of these locks.
    pub(crate) fn set(leases: &[Lease]) -> Self {
        INSIDE.with_borrow_mut(|inside| {
            let before = inside.len();
            let task = try_id();
            inside.extend(leases.iter().map(|lease| Mark { task, lease: lease.clone() }));
            Self(before)
        })
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(|inside| inside.truncate(self.0));
    }
}

/// Fails if the running task is inside of this lock.
pub(crate) fn check(engine: &EngineId, name: &LockName) -> Result<(), Error> {
    let task = try_id();
    let is_inside = |mark: &Mark| mark.task == task && mark.lease.is_of(engine, name);
    if INSIDE.with_borrow(|inside| inside.iter().any(is_inside)) {
        return Err(Error::WouldDeadlock { name: name.to_string() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin};

    use super::*;
    use crate::{Client, LockGuard, MemoryStore};

    async fn acquired(client: &Client, name: &str) -> LockGuard {
        client.lock(name).unwrap().acquire().await.unwrap()
    }

    async fn inside<Fut: Future>(leases: &[Lease], future: Fut) -> Fut::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let _marks = Marks::set(leases);
            future.as_mut().poll(cx)
        })
        .await
    }

    fn client() -> Client {
        Client::builder().memory(&MemoryStore::new()).build()
    }

    /// Says whether waiting for a lock would be an error here.
    fn is_inside(client: &Client, name: &str) -> bool {
        let again = check(&EngineId::from_text(client.identity()), &LockName::new(name).unwrap());
        assert!(matches!(again, Ok(()) | Err(Error::WouldDeadlock { .. })));
        again.is_err()
    }

    #[tokio::test]
    async fn a_lock_is_inside_itself_and_no_other() {
        let (mine, other) = (client(), client());
        let guard = acquired(&mine, "a").await;
        inside(&[guard.lease()], async {
            tokio::task::yield_now().await;
            assert!(is_inside(&mine, "a"));
            assert!(!is_inside(&mine, "b") && !is_inside(&other, "a"));
        })
        .await;
        assert!(!is_inside(&mine, "a"));
    }

    #[tokio::test]
    async fn concurrent_bodies_of_one_task_do_not_see_each_other() {
        let client = client();
        let other = async |mine: &'static str, theirs: &'static str| {
            let guard = acquired(&client, mine).await;
            inside(&[guard.lease()], async {
                tokio::task::yield_now().await;
                is_inside(&client, theirs)
            })
            .await
        };
        assert_eq!(tokio::join!(other("a", "b"), other("b", "a")), (false, false));
    }

    #[tokio::test]
    async fn a_task_that_a_body_polls_is_not_inside_of_its_lock() {
        let client = client();
        let guard = acquired(&client, "a").await;
        let local = tokio::task::LocalSet::new();
        let (other, inner) = (client.clone(), client.clone());
        let unrelated = local.spawn_local(async move { is_inside(&other, "a") });
        let held = [guard.lease()];
        let seen = inside(
            &held,
            local.run_until(async move {
                tokio::task::yield_now().await;
                (unrelated.await.unwrap(), is_inside(&inner, "a"))
            }),
        );
        assert_eq!(seen.await, (false, true));
    }

    #[tokio::test]
    async fn a_body_within_a_spawned_task_is_inside_of_its_lock() {
        let client = client();
        let spawned = tokio::spawn(async move {
            let guard = acquired(&client, "a").await;
            inside(&[guard.lease()], async {
                tokio::task::yield_now().await;
                is_inside(&client, "a")
            })
            .await
        });
        assert!(spawned.await.unwrap());
    }

    #[tokio::test]
    async fn a_panic_leaves_no_mark() {
        let client = client();
        let lease = acquired(&client, "a").await.lease();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _marks = Marks::set(&[lease]);
            panic!("on purpose");
        }));
        assert!(result.is_err());
        assert!(!is_inside(&client, "a"));
    }
}

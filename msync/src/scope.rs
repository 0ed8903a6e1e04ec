//! Which locks the running task is inside of, so that waiting for one of them again is an error and not a dead end.
//!
//! The marks are set while a body is polled and taken away after the poll, so they follow the task from thread to thread
//! and into everything it awaits. Never seen: tasks that the body spawns, and guards held by hand.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use crate::Error;

thread_local! {
    static INSIDE: RefCell<Vec<ScopeKey>> = const { RefCell::new(Vec::new()) };
}

/// One lock of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScopeKey {
    client: u64,
    name: Arc<str>,
}

// Takes the marks away again when the poll ends, by a panic too.
struct Marks(usize);

// === impl ScopeKey ===

impl ScopeKey {
    /// Makes the key of a lock; `client` is a number that no other client of this process has.
    pub(crate) fn new(client: u64, name: Arc<str>) -> Self {
        Self { client, name }
    }
}

// === impl Marks ===

impl Marks {
    fn set(keys: &[ScopeKey]) -> Self {
        INSIDE.with_borrow_mut(|inside| {
            let before = inside.len();
            inside.extend_from_slice(keys);
            Self(before)
        })
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(|inside| inside.truncate(self.0));
    }
}

/// Fails if the running task is inside one of these locks.
pub(crate) fn check(keys: &[ScopeKey]) -> Result<(), Error> {
    let again =
        INSIDE.with_borrow(|inside| keys.iter().find(|key| inside.contains(key)).map(|key| key.name.to_string()));
    match again {
        Some(name) => Err(Error::WouldDeadlock { name }),
        None => Ok(()),
    }
}

/// Runs a future inside of locks.
pub(crate) async fn inside<Fut: Future>(keys: &[ScopeKey], future: Fut) -> Fut::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _marks = Marks::set(keys);
        future.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: u64, name: &str) -> ScopeKey {
        ScopeKey::new(client, name.into())
    }

    #[tokio::test]
    async fn a_lock_is_inside_itself_and_no_other() {
        let mine = [key(1, "a")];
        inside(&mine, async {
            tokio::task::yield_now().await;
            assert!(matches!(check(&mine), Err(Error::WouldDeadlock { name }) if name == "a"));
            assert!(check(&[key(1, "b"), key(2, "a")]).is_ok());
        })
        .await;
        assert!(check(&mine).is_ok());
    }

    #[tokio::test]
    async fn concurrent_bodies_of_one_task_do_not_see_each_other() {
        let other = |mine: &'static str, theirs: &'static str| async move {
            inside(&[key(1, mine)], async {
                tokio::task::yield_now().await;
                check(&[key(1, theirs)])
            })
            .await
        };
        let (left, right) = tokio::join!(other("a", "b"), other("b", "a"));
        assert!(left.is_ok() && right.is_ok());
    }

    #[test]
    fn a_panic_leaves_no_mark() {
        let result = std::panic::catch_unwind(|| {
            let _marks = Marks::set(&[key(1, "a")]);
            panic!("on purpose");
        });
        assert!(result.is_err());
        assert!(check(&[key(1, "a")]).is_ok());
    }
}

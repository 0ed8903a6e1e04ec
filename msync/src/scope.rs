//! Which locks the running task is inside of, so that waiting for one of them again is an error and not a dead end.
//!
//! The marks are set while a body is polled and taken away after the poll, so they follow the task from thread to thread
//! and into everything it awaits. Never seen: tasks that the body spawns, and guards held by hand.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;

use crate::{Error, LockName, record::EngineId};

thread_local! {
    static INSIDE: RefCell<Vec<ScopeKey>> = const { RefCell::new(Vec::new()) };
}

/// One lock of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScopeKey {
    engine: EngineId,
    name: LockName,
}

// Takes the marks away again when the poll ends, by a panic too.
struct Marks(usize);

// === impl ScopeKey ===

impl ScopeKey {
    pub(crate) fn new(engine: &EngineId, name: &LockName) -> Self {
        Self { engine: engine.clone(), name: name.clone() }
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

/// Fails if the running task is inside of this lock.
pub(crate) fn check(key: &ScopeKey) -> Result<(), Error> {
    if INSIDE.with_borrow(|inside| inside.contains(key)) {
        return Err(Error::WouldDeadlock { name: key.name.to_string() });
    }
    Ok(())
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

    fn key(engine: u64, name: &str) -> ScopeKey {
        ScopeKey::new(&EngineId::new("a", engine), &LockName::new(name).unwrap())
    }

    #[tokio::test]
    async fn a_lock_is_inside_itself_and_no_other() {
        let mine = [key(1, "a")];
        inside(&mine, async {
            tokio::task::yield_now().await;
            assert!(matches!(check(&mine[0]), Err(Error::WouldDeadlock { name }) if name == "a"));
            assert!(check(&key(1, "b")).is_ok() && check(&key(2, "a")).is_ok());
        })
        .await;
        assert!(check(&mine[0]).is_ok());
    }

    #[tokio::test]
    async fn concurrent_bodies_of_one_task_do_not_see_each_other() {
        let other = |mine: &'static str, theirs: &'static str| async move {
            inside(&[key(1, mine)], async {
                tokio::task::yield_now().await;
                check(&key(1, theirs))
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
        assert!(check(&key(1, "a")).is_ok());
    }
}

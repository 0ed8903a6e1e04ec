//! Which locks the current task runs inside: a body that waits for its own lock would wait for ever.

use std::{future::Future, sync::Arc};

use crate::{LockName, record::EngineId};

/// One lock that a task is inside of, and the ones around it.
#[derive(Clone)]
struct Inside {
    engine: EngineId,
    name: LockName,
    around: Option<Arc<Inside>>,
}

tokio::task_local! {
    static INSIDE: Arc<Inside>;
}

/// Runs a body inside a lock, as far as this task's later acquisitions are concerned.
pub(crate) async fn enter<F: Future>(engine: &EngineId, name: &LockName, body: F) -> F::Output {
    let around = INSIDE.try_with(Arc::clone).ok();
    let inside = Inside { engine: engine.clone(), name: name.clone(), around };
    INSIDE.scope(Arc::new(inside), body).await
}

/// Says whether this task runs inside the lock of that engine.
pub(crate) fn contains(engine: &EngineId, name: &LockName) -> bool {
    let found = INSIDE.try_with(|inside| {
        let mut next = Some(inside);
        while let Some(level) = next {
            if level.engine == *engine && level.name == *name {
                return true;
            }
            next = level.around.as_ref();
        }
        false
    });
    found.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_knows_every_lock_it_is_inside_of() {
        let (engine, other) = (EngineId::new("a", 1), EngineId::new("a", 2));
        let (outer, inner) = (LockName::new("outer").unwrap(), LockName::new("inner").unwrap());
        let body = enter(&engine, &inner, async { (contains(&engine, &outer), contains(&engine, &inner)) });
        assert_eq!(enter(&engine, &outer, body).await, (true, true));
        assert!(!contains(&engine, &outer));
        enter(&engine, &outer, async { assert!(!contains(&other, &outer)) }).await;
    }
}

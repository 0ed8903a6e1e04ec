//! Objects that are deleted and do not go: somebody else's tool has put a finalizer on a `Lock`.
//!
//! Such an object may vanish at any moment, and with it the exclusion of whoever holds it: so nobody takes it any more, and
//! everybody is told whose finalizer it is. Who held it when it was deleted keeps it, gives it back in order, and is told as
//! well.

use kube::ResourceExt;

use super::form::Form;
use crate::{
    clock::Wall,
    error::told,
    store::{Fatal, Fault, Snapshot},
};

/// The finalizers of the API server's own garbage collector, who removes them within moments.
const PASSING: [&str; 2] = ["foregroundDeletion", "orphan"];

/// Says whether an object has been deleted and is kept by a finalizer.
pub(super) fn is(lock: &impl Form) -> bool {
    lock.meta().deletion_timestamp.is_some()
}

/// Says whether the API server refuses to make an object because of one that lingers.
pub(super) fn is_named_by(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.message.contains("object is being deleted"))
}

/// Reads an object. One that lingers and is free counts as gone: it will never be anybody's.
///
/// # Errors
/// As [`Lock::snapshot`].
pub(super) fn read(lock: &impl Form) -> Result<Option<Snapshot>, Fault> {
    let (_, snapshot) = lock.snapshot()?;
    Ok(Some(snapshot).filter(|snapshot| !is(lock) || !snapshot.record.is_free()))
}

/// Returns what whoever wants a lock is told of an object that is in its way: `None` if that is held or does not linger.
pub(super) fn fault(lock: &impl Form) -> Option<Fault> {
    match read(lock) {
        Ok(Some(_)) => None,
        Ok(None) if lock.finalizers().iter().all(|finalizer| PASSING.contains(&finalizer.as_str())) => {
            Some(Fault::Busy(None))
        }
        Ok(None) => refuse(lock).err(),
        Err(fault) => Some(fault),
    }
}

/// Refuses an object that lingers.
///
/// # Errors
/// [`Fatal::Other`], naming the finalizers.
pub(super) fn refuse(lock: &impl Form) -> Result<(), Fault> {
    if is(lock) { Err(Fault::Fatal(Fatal::Other(told(reason(lock))))) } else { Ok(()) }
}

/// Says why the object is still there.
pub(super) fn reason(lock: &impl Form) -> String {
    let (namespace, name) = (lock.namespace().unwrap_or_default(), lock.name_any());
    let finalizers = lock.finalizers().join(", ");
    format!(
        "lock {namespace}/{name} has been deleted, and stays because of its finalizer {finalizers}: nobody can have it \
         before that is removed; whose tool has put it there?"
    )
}

/// Returns when it was deleted, by the API server's clock.
pub(super) fn since(lock: &impl Form) -> Wall {
    let at = lock.meta().deletion_timestamp.as_ref().map(|time| time.0.as_millisecond());
    Wall::from_millis(at.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        LockName,
        record::{Beat, Change, Claim, EngineId, Record, Term},
        store::kube::crd::Lock,
    };

    fn lock(record: &Record, deleted: bool) -> Lock {
        let mut lock = Lock::of(&LockName::new("x").unwrap(), record);
        lock.metadata.resource_version = Some("7".to_owned());
        lock.metadata.namespace = Some("shop".to_owned());
        if deleted {
            lock.metadata.deletion_timestamp = Some(serde_json::from_str("\"2026-11-22T14:00:00Z\"").unwrap());
            lock.metadata.finalizers = Some(vec!["example.com/backup".to_owned(), "other".to_owned()]);
        }
        lock
    }

    fn held() -> Record {
        let claim = Claim { engine: EngineId::new("a", 1), term: Term(1), ttl: Duration::from_secs(15), instant: true };
        Change::Create { claim, beat: Beat(1), under: Term::NONE, wall: Wall::default() }.apply(None).unwrap()
    }

    #[test]
    fn what_lingers_is_nobodys_and_whoever_wants_it_is_told_why() {
        assert_eq!(read(&lock(&Record::default(), true)).unwrap(), None, "as good as gone");
        let Some(Fault::Fatal(fatal)) = fault(&lock(&Record::default(), true)) else { panic!("it is nobody's fault") };
        let text = fatal.to_string();
        assert!(text.contains("lock shop/x") && text.contains("example.com/backup, other"), "{text}");
        assert!(refuse(&lock(&held(), true)).is_err());
    }

    #[test]
    fn what_the_garbage_collector_removes_is_waited_for() {
        let mut lock = lock(&Record::default(), true);
        lock.metadata.finalizers = Some(vec!["foregroundDeletion".to_owned()]);
        assert!(matches!(fault(&lock), Some(Fault::Busy(None))));
    }

    #[test]
    fn what_does_not_linger_or_is_still_held_is_read() {
        for free_or_held in [Record::default(), held()] {
            let lock = lock(&free_or_held, false);
            assert_eq!(read(&lock).unwrap().unwrap().record, free_or_held);
            assert!(fault(&lock).is_none() && refuse(&lock).is_ok());
        }
        assert!(read(&lock(&held(), true)).unwrap().is_some(), "its holder has it until it is gone");
        assert!(fault(&lock(&held(), true)).is_none());
    }

    #[test]
    fn the_date_is_that_of_the_deletion() {
        assert_eq!(since(&lock(&held(), true)).to_string(), "2026-11-22T14:00:00.000Z");
    }
}

//! How locks are shown: from memory, from a record, and as they were last seen while the API server gives no answer.

use super::changes::Holding;
use super::desk::Session;
use super::{Backend, Hold, Record, Sessions, Trouble};
use crate::api::{Call, Grant, Lock, Name, Outcome, Verb};
use crate::clock::Moment;
use crate::sparse::Sparse;

static FROM_MEMORY: Sparse = Sparse::new();

impl<B: Backend> Sessions<B> {
    /// A lock that is held here; its holder is also told what it has.
    pub(super) fn own(&self, session: &Session<B::Hold>, name: &Name, now: Moment, told: bool) -> Lock {
        let token = session.hold.token();
        let grant = Grant { token, remaining: session.remaining(now) };
        Lock {
            name: name.clone(),
            namespace: self.0.identity.namespace.clone(),
            version: session.lease.version().to_owned(),
            created: session.hold.created(),
            owner: self.0.identity.owner.clone(),
            expiry: Some(session.lease.expiry(now, session.hold.remaining())),
            grant: told.then_some(grant),
            watch: Some(self.changes().note(name, Holding::Own(token))),
        }
    }

    /// A record as clients shall see it, and remembers it. A freed lock is shown as its last holder left it.
    pub(super) fn picture(&self, name: &Name, record: Record) -> Lock {
        let mut desk = self.desk();
        let holding = desk.held.get(name).map_or(Holding::of(&record), |own| Holding::Own(own.hold.token()));
        let watch = Some(self.changes().note(name, holding));
        let last = desk.seen.recall(name).filter(|last| record.owner.is_empty() && !last.owner.is_empty());
        let lock = match last {
            Some(last) => Lock { expiry: last.expiry.min(record.expiry).or(record.expiry), watch, ..Lock::clone(last) },
            None => Lock {
                name: name.clone(),
                namespace: self.0.identity.namespace.clone(),
                version: record.version,
                created: record.created,
                owner: record.owner,
                expiry: record.expiry,
                grant: None,
                watch,
            },
        };
        desk.seen.remember(name, Box::new(lock.clone()));
        lock
    }

    /// A lock of which there is no record.
    pub(super) fn absent(&self, name: &Name) -> Outcome {
        let watch = Some(self.changes().note(name, Holding::Absent));
        self.remembered(name).map_or(Outcome::Absent(watch), |lock| Outcome::Good(Lock { watch, ..lock }))
    }

    /// One read.
    pub(super) async fn look(&self, call: &Call) -> Outcome {
        match self.0.backend.read(&call.name).await {
            Ok(Some(record)) => Outcome::Good(self.picture(&call.name, record)),
            Ok(None) => self.absent(&call.name),
            Err(trouble) => self.without_api(call, &trouble),
        }
    }

    /// The answer while the API server gives none: what is known, or 503 for a name that nobody here ever saw.
    pub(super) fn without_api(&self, call: &Call, trouble: &Trouble) -> Outcome {
        if let Some(unsaid) = FROM_MEMORY.say() {
            tracing::warn!(lock = %call.name, error = %trouble.0, unsaid, "answered from memory");
        }
        match (call.verb, self.remembered(&call.name)) {
            (Verb::Delete, _) | (_, None) => Outcome::Unavailable(trouble.0.clone()),
            (Verb::Get | Verb::Watch { .. }, Some(lock)) => Outcome::Good(lock),
            (Verb::Put { .. }, Some(lock)) => Outcome::Taken(lock),
            (Verb::Post { .. }, Some(_)) => Outcome::Exists,
        }
    }

    pub(super) fn not_taken(&self, call: &Call, why: String) -> Outcome {
        match self.remembered(&call.name) {
            Some(lock) if matches!(call.verb, Verb::Put { .. }) => Outcome::Taken(lock),
            _ => Outcome::Refused(why),
        }
    }

    /// A lock as it was last seen.
    pub(super) fn remembered(&self, name: &Name) -> Option<Lock> {
        self.desk().seen.recall(name).map(|lock| Lock::clone(lock))
    }
}

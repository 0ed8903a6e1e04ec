//! What a watch by label shows, told as what a watch by who holds would show.
//!
//! A label is left where it was when somebody else takes a Lease: then it selects what is no longer the engine's. That is
//! told once, as [`Sighting::Gone`], and what happens to such a Lease afterwards is no news.

use std::collections::HashSet;

use futures::{Stream, StreamExt};

use crate::{
    LockName,
    store::{Fault, Scope, Sighting, Watch},
};

/// Tells of a watch only what its scope is about.
pub(super) fn filtered(watch: Watch, scope: Scope) -> impl Stream<Item = Result<Sighting, Fault>> + Send {
    let mut shown = HashSet::new();
    watch.map(move |seen| seen.map(|sighting| told(sighting, &scope, &mut shown)))
}

fn told(sighting: Sighting, scope: &Scope, shown: &mut HashSet<LockName>) -> Sighting {
    if !matches!(scope, Scope::Engine(_) | Scope::Next(_)) {
        return sighting;
    }
    match sighting {
        Sighting::Listed(mut found) => {
            found.retain(|(name, snapshot)| scope.matches(name, &snapshot.record));
            *shown = found.iter().map(|(name, _)| name.clone()).collect();
            Sighting::Listed(found)
        }
        Sighting::Changed(name, snapshot) if scope.matches(&name, &snapshot.record) => {
            shown.insert(name.clone());
            Sighting::Changed(name, snapshot)
        }
        Sighting::Changed(name, snapshot) if shown.remove(&name) => Sighting::Gone(name, snapshot.version.number),
        Sighting::Gone(name, version) if shown.remove(&name) => Sighting::Gone(name, version),
        // What was told as gone was told with the version at which it was.
        Sighting::Changed(..) | Sighting::Gone(..) | Sighting::Alive => Sighting::Alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{EngineId, Record},
        store::{Snapshot, Version},
    };

    fn name() -> LockName {
        LockName::new("x").unwrap()
    }

    fn seen(engine: &str, number: u64) -> (LockName, Snapshot) {
        let record = Record { engine: EngineId::from_text(engine), ..Record::default() };
        (name(), Snapshot { version: Version { uid: "u".into(), number }, record })
    }

    #[test]
    fn a_label_that_was_left_where_it_was_selects_nothing() {
        let (scope, mut shown) = (Scope::Engine(EngineId::from_text("a.1")), HashSet::new());
        let mut tell = |sighting| told(sighting, &scope, &mut shown);
        let changed = |(name, snapshot)| Sighting::Changed(name, snapshot);
        assert_eq!(tell(Sighting::Listed(vec![seen("client-go.foreign", 1)])), Sighting::Listed(vec![]));
        assert_eq!(tell(changed(seen("client-go.foreign", 2))), Sighting::Alive);
        assert_eq!(tell(changed(seen("a.1", 3))), changed(seen("a.1", 3)));
        assert_eq!(tell(changed(seen("client-go.foreign", 4))), Sighting::Gone(name(), 4), "told once");
        assert_eq!(tell(changed(seen("client-go.foreign", 5))), Sighting::Alive);
        assert_eq!(tell(Sighting::Gone(name(), 6)), Sighting::Alive);
    }

    #[test]
    fn what_left_by_its_label_is_gone() {
        let (scope, mut shown) = (Scope::Next(EngineId::from_text("a.1")), HashSet::new());
        let (name, mut snapshot) = seen("b.2", 1);
        snapshot.record.next = EngineId::from_text("a.1");
        told(Sighting::Listed(vec![(name.clone(), snapshot)]), &scope, &mut shown);
        assert_eq!(told(Sighting::Gone(name.clone(), 2), &scope, &mut shown), Sighting::Gone(name, 2));
    }

    #[test]
    fn whoever_watches_a_lock_sees_all_of_it() {
        let (scope, mut shown) = (Scope::Lock(name()), HashSet::new());
        let (name, snapshot) = seen("client-go.foreign", 1);
        let sighting = Sighting::Changed(name, snapshot);
        assert_eq!(told(sighting.clone(), &scope, &mut shown), sighting);
    }
}

//! What every store must do, one function per property; `tests/tests/store` runs them on memory and on an API server.
//!
//! Each takes an empty store and panics where the store breaks its contract.
#![allow(clippy::missing_panics_doc, reason = "a broken contract is a panic here, that is what they are for")]

mod watches;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, future::join_all};
use msync::{
    LockName,
    clock::Wall,
    unstable::{
        record::{Beat, Change, Claim, EngineId, Entry, MAX_WAITERS, Pair, Record, Refused, Term},
        store::{Fault, Scope, Sighting, Snapshot, Store, Version, Watch},
    },
};
use tokio::time::timeout;
pub use watches::*;

/// A store under test.
pub type Subject = Arc<dyn Store>;

/// Long enough for a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(15);
/// The date of what is written.
pub const WALL: Wall = Wall::from_millis(1_795_356_000_000);

/// Makes a name.
pub fn name(text: &str) -> LockName {
    LockName::new(text).expect("tests use valid names")
}

/// Makes the engine of an owner.
pub fn engine(owner: &str) -> EngineId {
    EngineId::new(owner, 0xab)
}

/// Makes an instant claim.
pub fn claim(owner: &str, term: u64) -> Claim {
    Claim { engine: engine(owner), term: Term(term), ttl: TTL, instant: true }
}

/// Creates a lock held under this term, with beat 10 x term.
pub fn create(owner: &str, term: u64) -> Change {
    Change::Create { claim: claim(owner, term), beat: Beat(term * 10), under: Term::NONE, wall: WALL }
}

/// Joins the queue.
pub fn enqueue(owner: &str, term: u64) -> Change {
    Change::Enqueue { claim: claim(owner, term), wall: WALL }
}

/// Prolongs a hold.
pub fn renew(term: u64, previous: u64, beat: u64) -> Change {
    let (previous, beat) = (Beat(previous), Beat(beat));
    Change::Renew {
        term: Term(term),
        previous,
        beat,
        renewals: 2,
        ttl: TTL,
        next_owner: None,
        under: Term::NONE,
        wall: WALL,
    }
}

/// Hands over to the waiter at an index.
pub fn grant(term: u64, index: usize, entry: Entry) -> Change {
    Change::Grant {
        term: Term(term),
        beat: Beat(term * 10 + 5),
        index,
        entry,
        duplicates: vec![],
        next: EngineId::new("next", term),
        wall: WALL,
    }
}

/// Takes a lock with this pair, removing these entries.
pub fn take(owner: &str, term: u64, seen: Pair, removes: Vec<(usize, Entry)>) -> Change {
    Change::Claim { claim: claim(owner, term), beat: Beat(term * 10), seen, removes, under: Term::NONE, wall: WALL }
}

/// Leaves a lock free.
pub fn free(term: u64) -> Change {
    Change::Free { term: Term(term), wall: WALL }
}

/// Takes an entry out of the queue.
pub fn leave(index: usize, entry: Entry) -> Change {
    Change::Leave { index, entry }
}

/// Applies a change that must succeed.
pub async fn done(store: &Subject, name: &LockName, change: Change) -> Snapshot {
    store.apply(name, &change).await.unwrap_or_else(|fault| panic!("{change:?}: {fault:?}"))
}

/// Applies a change that must be refused.
pub async fn refused(store: &Subject, name: &LockName, change: Change) -> Refused {
    match store.apply(name, &change).await {
        Err(Fault::Refused(refused)) => refused,
        other => panic!("{change:?}: expected a refusal, got {other:?}"),
    }
}

/// Reads a lock that must exist.
pub async fn read(store: &Subject, name: &LockName) -> Snapshot {
    store.read(name).await.expect("the read is answered").expect("the lock exists")
}

/// The next sighting that says something.
pub async fn next(watch: &mut Watch) -> Sighting {
    let news = async {
        loop {
            match watch.next().await.expect("a watch never ends") {
                Ok(Sighting::Alive) => {}
                Ok(sighting) => return sighting,
                Err(fault) => panic!("the watch failed: {fault:?}"),
            }
        }
    };
    timeout(LIMIT, news).await.expect("the watch shows what happened")
}

/// Opens a watch and takes its list.
pub async fn open(store: &Subject, scope: Scope) -> (Watch, Vec<(LockName, Snapshot)>) {
    let mut watch = store.watch(scope);
    match next(&mut watch).await {
        Sighting::Listed(found) => (watch, found),
        other => panic!("a watch begins with a list, not with {other:?}"),
    }
}

fn pair(term: u64, beat: u64) -> Pair {
    Pair { term: Term(term), beat: Beat(beat) }
}

/// What one store answers is what the definition says, and what a read shows.
pub async fn every_change_does_what_its_definition_says(store: Subject) {
    let lock = name("defined");
    let (b, c) = (claim("b", 2).entry(WALL), claim("c", 3).entry(WALL));
    let steps = [
        create("a", 1),
        renew(1, 10, 11),
        enqueue("b", 2),
        enqueue("c", 3),
        enqueue("d", 4),
        leave(2, claim("d", 4).entry(WALL)),
        grant(1, 0, b),
        renew(2, 15, 20),
        take("c", 3, pair(2, 20), vec![(0, c)]),
        free(3),
        take("e", 5, Pair::FREE, vec![]),
    ];
    let mut record: Option<Record> = None;
    for change in steps {
        let expected = change.apply(record.as_ref()).expect("the steps fit");
        let answer = done(&store, &lock, change).await;
        assert_eq!(answer.record, expected);
        assert_eq!(read(&store, &lock).await, answer);
        record = Some(expected);
    }
}

/// Each condition that does not hold is the refusal that the definition names, and nothing is changed.
pub async fn every_refusal_is_the_one_of_the_definition(store: Subject) {
    let lock = name("refusals");
    let b = claim("b", 2).entry(WALL);
    let changes = [
        create("a", 1),
        renew(9, 10, 11),
        renew(1, 9, 11),
        take("x", 9, Pair::FREE, vec![]),
        take("x", 9, pair(1, 9), vec![]),
        take("x", 9, pair(1, 10), vec![(0, claim("y", 8).entry(WALL))]),
        leave(0, claim("y", 8).entry(WALL)),
        grant(9, 0, b),
        free(1),
        free(9),
    ];
    for change in changes.iter().skip(1) {
        assert_eq!(refused(&store, &lock, change.clone()).await, Refused::Absent);
    }
    done(&store, &lock, create("a", 1)).await;
    let before = done(&store, &lock, enqueue("b", 2)).await;
    for change in changes {
        let expected = change.apply(Some(&before.record)).expect_err("none of them fits");
        assert_eq!(refused(&store, &lock, change).await, expected);
    }
    assert_eq!(read(&store, &lock).await, before);
}

/// An entry that stands elsewhere than where it was seen is not touched. Not asked of a store that finds entries by term.
pub async fn an_entry_is_found_at_its_place_only(store: Subject) {
    let (lock, b) = (name("places"), claim("b", 2).entry(WALL));
    done(&store, &lock, create("a", 1)).await;
    let before = done(&store, &lock, enqueue("b", 2)).await;
    for change in [take("x", 9, pair(1, 10), vec![(1, b.clone())]), leave(7, b.clone()), grant(1, 1, b)] {
        let expected = change.apply(Some(&before.record)).expect_err("none of them fits");
        assert_eq!(refused(&store, &lock, change).await, expected);
    }
    assert_eq!(read(&store, &lock).await, before);
}

/// Where entries are found by term, an Enqueue that is delivered twice stands once.
pub async fn enqueue_delivered_twice_stands_once(store: Subject) {
    let (lock, entry) = (name("once"), claim("b", 2).entry(WALL));
    done(&store, &lock, create("a", 1)).await;
    done(&store, &lock, enqueue("b", 2)).await;
    assert_eq!(done(&store, &lock, enqueue("b", 2)).await.record.waiters, std::slice::from_ref(&entry));
    assert!(done(&store, &lock, grant(1, 0, entry)).await.record.waiters.is_empty());
}

/// A lock that was never made reads as nothing.
pub async fn an_absent_lock_reads_as_none(store: Subject) {
    assert_eq!(store.read(&name("nowhere")).await.expect("the read is answered"), None);
}

/// A deletion needs the newest version of the same object.
pub async fn delete_needs_the_newest_version(store: Subject) {
    let lock = name("deleted");
    let first = done(&store, &lock, create("a", 1)).await.version;
    let second = done(&store, &lock, enqueue("b", 2)).await.version;
    let fault = store.delete(&lock, &first).await.expect_err("it was changed since");
    assert!(matches!(fault, Fault::Refused(Refused::Mismatch)), "{fault:?}");
    store.delete(&lock, &second).await.expect("nothing was changed since");
    assert_eq!(store.read(&lock).await.expect("the read is answered"), None);
    let fault = store.delete(&lock, &second).await.expect_err("it is gone");
    assert!(matches!(fault, Fault::Refused(Refused::Absent)), "{fault:?}");
}

/// A name that was made of another text shows it for as long as the object lives, whoever writes to it.
pub async fn an_escaped_name_keeps_its_original(store: Subject) {
    let text = "Ada \"the 1st\"\n<ada@example.org> \u{1f512} \u{0} %{x}";
    let escaped = LockName::escaped(text);
    let plain = name(escaped.as_str());
    done(&store, &escaped, create("a", 1)).await;
    assert_eq!(originals(&store).await, [Some(text.to_owned())]);
    let queued = done(&store, &plain, enqueue("b", 2)).await;
    let granted = done(&store, &plain, grant(1, 0, queued.record.waiters[0].clone())).await;
    assert_eq!(originals(&store).await, [Some(text.to_owned())]);
    let (_watch, seen) = open(&store, Scope::Lock(plain.clone())).await;
    assert_eq!(seen[0].0.original(), Some(text));
    store.delete(&plain, &granted.version).await.expect("nothing was changed since");
    done(&store, &plain, create("a", 3)).await;
    assert_eq!(originals(&store).await, [None]);
}

async fn originals(store: &Subject) -> Vec<Option<String>> {
    let listed = store.list().await.expect("the list is answered");
    listed.iter().map(|(name, _)| name.original().map(str::to_owned)).collect()
}

/// A list has every lock, held or free, as a read would show it.
pub async fn a_list_shows_every_lock(store: Subject) {
    assert!(store.list().await.expect("the list is answered").is_empty());
    for (term, text) in [(1, "a"), (2, "b")] {
        done(&store, &name(text), create("e", term)).await;
    }
    done(&store, &name("b"), free(2)).await;
    let listed = store.list().await.expect("the list is answered");
    let (a, b) = (read(&store, &name("a")).await, read(&store, &name("b")).await);
    assert_eq!(listed, [(name("a"), a), (name("b"), b)]);
}

/// Versions go on when a lock is deleted, and who knows only its former life cannot delete it.
pub async fn versions_grow_across_deletion(store: Subject) {
    let lock = name("reborn");
    let mut last = 0;
    let mut former: Option<Version> = None;
    for term in 1..4 {
        let born = done(&store, &lock, create("a", term)).await.version;
        assert!(born.number > last, "{born:?} after {last}");
        if let Some(former) = former.replace(born.clone()) {
            assert_ne!(former.uid, born.uid);
            let fault = store.delete(&lock, &former).await.expect_err("another object");
            assert!(matches!(fault, Fault::Refused(Refused::Mismatch)), "{fault:?}");
        }
        last = born.number;
        store.delete(&lock, &born).await.expect("nothing was changed since");
    }
}

/// The reply of an Enqueue may be lost and the request repeated: then the entry stands twice, and both can be removed.
pub async fn enqueue_delivered_twice_stands_twice(store: Subject) {
    let (lock, entry) = (name("twice"), claim("b", 2).entry(WALL));
    done(&store, &lock, create("a", 1)).await;
    done(&store, &lock, enqueue("b", 2)).await;
    let twice = done(&store, &lock, enqueue("b", 2)).await;
    assert_eq!(twice.record.waiters, [entry.clone(), entry.clone()]);
    let duplicates = vec![(1, entry.clone())];
    let grant = Change::Grant {
        term: Term(1),
        beat: Beat(20),
        index: 0,
        entry,
        duplicates,
        next: EngineId::default(),
        wall: WALL,
    };
    assert!(done(&store, &lock, grant).await.record.waiters.is_empty());
}

/// The 65th waiter is refused; when one leaves there is room again.
pub async fn the_65th_waiter_is_refused(store: Subject) {
    let lock = name("full");
    done(&store, &lock, create("a", 1)).await;
    for term in 0..MAX_WAITERS as u64 {
        done(&store, &lock, enqueue("w", term + 2)).await;
    }
    assert_eq!(refused(&store, &lock, enqueue("w", 99)).await, Refused::Full);
    done(&store, &lock, renew(1, 10, 11)).await;
    done(&store, &lock, leave(0, claim("w", 2).entry(WALL))).await;
    assert_eq!(done(&store, &lock, enqueue("w", 99)).await.record.waiters.len(), MAX_WAITERS);
}

/// An entry that does not parse is stored, shown, and removable like any other.
pub async fn an_entry_that_does_not_parse_can_be_removed(store: Subject) {
    let lock = name("dead-entries");
    let garbled = |term| Claim { engine: EngineId::from_text("not an engine"), ..claim("b", term) };
    let (dead, other) = (garbled(2).entry(WALL), garbled(3).entry(WALL));
    assert_eq!(dead.claim(), None, "it is dead");
    done(&store, &lock, create("a", 1)).await;
    done(&store, &lock, Change::Enqueue { claim: garbled(2), wall: WALL }).await;
    done(&store, &lock, Change::Enqueue { claim: garbled(3), wall: WALL }).await;
    assert_eq!(refused(&store, &lock, grant(1, 0, dead.clone())).await, Refused::Mismatch);
    let left = done(&store, &lock, leave(0, dead)).await;
    assert_eq!(left.record.waiters, std::slice::from_ref(&other));
    let taken = done(&store, &lock, take("c", 4, pair(1, 10), vec![(0, other)])).await;
    assert!(taken.record.waiters.is_empty());
}

/// Sixty writers append while the holder renews: all succeed, and the queue has the order of their versions.
pub async fn sixty_writers_append_in_order_while_the_holder_renews(store: Subject) {
    let (queue, by_version) = crowd(&store).await;
    assert_eq!(queue, by_version);
}

/// The same where the queue has the order of the writers' clocks: all succeed, and nobody is missing.
pub async fn sixty_writers_append_while_the_holder_renews(store: Subject) {
    let (mut queue, mut by_version) = crowd(&store).await;
    queue.sort();
    by_version.sort();
    assert_eq!(queue, by_version);
}

/// Returns the queue that sixty writers make at once, and how it would be by the order of their writes.
async fn crowd(store: &Subject) -> (Vec<Entry>, Vec<Entry>) {
    let lock = name("crowded");
    done(store, &lock, create("a", 1)).await;
    let appends = join_all((100..160).map(|term| {
        let (store, lock) = (Arc::clone(store), lock.clone());
        tokio::spawn(async move { (done(&store, &lock, enqueue("w", term)).await.version.number, term) })
    }));
    let renewals = async {
        for beat in 11..50 {
            done(store, &lock, renew(1, beat - 1, beat)).await;
        }
    };
    let (appended, ()) = futures::join!(appends, renewals);
    let by_version: BTreeSet<_> = appended.into_iter().map(|task| task.expect("no writer panics")).collect();
    let queue = read(store, &lock).await.record.waiters;
    (queue, by_version.iter().map(|(_, term)| claim("w", *term).entry(WALL)).collect())
}

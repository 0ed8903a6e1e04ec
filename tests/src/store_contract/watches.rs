//! What a watch of each scope shows.

use msync::unstable::{
    record::{Beat, Change, EngineId, Pair, Term},
    session,
    store::{Scope, Sighting},
};

use super::{Subject, WALL, claim, create, done, engine, enqueue, free, grant, name, next, open, renew, take};

/// A watch of one lock begins with what is there and shows each change, in order, with deletion and re-creation.
pub async fn a_watch_of_a_lock_shows_its_whole_life(store: Subject) {
    let (lock, other) = (name("watched"), name("watched-not"));
    let created = done(&store, &lock, create("a", 1)).await;
    let (mut watch, listed) = open(&store, Scope::Lock(lock.clone())).await;
    assert_eq!(listed, [(lock.clone(), created)]);
    done(&store, &other, create("a", 7)).await;
    let queued = done(&store, &lock, enqueue("b", 2)).await;
    let granted = done(&store, &lock, grant(1, 0, queued.record.waiters[0].clone())).await;
    assert_eq!(next(&mut watch).await, Sighting::Changed(lock.clone(), queued));
    assert_eq!(next(&mut watch).await, Sighting::Changed(lock.clone(), granted.clone()));
    store.delete(&lock, &granted.version).await.expect("nothing was changed since");
    let reborn = done(&store, &lock, create("c", 3)).await;
    match next(&mut watch).await {
        Sighting::Gone(gone, version) => {
            assert_eq!(gone, lock);
            assert!(granted.version.number < version && version < reborn.version.number, "{version}");
        }
        other => panic!("the deletion comes before {other:?}"),
    }
    assert_eq!(next(&mut watch).await, Sighting::Changed(lock, reborn));
}

/// A watch of an absent lock begins with an empty list.
pub async fn a_watch_of_an_absent_lock_sees_it_made(store: Subject) {
    let lock = name("to-come");
    let (mut watch, listed) = open(&store, Scope::Lock(lock.clone())).await;
    assert_eq!(listed, []);
    let created = done(&store, &lock, create("a", 1)).await;
    assert_eq!(next(&mut watch).await, Sighting::Changed(lock, created));
}

/// An inbox shows what its engine holds and no more: a grant to another is gone, with the version of that grant.
pub async fn an_inbox_shows_what_its_engine_holds(store: Subject) {
    let (first, second) = (name("inbox-1"), name("inbox-2"));
    let held = done(&store, &first, create("a", 1)).await;
    let (mut a, listed) = open(&store, Scope::Engine(engine("a"))).await;
    assert_eq!(listed, [(first.clone(), held)]);
    let (mut b, listed) = open(&store, Scope::Engine(engine("b"))).await;
    assert_eq!(listed, []);

    let queued = done(&store, &first, enqueue("b", 2)).await;
    assert_eq!(next(&mut a).await, Sighting::Changed(first.clone(), queued.clone()));
    let granted = done(&store, &first, grant(1, 0, queued.record.waiters[0].clone())).await;
    assert_eq!(next(&mut a).await, Sighting::Gone(first.clone(), granted.version.number));
    assert_eq!(next(&mut b).await, Sighting::Changed(first.clone(), granted.clone()));

    let mine = done(&store, &second, create("a", 3)).await;
    assert_eq!(next(&mut a).await, Sighting::Changed(second, mine));
    store.delete(&first, &granted.version).await.expect("nothing was changed since");
    match next(&mut b).await {
        Sighting::Gone(gone, version) => assert!(gone == first && version > granted.version.number),
        other => panic!("expected the deletion, got {other:?}"),
    }
}

/// A lock that is left free leaves the inbox, and one that is taken back enters it again.
pub async fn an_inbox_sees_a_lock_freed_and_taken_again(store: Subject) {
    let lock = name("retained");
    done(&store, &lock, create("a", 1)).await;
    let (mut inbox, _) = open(&store, Scope::Engine(engine("a"))).await;
    let freed = done(&store, &lock, free(1)).await;
    assert_eq!(next(&mut inbox).await, Sighting::Gone(lock.clone(), freed.version.number));
    let taken = done(&store, &lock, take("a", 2, Pair::FREE, vec![])).await;
    assert_eq!(next(&mut inbox).await, Sighting::Changed(lock, taken));
}

/// Who came to be the first of the queue by a hand-off sees that, and every beat of the holder before it.
pub async fn a_watch_of_who_is_next_shows_every_beat_since_the_hand_off(store: Subject) {
    let (lock, other) = (name("handed-on"), name("another"));
    done(&store, &lock, create("a", 1)).await;
    done(&store, &lock, enqueue("b", 2)).await;
    done(&store, &lock, enqueue("c", 3)).await;
    let (mut watch, listed) = open(&store, Scope::Next(engine("c"))).await;
    assert!(listed.is_empty());
    done(&store, &other, create("c", 9)).await;
    let next_is = |term, to: &str, next: EngineId| {
        let (beat, entry, duplicates) = (Beat(term * 10 + 5), claim(to, term + 1).entry(WALL), vec![]);
        Change::Grant { term: Term(term), beat, index: 0, entry, duplicates, next, wall: WALL }
    };
    let granted = done(&store, &lock, next_is(1, "b", engine("c"))).await;
    assert_eq!(next(&mut watch).await, Sighting::Changed(lock.clone(), granted.clone()));
    let (_, listed) = open(&store, Scope::Next(engine("c"))).await;
    assert_eq!(listed, [(lock.clone(), granted)]);
    let renewed = done(&store, &lock, renew(2, 15, 21)).await;
    assert_eq!(next(&mut watch).await, Sighting::Changed(lock.clone(), renewed));
    let queued = done(&store, &lock, enqueue("d", 4)).await;
    assert_eq!(next(&mut watch).await, Sighting::Changed(lock.clone(), queued));
    let granted = done(&store, &lock, next_is(2, "c", engine("d"))).await;
    assert_eq!(next(&mut watch).await, Sighting::Gone(lock, granted.version.number));
}

/// A watch of all locks shows each of them, and deletions.
pub async fn a_watch_of_all_shows_every_lock(store: Subject) {
    let (one, two) = (name("one"), name("two"));
    let first = done(&store, &one, create("a", 1)).await;
    let (mut watch, listed) = open(&store, Scope::All).await;
    assert_eq!(listed, [(one.clone(), first.clone())]);
    let second = done(&store, &two, create("b", 2)).await;
    assert_eq!(next(&mut watch).await, Sighting::Changed(two.clone(), second));
    store.delete(&one, &first.version).await.expect("deleted");
    assert!(matches!(next(&mut watch).await, Sighting::Gone(gone, _) if gone == one));
    let renewed = done(&store, &two, renew(2, 20, 21)).await;
    assert_eq!(next(&mut watch).await, Sighting::Changed(two, renewed));
}

/// A watch of the sessions shows each of them, and no lock.
pub async fn a_watch_of_the_sessions_shows_no_lock(store: Subject) {
    let (lock, one, two) = (name("one"), session(Term(2)), session(Term(3)));
    done(&store, &lock, create("a", 1)).await;
    let first = done(&store, &one, create("a", 2)).await;
    let (mut watch, listed) = open(&store, Scope::Sessions).await;
    assert_eq!(listed, [(one.clone(), first.clone())]);
    done(&store, &lock, renew(1, 10, 11)).await;
    let second = done(&store, &two, create("b", 3)).await;
    assert_eq!(next(&mut watch).await, Sighting::Changed(two.clone(), second));
    let renewed = done(&store, &two, renew(3, 30, 31)).await;
    assert_eq!(next(&mut watch).await, Sighting::Changed(two, renewed));
    store.delete(&one, &first.version).await.expect("deleted");
    assert!(matches!(next(&mut watch).await, Sighting::Gone(gone, _) if gone == one));
}

/// A watch that nobody polls for a while blocks no writer and loses nothing.
pub async fn a_watch_that_lags_loses_nothing(store: Subject) {
    let lock = name("lagging");
    done(&store, &lock, create("a", 1)).await;
    let (mut watch, _) = open(&store, Scope::Lock(lock.clone())).await;
    let mut expected = Vec::new();
    for beat in 11..111 {
        expected.push(done(&store, &lock, renew(1, beat - 1, beat)).await);
    }
    for snapshot in expected {
        assert_eq!(next(&mut watch).await, Sighting::Changed(lock.clone(), snapshot));
    }
}

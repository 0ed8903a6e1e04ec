//! Which connection makes room when there are too many.
//!
//! Every connection that owes the front a request, or the rest of one, stands here. A newcomer takes the place of the one
//! that has stood longest: first of those that have never sent a whole request, then of those that were served and are
//! idle, and last of those whose last request was a beat. Old clients open a connection for each beat, so a flood of idle
//! connections must not keep them out. Whoever is owed an answer does not stand here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Whose place is taken first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Rank {
    /// It has never sent a whole request.
    #[default]
    Unknown,
    /// It has been answered.
    Served,
    /// Its last request was of a lock's holder.
    Holder,
}

/// All that stand.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<Ranks>);

#[derive(Debug, Default)]
struct Ranks {
    arrivals: u64,
    by_rank: [BTreeMap<u64, Arc<Notify>>; 3],
}

/// One that stands, until dropped.
#[derive(Debug)]
pub(super) struct Stood<'a> {
    standing: &'a Standing,
    rank: Rank,
    id: u64,
}

impl Standing {
    /// Stands; `asked_to_go` is told when its place is taken.
    pub(super) fn stand(&self, rank: Rank, asked_to_go: &Arc<Notify>) -> Stood<'_> {
        let mut ranks = self.ranks();
        ranks.arrivals += 1;
        let id = ranks.arrivals;
        ranks.by_rank[rank as usize].insert(id, Arc::clone(asked_to_go));
        Stood { standing: self, rank, id }
    }

    /// Asks one to go; false when nobody stands.
    pub(super) fn make_room(&self) -> bool {
        let mut ranks = self.ranks();
        let longest = ranks.by_rank.iter_mut().find_map(BTreeMap::pop_first);
        longest.is_some_and(|(_, asked_to_go)| {
            asked_to_go.notify_one();
            true
        })
    }

    fn ranks(&self) -> MutexGuard<'_, Ranks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stood<'_> {
    fn drop(&mut self) {
        self.standing.ranks().by_rank[self.rank as usize].remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn is_asked(one: &Arc<Notify>) -> bool {
        one.notified().now_or_never().is_some()
    }

    #[test]
    fn the_longest_of_the_lowest_rank_goes_first() {
        let standing = Standing::default();
        let ranks = [Rank::Holder, Rank::Served, Rank::Unknown, Rank::Unknown, Rank::Served];
        let all: Vec<_> = ranks.iter().map(|_| Arc::new(Notify::new())).collect();
        let stood: Vec<_> = ranks.iter().zip(&all).map(|(rank, one)| standing.stand(*rank, one)).collect();
        for expected in [2, 3, 1, 4, 0] {
            assert!(standing.make_room());
            let asked: Vec<usize> = (0..all.len()).filter(|at| is_asked(&all[*at])).collect();
            assert_eq!(asked, [expected]);
        }
        assert!(!standing.make_room());
        drop(stood);
    }

    #[test]
    fn whoever_is_owed_an_answer_stays() {
        let standing = Standing::default();
        drop(standing.stand(Rank::Unknown, &Arc::new(Notify::new())));
        assert!(!standing.make_room());
    }
}

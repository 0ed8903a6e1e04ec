//! How many requests may wait for their answer at once, and of which kind.
//!
//! Whoever holds a lock has room of its own: its beats are not refused because others ask for much. Nobody takes all
//! of a room: neither one client's id, nor the beats of one lock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The beats of one lock at once that have room of their own; more compete with all other requests.
const OF_ONE_LOCK: usize = 16;
/// Requests at once whose answers may be large, and how many more may wait to be one of them.
const BULKY: usize = 2;
const BULKY_WAITING: usize = 64;

/// The rooms of a front.
#[derive(Debug)]
pub(super) struct Rooms {
    beats: Room,
    pending: Room,
    long_polls: Room,
    bulky: Semaphore,
    bulky_waiting: Room,
}

/// Places, and who has how many of them.
#[derive(Debug)]
struct Room {
    places: Semaphore,
    /// The most that one may have.
    most: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// Where a request may wait for its answer, until dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    _parts: [Option<Part<'a>>; 2],
    _bulky: Option<SemaphorePermit<'a>>,
}

/// A place in one room.
#[derive(Debug)]
struct Part<'a> {
    room: &'a Room,
    by: String,
    _place: SemaphorePermit<'a>,
}

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    /// Of the holder of this lock.
    pub(super) beat: Option<&'a str>,
    /// By this client.
    pub(super) client: Option<&'a str>,
    /// The client asked to wait.
    pub(super) long: bool,
    /// The answer may be large.
    pub(super) bulky: bool,
}

impl Rooms {
    pub(super) fn new(beats: usize, pending: usize, long_polls: usize) -> Self {
        Self {
            beats: Room::new(beats, OF_ONE_LOCK),
            pending: Room::new(pending, pending - pending / 8),
            long_polls: Room::new(long_polls, long_polls - long_polls / 8),
            bulky: Semaphore::new(BULKY),
            bulky_waiting: Room::new(BULKY_WAITING, BULKY_WAITING - BULKY_WAITING / 8),
        }
    }

    /// A place, or why there is none. Only a request with a large answer waits for it.
    ///
    /// # Cancel safety
    /// Dropping the future takes no place.
    pub(super) async fn place(&self, wish: Wish<'_>) -> Result<Place<'_>, &'static str> {
        if let Some(part) = wish.beat.and_then(|name| self.beats.enter(name)) {
            return Ok(Place { _parts: [Some(part), None], _bulky: None });
        }
        // An id cannot have this character, so that clients without one are nobody else.
        let by = wish.client.unwrap_or("/");
        if wish.bulky {
            let waiting = self.bulky_waiting.enter(by).ok_or("too many large answers are awaited here")?;
            let bulky = self.bulky.acquire().await.expect("this semaphore is never closed");
            return Ok(Place { _parts: [Some(waiting), None], _bulky: Some(bulky) });
        }
        let pending = self.pending.enter(by).ok_or("too many requests are waiting here")?;
        let mut long = None;
        if wish.long {
            long = Some(self.long_polls.enter(by).ok_or("too many requests wait for locks here")?);
        }
        Ok(Place { _parts: [Some(pending), long], _bulky: None })
    }
}

impl Room {
    fn new(places: usize, most: usize) -> Self {
        Self { places: Semaphore::new(places), most: most.max(1), taken: Mutex::default() }
    }

    fn enter(&self, by: &str) -> Option<Part<'_>> {
        let place = self.places.try_acquire().ok()?;
        let mut taken = self.taken();
        match taken.get_mut(by) {
            Some(count) if *count >= self.most => return None,
            Some(count) => *count += 1,
            None => drop(taken.insert(by.to_owned(), 1)),
        }
        Some(Part { room: self, by: by.to_owned(), _place: place })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.room.taken().entry(std::mem::take(&mut self.by)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const ONCE: Wish<'_> = Wish { beat: None, client: None, long: false, bulky: false };

    fn enter<'a>(rooms: &'a Rooms, wish: Wish<'_>) -> Result<Place<'a>, &'static str> {
        rooms.place(wish).now_or_never().expect("at once")
    }

    #[test]
    fn beats_have_room_when_all_other_rooms_are_full() {
        let rooms = Rooms::new(32, 8, 4);
        let clients = ["a", "b"];
        let others: Vec<_> = (0..8).map(|at| enter(&rooms, Wish { client: Some(clients[at % 2]), ..ONCE })).collect();
        assert!(others.iter().all(Result::is_ok) && enter(&rooms, ONCE).is_err());
        let beat = Wish { beat: Some("x"), ..ONCE };
        let beats: Vec<_> = (0..OF_ONE_LOCK).map(|_| enter(&rooms, beat)).collect();
        assert!(beats.iter().all(Result::is_ok));
        assert!(enter(&rooms, beat).is_err(), "one lock's beats do not take it all");
        assert!(enter(&rooms, Wish { beat: Some("y"), long: true, ..ONCE }).is_ok());
    }

    #[test]
    fn one_client_leaves_room_for_others() {
        let rooms = Rooms::new(16, 16, 8);
        for (long, most) in [(false, 14), (true, 7)] {
            let wish = Wish { client: Some("greedy"), long, ..ONCE };
            let places: Vec<_> = (0..16).map_while(|_| enter(&rooms, wish).ok()).collect();
            assert_eq!(places.len(), most);
            assert!(enter(&rooms, Wish { long, ..ONCE }).is_ok());
            drop(places);
            assert!(rooms.pending.taken().is_empty() && rooms.long_polls.taken().is_empty());
        }
    }

    #[test]
    fn large_answers_are_made_one_after_another() {
        let rooms = Rooms::new(1, 8, 4);
        let wish = Wish { bulky: true, ..ONCE };
        let places = [enter(&rooms, wish).unwrap(), enter(&rooms, wish).unwrap()];
        assert!(rooms.place(wish).now_or_never().is_none(), "it waits");
        let others: Vec<_> = (0..7).map(|_| enter(&rooms, ONCE)).collect();
        assert!(others.iter().all(Result::is_ok), "and takes no room of others");
        drop(places);
        assert!(enter(&rooms, wish).is_ok());
    }
}

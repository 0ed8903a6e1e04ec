//! An acquired lock on its way to whoever awaits it: collected by its future or withdrawn by the driver, never both.
//!
//! A future that is not polled any more cannot say so. The driver therefore needs to learn that a lock was collected, and
//! to take back one that was not, while the future may be polled at that very moment on another thread. A shared word
//! decides; the driver looks at it before each step, so that an acquisition costs no message more.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::clock::Moment;

/// Neither collected nor withdrawn.
const OPEN: u64 = 0;
/// The same; the driver waits for its collection.
const URGENT: u64 = 1;
/// This and all up to the next: collected, at this moment.
const COLLECTED: u64 = 2;
/// This and all above: withdrawn, at the moment that the other bits tell.
const WITHDRAWN: u64 = 1 << 63;

/// Gives up what a future has besides, when it turns out that it is not polled.
pub(crate) type Forfeit = Box<dyn Fn() + Send + Sync>;

/// The word between an acquisition and its driver.
#[derive(Default)]
pub(super) struct Offer {
    word: AtomicU64,
    forfeit: Option<Forfeit>,
}

/// The lock was collected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Collected {
    /// The driver is to be told at once.
    pub(super) urgent: bool,
}

// === impl Offer ===

impl Offer {
    /// Makes an offer; to withdraw it costs its future something else as well.
    pub(super) fn new(forfeit: Option<Forfeit>) -> Self {
        Self { word: AtomicU64::new(OPEN), forfeit }
    }

    /// Takes the lock, for the one who awaited it; `None` if it was withdrawn.
    pub(super) fn collect(&self, now: Moment) -> Option<Collected> {
        let at = now.as_nanos().clamp(COLLECTED, WITHDRAWN - 1);
        let open = |word| (word == OPEN || word == URGENT).then_some(at);
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, open).ok()?;
        Some(Collected { urgent: before == URGENT })
    }

    /// Returns when it was collected, if it was.
    pub(super) fn collected(&self) -> Option<Moment> {
        let word = self.word.load(Ordering::Acquire);
        (COLLECTED..WITHDRAWN).contains(&word).then_some(Moment::from_nanos(word))
    }

    /// Returns when it was withdrawn, if it was.
    pub(super) fn withdrawn(&self) -> Option<Moment> {
        let word = self.word.load(Ordering::Acquire);
        word.checked_sub(WITHDRAWN).map(Moment::from_nanos)
    }

    /// Takes the lock back, for the driver; says whether it was not collected.
    pub(super) fn withdraw(&self, now: Moment) -> bool {
        let withdrawn = self.leave(WITHDRAWN | now.as_nanos());
        if let Some(forfeit) = self.forfeit.as_ref().filter(|_| withdrawn) {
            forfeit();
        }
        withdrawn
    }

    /// Asks to be told of the collection; says whether it is still to come.
    pub(super) fn urge(&self) -> bool {
        self.leave(URGENT)
    }

    fn leave(&self, mark: u64) -> bool {
        let open = |word| (word < COLLECTED).then_some(mark);
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, open).is_ok()
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("word", &self.word).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    #[test]
    fn what_is_collected_cannot_be_withdrawn_and_tells_since_when() {
        for early in [0, 77] {
            let offer = Offer::default();
            assert_eq!(offer.collected(), None);
            assert_eq!(offer.collect(at(early)), Some(Collected { urgent: false }));
            assert!(!offer.withdraw(at(88)) && !offer.urge());
            assert_eq!(offer.withdrawn(), None);
            assert!(offer.collected().is_some_and(|since| since >= at(early)));
            assert_eq!(offer.collect(at(99)), None, "only once");
        }
    }

    #[test]
    fn what_is_withdrawn_cannot_be_collected_and_tells_since_when() {
        for early in [0, 77] {
            let offer = Offer::default();
            assert_eq!(offer.withdrawn(), None);
            assert!(offer.urge() && offer.withdraw(at(early)));
            assert_eq!(offer.collect(at(99)), None);
            assert!(!offer.withdraw(at(99)) && !offer.urge(), "only once");
            assert_eq!((offer.collected(), offer.withdrawn()), (None, Some(at(early))));
        }
    }

    #[test]
    fn whoever_collects_what_is_waited_for_is_told_to_say_so() {
        let offer = Offer::default();
        assert!(offer.urge() && offer.urge());
        assert_eq!(offer.collect(at(77)), Some(Collected { urgent: true }));
    }
}

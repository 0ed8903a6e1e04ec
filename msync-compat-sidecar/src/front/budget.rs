//! One budget of bytes for what clients make the front keep: parts of requests, and answers that are not taken.
//!
//! The first [`OWN`] bytes of each are a connection's own, bounded by the number of connections, so that beats and
//! other usual requests never wait for memory. What is more is taken from the budget; what is over it waits for half
//! of the time that it has to arrive, and is refused then.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What every connection may keep without asking.
pub(super) const OWN: usize = 1024;
/// The unit of the budget.
const UNIT: usize = 1024;

/// The bytes that all connections share. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    most: usize,
}

/// A part of the budget, given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let most = bytes / UNIT;
        Self { units: Arc::new(Semaphore::new(most)), most }
    }

    /// A share for so many bytes.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing.
    pub(super) async fn share(&self, bytes: usize) -> Option<Share> {
        let mut share = Share::default();
        self.grow(&mut share, bytes).await.then_some(share)
    }

    /// Makes a share reach for so many bytes; false when there are never as many.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the share as it was.
    pub(super) async fn grow(&self, share: &mut Share, bytes: usize) -> bool {
        let Some(missing) = self.missing(share, bytes) else { return false };
        if missing > 0 {
            let more = Arc::clone(&self.units).acquire_many_owned(missing).await;
            share.add(more.expect("this semaphore is never closed"));
        }
        true
    }

    /// As [`Budget::grow`], but false when it would have to wait.
    pub(super) fn try_grow(&self, share: &mut Share, bytes: usize) -> bool {
        let Some(missing) = self.missing(share, bytes) else { return false };
        match Arc::clone(&self.units).try_acquire_many_owned(missing) {
            Ok(more) => share.add(more),
            Err(_) => return false,
        }
        true
    }

    /// The units that are missing; `None` when there are never as many.
    fn missing(&self, share: &Share, bytes: usize) -> Option<u32> {
        let wanted = Some(units(bytes)).filter(|wanted| *wanted <= self.most)?;
        u32::try_from(wanted.saturating_sub(share.units())).ok()
    }
}

impl Share {
    /// Gives back what is more than so many bytes need.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let spare = self.units().saturating_sub(units(bytes));
        drop(self.0.as_mut().and_then(|permit| permit.split(spare)));
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.0 {
            Some(permit) => permit.merge(more),
            permit => *permit = Some(more),
        }
    }

    fn units(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

fn units(bytes: usize) -> usize {
    bytes.saturating_sub(OWN).div_ceil(UNIT)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn small_things_cost_nothing_and_large_ones_wait_for_each_other() {
        let budget = Budget::new(64 * 1024);
        let mut first = budget.share(48 * 1024).now_or_never().unwrap().unwrap();
        assert!(budget.share(OWN).now_or_never().is_some());
        assert!(budget.share(32 * 1024).now_or_never().is_none(), "it waits");
        first.shrink(16 * 1024);
        assert!(budget.share(32 * 1024).now_or_never().is_some());
        assert!(budget.grow(&mut first, 64 * 1024).now_or_never().unwrap());
        assert!(budget.share(3 * 1024).now_or_never().is_none());
        let mut other = Share::default();
        assert!(!budget.try_grow(&mut other, 3 * 1024) && budget.try_grow(&mut other, 1024));
        drop(first);
        assert_eq!(budget.units.available_permits(), 64);
        assert!(budget.share(66 * 1024).now_or_never().unwrap().is_none(), "never");
    }
}

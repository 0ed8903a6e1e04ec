//! Choices that can be repeated from their seed.

use std::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood 2014): small, and repeatable from its seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

// === impl Dice ===

impl Dice {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound.
    ///
    /// # Panics
    ///
    /// When the bound is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// A time from `least` to just below `below`, in milliseconds.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn millis(&mut self, least: u64, below: u64) -> Duration {
        Duration::from_millis(least + self.below(below - least))
    }

    /// One of some things.
    ///
    /// # Panics
    ///
    /// When there are none.
    pub fn pick<'t, T>(&mut self, things: &'t [T]) -> &'t T {
        let which = self.below(things.len() as u64);
        &things[usize::try_from(which).unwrap_or_default()]
    }

    /// Puts things into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or_default();
            things.swap(last, other);
        }
    }
}

/// A number that the environment sets.
pub fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

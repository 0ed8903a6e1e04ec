//! What a client has seen of a lock, as it tells it when it waits for a change.

use std::fmt;

/// A state of a lock, as one run of one sidecar has counted it.
///
/// It is not the version of the record: that changes with every renewal, and not when the lock passes from one client of
/// this sidecar to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Which run.
    pub run: u32,
    /// Which state.
    pub number: u64,
}

impl Version {
    pub(super) fn read(text: &str) -> Option<Self> {
        let (run, number) = text.split_once('-')?;
        let is_run = run.len() == 8 && run.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_number = (1..=19).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_run || !is_number {
            return None;
        }
        Some(Self { run: u32::from_str_radix(run, 16).ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}-{}", self.run, self.number)
    }
}

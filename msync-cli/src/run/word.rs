//! The word that `msync` keeps to its warden: until when the hold lasts.
//!
//! A few bytes in memory that one process writes and the other reads whenever it is about to act. A message per renewal
//! would wake the warden for nothing, and a message that is not sent, because its sender stands still, says nothing.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::FileExt},
};

use msync::clock::Moment;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// The writer's side.
#[derive(Debug)]
pub(super) struct Word {
    memory: File,
}

/// The reader's side.
#[derive(Debug)]
pub(super) struct Reading {
    memory: File,
}

// === impl Word ===

impl Word {
    pub(super) fn new(until: Moment) -> io::Result<Self> {
        let memory = File::from(memfd_create(c"msync-word", MFdFlags::MFD_CLOEXEC)?);
        let word = Self { memory };
        word.write(until)?;
        Ok(word)
    }

    pub(super) fn write(&self, until: Moment) -> io::Result<()> {
        let once = until.as_nanos().to_ne_bytes();
        self.memory.write_all_at(&[once, once].concat(), 0)
    }

    /// Where a child of this process finds it. Nothing is inherited by it, let alone by the command.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.memory.as_raw_fd())
    }
}

// === impl Reading ===

impl Reading {
    pub(super) fn open(path: &str) -> io::Result<Self> {
        Ok(Self { memory: File::open(path)? })
    }

    /// Reads the word; it was written twice, so that one which is just being written is not half believed.
    pub(super) fn read(&self) -> io::Result<Moment> {
        loop {
            let mut bytes = [0; 16];
            self.memory.read_exact_at(&mut bytes, 0)?;
            let (first, second) = bytes.split_at(8);
            if first == second {
                let nanos = first.try_into().expect("it was split at 8");
                return Ok(Moment::from_nanos(u64::from_ne_bytes(nanos)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_last_is_read() {
        let word = Word::new(Moment::from_nanos(7)).unwrap();
        let reading = Reading::open(&word.path()).unwrap();
        assert_eq!(reading.read().unwrap(), Moment::from_nanos(7));
        word.write(Moment::from_nanos(u64::MAX - 1)).unwrap();
        assert_eq!(reading.read().unwrap(), Moment::from_nanos(u64::MAX - 1));
    }
}

//! What a contender notes, and when it reads the clock for it.

use std::{fs::File, io::Write, path::Path, time::Duration};

use anyhow::{Context, Result};
use msync::{
    Error, Leadership, LockGuard,
    clock::{BootClock, Clock, Moment},
};

/// What locks and elections give to their holder.
pub trait Guard {
    /// Its fencing token.
    fn token(&self) -> u64;

    /// Whether it is held.
    ///
    /// # Errors
    ///
    /// When it is lost.
    fn check(&self) -> Result<(), Error>;

    /// For how long it is safe without a renewal.
    fn remaining(&self) -> Duration;
}

/// Notes what one contender sees of one lock.
#[derive(Debug)]
pub struct Pen {
    file: File,
}

// === impl Guard ===

impl Guard for LockGuard {
    fn token(&self) -> u64 {
        self.token().get()
    }

    fn check(&self) -> Result<(), Error> {
        self.check()
    }

    fn remaining(&self) -> Duration {
        self.remaining()
    }
}

impl Guard for Leadership {
    fn token(&self) -> u64 {
        self.token().get()
    }

    fn check(&self) -> Result<(), Error> {
        self.check()
    }

    fn remaining(&self) -> Duration {
        self.remaining()
    }
}

// === impl Pen ===

impl Pen {
    /// Begins a contender's file, or goes on with it.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Self { file: file.with_context(|| format!("open {}", path.display()))? })
    }

    /// To be called before every acquisition.
    ///
    /// # Errors
    ///
    /// When the note cannot be written.
    pub fn wants(&mut self) -> Result<()> {
        self.note(BootClock.now(), "wants")
    }

    /// To be called after an acquisition that gave nothing.
    ///
    /// # Errors
    ///
    /// When the note cannot be written.
    pub fn gave_up(&mut self) -> Result<()> {
        self.note(BootClock.now(), "gave-up")
    }

    /// Checks the guard and notes what it says; `false` when it is lost, and then nothing more may be noted of it.
    ///
    /// # Errors
    ///
    /// When the note cannot be written.
    pub fn holds(&mut self, guard: &impl Guard) -> Result<bool> {
        // Before the check: at this moment it was held for sure if it is so later, and what remains later ends later.
        let before = BootClock.now();
        let (checked, remaining) = (guard.check(), guard.remaining());
        match checked {
            Ok(()) => {
                let until = (before + remaining).as_nanos();
                self.note(before, &format!("holds {} {until}", guard.token()))?;
                Ok(true)
            }
            Err(error) => {
                let reason = match error {
                    Error::Lost { reason, .. } => format!("{reason:?}"),
                    _ => "not-by-a-loss".to_owned(),
                };
                // After the check: at the time before it, the lock may have been held still.
                self.note(BootClock.now(), &format!("lost {} {reason}", guard.token()))?;
                Ok(false)
            }
        }
    }

    /// To be called before a guard is released or dropped.
    ///
    /// # Errors
    ///
    /// When the note cannot be written.
    pub fn releases(&mut self, guard: &impl Guard) -> Result<()> {
        self.note(BootClock.now(), &format!("releases {}", guard.token()))
    }

    /// One write: a kill leaves whole lines.
    fn note(&mut self, at: Moment, what: &str) -> Result<()> {
        self.file.write_all(format!("{} {what}\n", at.as_nanos()).as_bytes()).context("note it")
    }
}

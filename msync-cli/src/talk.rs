//! What is said on standard error: lines that stay, and on a terminal one line that is written over again and again.

use std::io::{IsTerminal, Write, stderr};

/// What a terminal has that does not say.
const USUAL_WIDTH: usize = 80;

/// Standard error, as far as people read it.
#[derive(Debug)]
pub(crate) struct Talk {
    quiet: bool,
    terminal: bool,
    /// What the line that is written over says now; empty when there is none.
    shown: String,
}

// === impl Talk ===

impl Talk {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, terminal: stderr().is_terminal(), shown: String::new() }
    }

    /// Says whether one line can be written over again and again.
    pub(crate) fn is_live(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// Says a line that stays.
    pub(crate) fn say(&mut self, line: &str) {
        if !self.quiet {
            self.clear();
            let _ = writeln!(stderr(), "msync: {line}");
        }
    }

    /// Says something that no `--quiet` hides.
    pub(crate) fn warn(&mut self, line: &str) {
        self.clear();
        let _ = writeln!(stderr(), "msync: {line}");
    }

    /// Writes the one line anew: as much of it as fits.
    pub(crate) fn show(&mut self, line: &str) {
        let line = fitted(&format!("msync: {line}"), width(&stderr()));
        if self.is_live() && line != self.shown {
            let _ = write!(stderr(), "\r{line}\x1b[K");
            let _ = stderr().flush();
            self.shown = line;
        }
    }

    /// Takes the one line away.
    pub(crate) fn clear(&mut self) {
        if !self.shown.is_empty() {
            self.shown.clear();
            let _ = write!(stderr(), "\r\x1b[K");
            let _ = stderr().flush();
        }
    }
}

/// How many columns a terminal has; the usual number for what is none.
pub(crate) fn width(output: &impl std::os::fd::AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(output).ok().map(|size| usize::from(size.ws_col));
    size.filter(|columns| *columns > 0).unwrap_or(USUAL_WIDTH)
}

/// A line that were broken by the terminal could not be written over: what is too much is cut off. The last column stays
/// empty, where some terminals break already.
fn fitted(line: &str, width: usize) -> String {
    let room = width.saturating_sub(1);
    if line.chars().count() <= room {
        return line.to_owned();
    }
    let kept: String = line.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_the_terminal() {
        assert_eq!(fitted("msync: waiting", 80), "msync: waiting");
        assert_eq!(fitted("msync: waiting", 15), "msync: waiting");
        assert_eq!(fitted("msync: waiting", 14), "msync: waiti…");
        assert_eq!(fitted("wäiting", 5), "wäi…");
        assert_eq!(fitted("waiting", 0), "…");
    }
}

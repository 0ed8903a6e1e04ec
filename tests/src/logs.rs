//! What is logged, for tests about what people are told.
#![allow(clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::{DefaultGuard, set_default},
};

/// The lines of level info and above that this thread logs, from [`Logs::capture`] on and for as long as this lives.
pub struct Logs {
    lines: Arc<Mutex<Vec<(Level, String)>>>,
    _default: DefaultGuard,
}

// === impl Logs ===

impl Logs {
    /// Begins to capture what this thread logs: all of a test with a current-thread runtime.
    pub fn capture() -> Self {
        let lines = Arc::new(Mutex::default());
        let default = set_default(Capture(Arc::clone(&lines)));
        Self { lines, _default: default }
    }

    /// Returns every line so far: its message, then its fields.
    pub fn lines(&self) -> Vec<String> {
        self.taken(|_| true)
    }

    /// Returns how many warnings there were.
    pub fn warnings(&self) -> usize {
        self.taken(|level| level == Level::WARN).len()
    }

    /// Returns how many errors there were.
    pub fn errors(&self) -> usize {
        self.taken(|level| level == Level::ERROR).len()
    }

    fn taken(&self, wanted: impl Fn(Level) -> bool) -> Vec<String> {
        let lines = self.lines.lock().expect("no test has panicked inside");
        lines.iter().filter(|(level, _)| wanted(*level)).map(|(_, line)| line.clone()).collect()
    }
}

struct Capture(Arc<Mutex<Vec<(Level, String)>>>);

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields);
        self.0.lock().expect("no test has panicked inside").push((*event.metadata().level(), text));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

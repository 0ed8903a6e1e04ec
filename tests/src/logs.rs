//! What is logged, for tests about what people are told.
#![allow(clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::{
    fmt::{self, Write},
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    thread::{self, ThreadId},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::{DefaultGuard, set_default, set_global_default},
};

/// What is logged, from [`Logs::capture`] on and for as long as that lives.
pub struct Logs {
    lines: Arc<Mutex<Vec<(Level, String)>>>,
    spans: Arc<Mutex<Vec<Seen>>>,
}

/// A span.
#[derive(Default)]
struct Seen {
    name: String,
    fields: String,
    /// What was logged while it was the innermost that was entered, and that it was.
    inside: Vec<String>,
}

/// What one thread logs, for as long as this lives.
pub struct Captured {
    logs: Logs,
    _default: DefaultGuard,
}

impl Deref for Captured {
    type Target = Logs;

    fn deref(&self) -> &Logs {
        &self.logs
    }
}

// === impl Logs ===

impl Logs {
    /// Begins to capture what this thread logs at level info and above: all of a test with a current-thread runtime.
    pub fn capture() -> Captured {
        Self::down_to(Level::INFO)
    }

    /// Begins to capture what msync's parts log on this thread at level debug and above, and their spans.
    pub fn capture_all() -> Captured {
        Self::down_to(Level::DEBUG)
    }

    /// Captures what all threads log that capture nothing of their own, msync's among them, at level info and above: from the
    /// first time on, for the whole program.
    pub fn everywhere() -> &'static Self {
        static EVERYWHERE: OnceLock<Logs> = OnceLock::new();
        EVERYWHERE.get_or_init(|| {
            let (logs, capture) = Self::new(Level::INFO);
            set_global_default(capture).expect("nobody else captures everything");
            logs
        })
    }

    fn down_to(level: Level) -> Captured {
        let (logs, capture) = Self::new(level);
        Captured { logs, _default: set_default(capture) }
    }

    fn new(level: Level) -> (Self, Capture) {
        let (lines, spans) = (Arc::default(), Arc::default());
        let entered = Mutex::default();
        let capture = Capture { level, lines: Arc::clone(&lines), spans: Arc::clone(&spans), entered };
        (Self { lines, spans }, capture)
    }

    /// Returns every span so far: its name, then its fields.
    pub fn spans(&self) -> Vec<String> {
        let spans = self.spans.lock().expect("no test has panicked inside");
        spans.iter().map(|span| format!("{}{}", span.name, span.fields)).collect()
    }

    /// Returns what was logged within each span of a name: `entered` each time that it was, and the lines of which it was the
    /// innermost.
    pub fn inside(&self, name: &str) -> Vec<Vec<String>> {
        let spans = self.spans.lock().expect("no test has panicked inside");
        spans.iter().filter(|span| span.name == name).map(|span| span.inside.clone()).collect()
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

struct Capture {
    level: Level,
    lines: Arc<Mutex<Vec<(Level, String)>>>,
    spans: Arc<Mutex<Vec<Seen>>>,
    /// Those that each thread is in, the innermost last.
    entered: Mutex<Vec<(ThreadId, usize)>>,
}

// === impl Capture ===

impl Capture {
    fn note(&self, at: usize, text: &str) {
        self.spans.lock().expect("no test has panicked inside")[at].inside.push(text.to_owned());
    }

    fn entered(&self) -> MutexGuard<'_, Vec<(ThreadId, usize)>> {
        self.entered.lock().expect("no test has panicked inside")
    }
}

fn index(id: &span::Id) -> usize {
    usize::try_from(id.into_u64()).expect("few spans") - 1
}

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target().starts_with("msync")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut line = Line { message: attributes.metadata().name().to_owned(), fields: String::new() };
        attributes.record(&mut line);
        let mut spans = self.spans.lock().expect("no test has panicked inside");
        spans.push(Seen { name: line.message, fields: line.fields, inside: Vec::new() });
        span::Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &span::Id, values: &span::Record<'_>) {
        let mut line = Line::default();
        values.record(&mut line);
        self.spans.lock().expect("no test has panicked inside")[index(id)].fields.push_str(&line.fields);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields);
        let here = thread::current().id();
        let innermost = self.entered().iter().rev().find(|(thread, _)| *thread == here).map(|(_, at)| *at);
        if let Some(at) = innermost {
            self.note(at, &text);
        }
        self.lines.lock().expect("no test has panicked inside").push((*event.metadata().level(), text));
    }

    fn enter(&self, id: &span::Id) {
        self.note(index(id), "entered");
        self.entered().push((thread::current().id(), index(id)));
    }

    fn exit(&self, id: &span::Id) {
        let mut entered = self.entered();
        let left = (thread::current().id(), index(id));
        if let Some(at) = entered.iter().rposition(|entered| *entered == left) {
            entered.remove(at);
        }
    }
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

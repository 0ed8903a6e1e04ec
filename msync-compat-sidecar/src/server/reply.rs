//! The answer that a request is owed, written to `tiny_http`'s side of a private socket.
#![allow(clippy::disallowed_methods, reason = "measures how long answers take, and judges no lock")]

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use tiny_http::{HTTPVersion, Header, Response};

use super::Locks;
use crate::api::Answer;
use crate::metrics::Answered;

/// A body up to this fits into a socket's buffer, whatever the kernel's settings.
const SMALL: usize = 64 * 1024;

/// The answer that a request is owed; dropped without one, by a panic, it says so.
pub(super) struct Reply<L: Locks> {
    writer: Option<Box<dyn Write + Send>>,
    locks: Arc<L>,
    method: &'static str,
    wait: bool,
    begun: Instant,
}

impl<L: Locks> Reply<L> {
    pub(super) fn new(writer: Box<dyn Write + Send>, locks: Arc<L>, method: &'static str, wait: bool) -> Self {
        Self { writer: Some(writer), locks, method, wait, begun: Instant::now() }
    }

    pub(super) fn send(mut self, answer: Answer) {
        self.respond(answer);
    }

    /// A large answer may have to wait for the front, which must not wait for this thread then.
    pub(super) fn send_from_task(self, answer: Answer) {
        if answer.body.len() <= SMALL {
            self.send(answer);
        } else {
            drop(tokio::task::spawn_blocking(move || self.send(answer)));
        }
    }

    /// Nobody is there any more to hear it.
    pub(super) fn withdraw(mut self) {
        self.writer = None;
    }

    fn respond(&mut self, answer: Answer) {
        let Some(writer) = self.writer.take() else { return };
        let answered = Answered { method: self.method, wait: self.wait, status: answer.status };
        respond(writer, answer);
        self.locks.answered(&answered, self.begun.elapsed());
    }
}

impl<L: Locks> Drop for Reply<L> {
    fn drop(&mut self) {
        self.respond(Answer::message(500, "this request met a defect of the sidecar"));
    }
}

fn respond(mut writer: Box<dyn Write + Send>, answer: Answer) {
    // The front reads answers by their length, however long.
    let response = Response::from_data(answer.body).with_status_code(answer.status);
    let mut response = response.with_chunked_threshold(usize::MAX);
    let kind = ("Content-Type", answer.kind.media_type().to_owned());
    for (name, value) in answer.fields.into_iter().chain([kind]) {
        response.add_header(Header::from_bytes(name, value).expect("our own fields are ASCII"));
    }
    let written = response.raw_print(&mut writer, HTTPVersion(1, 1), &[], false, None).and_then(|()| writer.flush());
    if let Err(error) = written {
        tracing::debug!(%error, "the front hung up");
    }
}

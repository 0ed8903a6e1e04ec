//! The bytes of an answer: status line, fields and body in one buffer, so that they leave in one write unless the body is large.
//!
//! Every body is a JSON object or nothing: Java's client takes any other body for a failed request and repeats it
//! without a pause (contract, section 5).

use crate::api::{Answer, Kind};
use crate::clock;

use super::refusal::Refusal;

/// The page loads nothing but what it asks this sidecar for, and is shown inside no other page.
const POLICY: &str = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src 'self'; img-src data:; frame-ancestors 'none'\r\nCache-Control: no-store\r\n";

/// How a stream of events begins; it ends with its connection, and a client that lives comes again a second later.
pub(super) const EVENTS: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
     Connection: close\r\n\r\nretry: 1000\n\n";

/// One event; the body of an answer has no line breaks.
pub(super) fn event(answer: &Answer) -> Vec<u8> {
    format!("data: {}\n\n", answer.body).into_bytes()
}

/// What the rest of the exchange asks of an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// The connection ends with this answer.
    pub(super) close: bool,
    /// The request was HEAD: the length of the body without the body.
    pub(super) head_only: bool,
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::message(refusal.status, refusal.message)
    }
}

/// An answer up to this long is one write with its head.
const TOGETHER: usize = 16 * 1024;

/// The answer as it goes over the wire: its head, with the body if that is short, and the body if it is not.
pub(super) fn parts(answer: Answer, manner: Manner) -> [Vec<u8>; 2] {
    if manner.head_only || answer.body.len() <= TOGETHER {
        return [bytes(&answer, manner), Vec::new()];
    }
    let head = bytes_of_head(&answer, manner);
    [head, answer.body.into_bytes()]
}

/// The answer as it goes over the wire.
pub(super) fn bytes(answer: &Answer, manner: Manner) -> Vec<u8> {
    let mut bytes = bytes_of_head(answer, manner);
    if !manner.head_only {
        bytes.reserve_exact(answer.body.len());
        bytes.extend_from_slice(answer.body.as_bytes());
    }
    bytes
}

fn bytes_of_head(answer: &Answer, manner: Manner) -> Vec<u8> {
    let mut text = format!(
        "HTTP/1.1 {} {}\r\nDate: {}\r\n",
        answer.status,
        reason(answer.status),
        clock::wall().strftime("%a, %d %b %Y %H:%M:%S GMT"),
    );
    // RFC 9110 8.6: where there can be no body, there is no length.
    if answer.status != 204 {
        text += "Content-Length: ";
        text += &answer.body.len().to_string();
        text += "\r\n";
    }
    if !answer.body.is_empty() {
        text += "Content-Type: ";
        text += answer.kind.media_type();
        text += "\r\n";
    }
    if answer.kind == Kind::Html {
        text += POLICY;
    }
    for (name, value) in &answer.fields {
        text += name;
        text += ": ";
        text += value;
        text += "\r\n";
    }
    text += if manner.close { "Connection: close\r\n\r\n" } else { "Connection: keep-alive\r\n\r\n" };
    text.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_body_are_one_buffer_with_a_length_in_bytes() {
        let answer = Answer::message(404, "Unknown path: /\u{e9}");
        let text = String::from_utf8(bytes(&answer, Manner::default())).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\nDate: "), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["message"], "Unknown path: /\u{e9}");
    }

    #[test]
    fn head_keeps_the_length_and_drops_the_body() {
        let answer = Answer::message(404, "Not found.");
        let text = String::from_utf8(bytes(&answer, Manner { close: true, head_only: true })).unwrap();
        assert!(text.ends_with("Connection: close\r\n\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 24\r\n"), "{text}");
    }
}

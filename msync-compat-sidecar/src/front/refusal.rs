//! A refusal by the front itself, before the API has seen the request.

/// Why the front answers a request itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The HTTP status of the answer.
    pub(super) status: u16,
    /// What the client is told, in the JSON body.
    pub(super) message: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: u16, message: &'static str) -> Self {
        Self { status, message }
    }

    pub(super) const fn bad(message: &'static str) -> Self {
        Self::new(400, message)
    }
}

//! The chunked body of a request, decoded as it arrives.
//!
//! Pure: bytes in, bytes out. It bounds the decoded size and the framing around it, and never looks past the end of
//! the body, where the next request of the connection begins.

use super::refusal::Refusal;

/// Longest line of a chunk's size with its extensions.
const MAX_SIZE_LINE: usize = 256;
/// Trailer fields altogether; they are skipped.
const MAX_TRAILER: usize = 4 * 1024;

/// Decodes one body.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    limit: usize,
    trailer: usize,
    size: usize,
    keep: bool,
    body: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Size,
    Data(usize),
    DataEnd,
    Trailer,
    Done,
}

impl Chunked {
    /// Starts a body that may hold `limit` bytes once decoded; they are dropped as they come unless `keep` says otherwise.
    pub(super) fn new(limit: usize, keep: bool) -> Self {
        Self { state: State::Size, limit, trailer: 0, size: 0, keep, body: Vec::new() }
    }

    /// The whole body, once [`Chunked::feed`] said that it is complete.
    pub(super) fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// How much of the body is kept so far.
    pub(super) fn kept(&self) -> usize {
        self.body.len()
    }

    /// Takes what it can from the front of `bytes`: how much that was, and whether the body is complete.
    ///
    /// # Errors
    /// 400 when the framing is broken, 413 when the body is too large.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut used = 0;
        while !matches!(self.state, State::Done) {
            let taken = self.step(&bytes[used..])?;
            if taken == 0 {
                return Ok((used, false));
            }
            used += taken;
        }
        Ok((used, true))
    }

    fn step(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        match self.state {
            State::Size => self.size(bytes),
            State::Data(left) => Ok(self.data(bytes, left)),
            State::DataEnd => self.data_end(bytes),
            State::Trailer => self.trailer(bytes),
            State::Done => Ok(0),
        }
    }

    fn size(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let Some(line) = line(bytes, MAX_SIZE_LINE)? else { return Ok(0) };
        if !bytes[0].is_ascii_hexdigit() {
            return Err(BROKEN);
        }
        let Ok(httparse::Status::Complete((used, size))) = httparse::parse_chunk_size(&bytes[..line]) else {
            return Err(BROKEN);
        };
        let room = (self.limit - self.size) as u64;
        if size > room {
            return Err(Refusal::new(413, "the body is too large"));
        }
        let size = usize::try_from(size).map_err(|_| BROKEN)?;
        self.state = if size == 0 { State::Trailer } else { State::Data(size) };
        Ok(used)
    }

    fn data(&mut self, bytes: &[u8], left: usize) -> usize {
        let taken = left.min(bytes.len());
        self.size += taken;
        if self.keep {
            self.body.extend_from_slice(&bytes[..taken]);
        }
        self.state = if taken == left { State::DataEnd } else { State::Data(left - taken) };
        taken
    }

    fn data_end(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        match bytes {
            [] | [b'\r'] => Ok(0),
            [b'\r', b'\n', ..] => {
                self.state = State::Size;
                Ok(2)
            }
            _ => Err(BROKEN),
        }
    }

    fn trailer(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let Some(used) = line(bytes, MAX_TRAILER)? else { return Ok(0) };
        self.trailer += used;
        if self.trailer > MAX_TRAILER {
            return Err(Refusal::new(431, "the trailer is too large"));
        }
        if used == 2 {
            self.state = State::Done;
        }
        Ok(used)
    }
}

const BROKEN: Refusal = Refusal::new(400, "broken chunked body");

/// The length of the first line with its CRLF, or `None` while that has not arrived.
fn line(bytes: &[u8], limit: usize) -> Result<Option<usize>, Refusal> {
    match bytes.iter().take(limit).position(|byte| *byte == b'\n') {
        Some(at) if at > 0 && bytes[at - 1] == b'\r' => Ok(Some(at + 1)),
        Some(_) => Err(BROKEN),
        None if bytes.len() >= limit => Err(BROKEN),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<(usize, bool, Vec<u8>), Refusal> {
        let mut chunked = Chunked::new(16, true);
        let (used, done) = chunked.feed(bytes)?;
        Ok((used, done, chunked.into_body()))
    }

    #[test]
    fn chunks_extensions_and_trailers_are_read_up_to_the_next_request() {
        let bytes = b"3;a=b\r\nabc\r\n0002 \r\nde\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.1\r\n";
        let (used, done, body) = whole(bytes).unwrap();
        assert_eq!((done, body.as_slice()), (true, b"abcde".as_slice()));
        assert!(bytes[used..].starts_with(b"GET /"));
    }

    #[test]
    fn every_split_gives_the_same_body() {
        let bytes = b"3\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n";
        for split in 0..bytes.len() {
            let mut chunked = Chunked::new(16, true);
            let (used, done) = chunked.feed(&bytes[..split]).unwrap();
            assert!(!done);
            assert_eq!(chunked.feed(&bytes[used..]).unwrap(), (bytes.len() - used, true));
            assert_eq!(chunked.into_body(), b"abcde");
        }
    }

    #[test]
    fn broken_framing_is_refused() {
        for bytes in [
            b"\r\n".as_slice(),
            b"x\r\n",
            b"-1\r\n",
            b"3\nabc\r\n",
            b"3\r\nabcd\r\n",
            b";ext\r\n",
            b"fffffffffffffffff\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"0\r\nT: 1\n\r\n",
        ] {
            assert_eq!(whole(bytes).unwrap_err().status, 400, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(whole(&[b'1'; 300]).unwrap_err().status, 400);
    }

    #[test]
    fn a_body_that_nobody_wants_is_read_to_its_end_and_dropped() {
        let mut chunked = Chunked::new(16, false);
        assert_eq!(chunked.feed(b"3\r\nabc\r\n0\r\n\r\nG").unwrap(), (13, true));
        assert_eq!(chunked.into_body(), b"");
        assert_eq!(Chunked::new(4, false).feed(b"3\r\nabc\r\n2\r\n").unwrap_err().status, 413);
    }

    #[test]
    fn size_and_trailer_are_bounded() {
        assert_eq!(whole(b"11\r\n").unwrap_err().status, 413);
        assert_eq!(whole(b"10\r\n0123456789abcdef\r\n1\r\n").unwrap_err().status, 413);
        let many: Vec<u8> = [b"0\r\n".to_vec(), b"T: 1\r\n".repeat(1000)].concat();
        assert_eq!(whole(&many).unwrap_err().status, 431);
    }
}

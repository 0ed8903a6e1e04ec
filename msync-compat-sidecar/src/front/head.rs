//! The head of one request, judged: request line, framing, who it claims to talk to.
//!
//! Pure, so that every rule is a table row. Nothing that is not understood here to the last byte ever reaches
//! `tiny_http`: what passes is a method token, an origin-form target of printable ASCII and one unambiguous framing.
//! It never looks at names of locks; that is `api`'s part.

use super::{host::Hosts, refusal::Refusal};

/// Header fields accepted in one head; more are answered 431.
const MAX_FIELDS: usize = 128;

/// How the end of the body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; 0 when the head says nothing.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A head that is well-formed and unambiguous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// The method as sent; a token, perhaps an unknown one.
    pub(super) method: String,
    /// Origin-form path and query, or `*`; printable ASCII with valid percent codes.
    pub(super) target: String,
    /// Who asks, as it says; visible ASCII.
    pub(super) client: Option<String>,
    /// How the body is framed.
    pub(super) framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// No further request will be answered on this connection.
    pub(super) close: bool,
}

/// Where the head ends, as far as the bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    /// More bytes are needed.
    Partial,
    /// The first byte after the empty line.
    Complete(usize),
    /// A line feed without a carriage return: a classic of request smuggling, so never a line end here.
    BareLineFeed,
}

/// Empty lines before a request line, which RFC 9112 2.2 tells servers to skip.
pub(super) fn leading_blank(bytes: &[u8]) -> usize {
    let pairs = bytes.chunks_exact(2).take_while(|pair| pair == b"\r\n").count();
    pairs * 2
}

/// Looks for the empty line that ends the head. `from` is how much an earlier scan has seen already.
pub(super) fn scan(bytes: &[u8], from: usize) -> Scan {
    for at in from.saturating_sub(3)..bytes.len() {
        if bytes[at] != b'\n' {
            continue;
        }
        if at == 0 || bytes[at - 1] != b'\r' {
            return Scan::BareLineFeed;
        }
        if at >= 3 && bytes[at - 3..at] == *b"\r\n\r" {
            return Scan::Complete(at + 1);
        }
    }
    Scan::Partial
}

/// Judges a complete head (with its empty line).
///
/// # Errors
/// The refusal to answer; the connection must be closed after it, since the body's end is not known.
pub(super) fn parse(bytes: &[u8], hosts: &Hosts) -> Result<Head, Refusal> {
    let bytes = ascii_request_line(bytes);
    check_version(&bytes)?;
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(&bytes) {
        Ok(httparse::Status::Complete(_)) => judge(&request, hosts),
        Ok(httparse::Status::Partial) => Err(Refusal::bad("incomplete request head")),
        Err(error) => Err(refusal_of(error)),
    }
}

fn judge(request: &httparse::Request<'_, '_>, hosts: &Hosts) -> Result<Head, Refusal> {
    let (Some(method), Some(raw), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Refusal::bad("malformed request line"));
    };
    let fields = Fields(request.headers);
    let (authority, target) = split_target(raw)?;
    hosts.check(authority, fields.all("host"), fields.all("origin"))?;
    Ok(Head {
        method: method.to_owned(),
        target,
        client: client(fields)?,
        framing: framing(fields, minor)?,
        expects_continue: expects_continue(fields, minor)?,
        close: minor == 0 || fields.has_token("connection", "close"),
    })
}

/// The fields of a head, looked up without regard to case.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    fn all(self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    fn has_token(self, name: &'static str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// Bytes above ASCII in the request line become percent codes, so that the API can name them in its answer.
fn ascii_request_line(bytes: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let bytes = &bytes[leading_blank(bytes)..];
    let end = bytes.iter().position(|byte| *byte == b'\r').unwrap_or(bytes.len());
    if bytes[..end].is_ascii() {
        return bytes.into();
    }
    let mut escaped = Vec::with_capacity(bytes.len() + 64);
    for byte in &bytes[..end] {
        match byte {
            0x80.. => escaped.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => escaped.push(*byte),
        }
    }
    escaped.extend_from_slice(&bytes[end..]);
    escaped.into()
}

/// httparse knows one error for every version it does not speak; a client that speaks HTTP/2 should learn so.
fn check_version(bytes: &[u8]) -> Result<(), Refusal> {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(Refusal::new(505, "only HTTP/1.0 and HTTP/1.1 are spoken here"))
        }
        _ => Err(Refusal::bad("malformed request line")),
    }
}

fn refusal_of(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(431, "too many header fields"),
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Refusal::bad("malformed header field"),
        _ => Refusal::bad("malformed request line"),
    }
}

/// Splits the authority of an absolute-form target off and checks the characters of the rest.
fn split_target(raw: &str) -> Result<(Option<&str>, String), Refusal> {
    let (authority, rest) = match raw.find("://") {
        Some(at) if is_http(&raw[..at]) => {
            let after = &raw[at + 3..];
            let end = after.find(['/', '?', '#']).unwrap_or(after.len());
            (Some(&after[..end]), &after[end..])
        }
        _ => (None, raw),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let target = match rest {
        "*" => "*".to_owned(),
        _ if rest.starts_with("//") => return Err(Refusal::bad("malformed request target")),
        _ if rest.starts_with('/') => rest.to_owned(),
        _ if authority.is_some() => format!("/{rest}"),
        _ => return Err(Refusal::bad("malformed request target")),
    };
    if is_clean(&target) { Ok((authority, target)) } else { Err(Refusal::bad("malformed request target")) }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// The characters of RFC 3986, with every percent code complete.
fn is_clean(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let uri = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    path.bytes().all(|byte| uri(byte) && !b"[]".contains(&byte))
        && query.bytes().all(uri)
        && target.split('%').skip(1).all(|code| {
            let digits = code.as_bytes();
            digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
        })
}

/// What it may say more closely is the API's part; here only that it can be passed on as it is.
fn client(fields: Fields<'_>) -> Result<Option<String>, Refusal> {
    let mut clients = fields.all("msync-client-id");
    let (client, None) = (clients.next(), clients.next()) else {
        return Err(Refusal::bad("more than one Msync-Client-Id"));
    };
    let read = |client: &[u8]| {
        let text = std::str::from_utf8(client).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        text.map(str::to_owned).ok_or(Refusal::bad("Msync-Client-Id has characters that are not allowed"))
    };
    client.map(read).transpose()
}

fn framing(fields: Fields<'_>, minor: u8) -> Result<Framing, Refusal> {
    let mut lengths = fields.all("content-length");
    let mut codings = fields.all("transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(_), Some(_)) => Err(Refusal::bad("both Content-Length and Transfer-Encoding")),
        (Some(_), None) if lengths.next().is_some() => Err(Refusal::bad("more than one Content-Length")),
        (Some(length), None) => length_of(length).map(Framing::Length),
        (None, Some(_)) if codings.next().is_some() => Err(Refusal::bad("more than one Transfer-Encoding")),
        (None, Some(_)) if minor == 0 => Err(Refusal::bad("Transfer-Encoding in HTTP/1.0")),
        (None, Some(coding)) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (None, Some(_)) => Err(Refusal::new(501, "no transfer coding but chunked is known here")),
    }
}

/// Digits only: `+5`, `5, 5` and blanks are read differently by different servers.
fn length_of(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::bad("malformed Content-Length"));
    }
    // A length past 64 bits is merely too large, which the body's limit says.
    let digits = std::str::from_utf8(value).unwrap_or_default();
    Ok(digits.parse().unwrap_or(u64::MAX))
}

fn expects_continue(fields: Fields<'_>, minor: u8) -> Result<bool, Refusal> {
    let mut expected = false;
    for value in fields.all("expect") {
        if !value.trim_ascii().eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::new(417, "unknown expectation"));
        }
        expected = minor > 0;
    }
    Ok(expected)
}

#[cfg(test)]
mod tests;

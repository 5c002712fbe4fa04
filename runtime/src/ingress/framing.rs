//! Where each HTTP/1.1 request of a connection begins and ends, and whether anybody could read it
//! in another way.
//!
//! Input: the bytes of a connection as they come. Output: how many of them may go on to the parser,
//! or why the connection must end. The parser behind is lenient where it may be (a lone line feed
//! ends a line, of two lengths one is dropped), and a proxy before us may be lenient in another
//! way: what they disagree about is a request that only one of them sees. So the head of a request
//! is held back until all of it is there and has one meaning.
//!
//! ```text
//!          head whole, no body
//!        ┌────────────┐
//!        ▼            │        head whole           all of it
//!      head ──────────┴──────▶ length, chunked ───────────────▶ head
//!        │ ambiguous, too large        │ ambiguous
//!        ▼                             ▼
//!      refused: a request that is answered with the reason    spoiled: the body breaks off
//! ```
//!
//! # Source
//! RFC 9112: 2.2 (line ends), 3 (request line), 3.2 (Host), 5.2 (obsolete folding), 6.1 to 6.3
//! (length of a body), 7.1 (chunks). Differs where the text lets a server choose: both a length and
//! a transfer coding, repeated equal lengths, lone line feeds and codings beside `chunked` are
//! refused.

mod chunk;

use std::io::BufRead;

use chunk::{Chunk, left_of};
use http::Method;

/// Empty lines before a request that are passed over; some old clients end a body with one.
const MAX_EMPTY_LINES: usize = 4;
/// Breaks every state of the parser that reads a chunked body.
const SPOIL: &[u8] = b"\r\0";

/// How large the head of a request may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub head_bytes: usize,
    pub uri_bytes: usize,
    pub fields: usize,
}

/// Why a request is not taken, whatever it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a line of the request ends without a carriage return")]
    LineFeed,
    #[error("a line of the request's header is folded")]
    Folded,
    #[error("the request line is malformed")]
    RequestLine,
    #[error("the request has more than one Host header")]
    Hosts,
    #[error("the request has both a Content-Length and a Transfer-Encoding")]
    LengthAndCoding,
    #[error("the Content-Length is not one number")]
    Length,
    #[error("the Transfer-Encoding is not chunked")]
    Coding,
    #[error("the URI of the request is too long")]
    Uri,
    #[error("the request has too many header fields")]
    Fields,
    #[error("the header of the request is too large")]
    Head,
}

impl Refusal {
    const ALL: [Refusal; 10] = [
        Refusal::LineFeed,
        Refusal::Folded,
        Refusal::RequestLine,
        Refusal::Hosts,
        Refusal::LengthAndCoding,
        Refusal::Length,
        Refusal::Coding,
        Refusal::Uri,
        Refusal::Fields,
        Refusal::Head,
    ];

    /// A request that takes the place of the refused one, so that its answer comes after those of
    /// the requests before it. No client can send its method: see [`Refusal::RequestLine`].
    fn request(self) -> Vec<u8> {
        let number = Self::ALL.iter().position(|refusal| *refusal == self);
        let number = number.unwrap_or_default();
        format!("!{number} / HTTP/1.1\r\nconnection: close\r\n\r\n").into_bytes()
    }

    /// The refusal that a request stands for.
    #[must_use]
    pub fn of(method: &Method) -> Option<Refusal> {
        let number = method.as_str().strip_prefix('!')?;
        Self::ALL.get(number.parse::<usize>().ok()?).copied()
    }
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct Framing {
    limits: Limits,
    state: State,
}

#[derive(Debug)]
enum State {
    Head(Head),
    /// Bytes of the body that are still to come.
    Length(u64),
    Chunked(Chunk),
    /// Nothing more is taken.
    Ended,
}

/// What has been seen of a head.
#[derive(Debug, Default)]
struct Head {
    /// Whole lines up to here have been read.
    seen: usize,
    empty_lines: usize,
    has_request_line: bool,
    fields: usize,
    has_host: bool,
    length: Option<u64>,
    is_chunked: bool,
}

/// What becomes of the bytes that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Scanned {
    /// So many of them go on. The others are to be given again, before what comes next.
    pub pass: usize,
    /// These go on after them, and nothing else ever.
    pub last: Option<Vec<u8>>,
}

impl Framing {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Head(Head::default()),
        }
    }

    /// Whether what comes next is the head of a request, or more of one.
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Reads `bytes`: those that were not taken before, and what has come since.
    pub fn scan(&mut self, bytes: &[u8]) -> Scanned {
        let mut pass = 0;
        loop {
            let rest = &bytes[pass..];
            if rest.is_empty() {
                return Scanned { pass, last: None };
            }
            match &mut self.state {
                State::Head(head) => match head.read(rest, &self.limits) {
                    Ok(None) => return Scanned { pass, last: None },
                    Ok(Some(end)) => {
                        let next = head.body();
                        self.state = next;
                        pass += end;
                    }
                    Err(refusal) => {
                        self.state = State::Ended;
                        let last = Some(refusal.request());
                        return Scanned { pass, last };
                    }
                },
                State::Length(left) => {
                    let taken = left_of(*left, rest);
                    *left -= taken as u64;
                    pass += taken;
                    if *left == 0 {
                        self.state = State::Head(Head::default());
                    }
                }
                State::Chunked(chunk) => {
                    let (taken, sound) = chunk.read(rest);
                    pass += taken;
                    if sound.is_err() {
                        self.state = State::Ended;
                        let last = Some(SPOIL.to_vec());
                        return Scanned { pass, last };
                    }
                    if chunk.is_end() {
                        self.state = State::Head(Head::default());
                    }
                }
                State::Ended => {
                    let last = Some(Vec::new());
                    return Scanned { pass, last };
                }
            }
        }
    }
}

impl Head {
    /// Reads on in a head; where it ends, if it is whole.
    fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        loop {
            let mut rest = bytes.get(self.seen..).unwrap_or_default();
            // Uses the fast search of the standard library.
            let length = rest.skip_until(b'\n').unwrap_or_default();
            let line = &bytes[self.seen..self.seen + length];
            let Some(line) = line.strip_suffix(b"\n") else {
                self.check_size(bytes.len(), length, limits)?;
                return Ok(None);
            };
            let line = line.strip_suffix(b"\r").ok_or(Refusal::LineFeed)?;
            self.seen += length;
            if !self.has_request_line {
                if line.is_empty() && self.empty_lines < MAX_EMPTY_LINES {
                    self.empty_lines += 1;
                    continue;
                }
                check_request_line(line, limits)?;
                self.has_request_line = true;
            } else if line.is_empty() {
                self.check_size(self.seen, 0, limits)?;
                if self.is_chunked && self.length.is_some() {
                    return Err(Refusal::LengthAndCoding);
                }
                return Ok(Some(self.seen));
            } else {
                self.field(line, limits)?;
            }
        }
    }

    /// Checks what may be only the beginning of a head; `line` bytes of it are in the last line.
    fn check_size(&self, bytes: usize, line: usize, limits: &Limits) -> Result<(), Refusal> {
        /// A method and the version beside the URI.
        const BESIDE: usize = 64;
        if !self.has_request_line && line > limits.uri_bytes + BESIDE {
            return Err(Refusal::Uri);
        }
        if bytes > limits.head_bytes {
            return Err(Refusal::Head);
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Refusal::Folded);
        }
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Refusal::Fields);
        }
        // Names that are not read here are the parser's to check, as are all values.
        if value(line, b"host").is_some() {
            if std::mem::replace(&mut self.has_host, true) {
                return Err(Refusal::Hosts);
            }
        } else if let Some(length) = value(line, b"content-length") {
            if self.length.is_some() {
                return Err(Refusal::Length);
            }
            self.length = Some(number(length).ok_or(Refusal::Length)?);
        } else if let Some(coding) = value(line, b"transfer-encoding") {
            if self.is_chunked || !coding.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Coding);
            }
            self.is_chunked = true;
        }
        Ok(())
    }

    /// What follows the head.
    fn body(&self) -> State {
        match self.length {
            _ if self.is_chunked => State::Chunked(Chunk::START),
            None | Some(0) => State::Head(Head::default()),
            Some(length) => State::Length(length),
        }
    }
}

fn check_request_line(line: &[u8], limits: &Limits) -> Result<(), Refusal> {
    if line.starts_with(b"!") {
        return Err(Refusal::RequestLine);
    }
    let mut parts = line.split(|byte| *byte == b' ');
    let (_method, uri, _version) = (parts.next(), parts.next(), parts.next());
    let uri = uri.ok_or(Refusal::RequestLine)?;
    if uri.len() > limits.uri_bytes {
        return Err(Refusal::Uri);
    }
    if parts.next().is_some() {
        return Err(Refusal::RequestLine);
    }
    Ok(())
}

/// The value of a line if its field has this name.
///
/// White space before the colon is left to the parser, which refuses it.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// A number without sign, as the grammar has it.
fn number(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if !is_number {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;

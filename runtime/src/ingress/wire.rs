//! The socket of one connection as the HTTP parser sees it.
//!
//! Of HTTP/1.1 it lets pass only what [`Framing`] finds unambiguous, gives the head of a request a
//! time in which it must be whole, and after a refusal goes on to take what the client still sends,
//! so that the client can read the answer: a socket that is closed with unread bytes in it is reset
//! and takes the answer with it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::framing::{Framing, Limits};

/// What a client that speaks HTTP/2 without being asked sends first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes that are taken from the socket at once.
const READ_BYTES: usize = 8 << 10;
/// A head and a body that are no longer are sent from one buffer: the kernel takes less time for it.
const FLAT_BYTES: usize = 4 << 10;
/// How long, and how many bytes, a client may go on to send after its connection's last response.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// The protocol that a client chose by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// A connection of which the first bytes were read.
pub struct Wire {
    stream: TokioIo<TcpStream>,
    /// Bytes that were read and wait for the rest of a head.
    held: Vec<u8>,
    /// Bytes for the parser, from `given` on.
    ready: Vec<u8>,
    given: usize,
    /// None on HTTP/2.
    framing: Option<Framing>,
    /// The parser gets nothing more.
    ended: bool,
    header_read_timeout: Duration,
    /// Runs while a head is held.
    head_due: Option<Pin<Box<Sleep>>>,
    linger: Option<Linger>,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    bytes: usize,
}

impl Wire {
    /// Reads as much as tells the protocol. None when the client left or took too long.
    pub async fn open(
        mut stream: TcpStream,
        limits: Limits,
        header_read_timeout: Duration,
    ) -> io::Result<Option<(Self, Protocol)>> {
        let due = Instant::now() + header_read_timeout;
        let mut first = [0; PREFACE.len()];
        let mut length = 0;
        let protocol = loop {
            let read = stream.read(&mut first[length..]);
            let Ok(read) = tokio::time::timeout_at(due, read).await else {
                return Ok(None);
            };
            let read = read?;
            if read == 0 {
                return Ok(None);
            }
            length += read;
            if first[..length] != PREFACE[..length] {
                break Protocol::Http1;
            }
            if length == PREFACE.len() {
                break Protocol::Http2;
            }
        };
        let mut wire = Self {
            stream: TokioIo::new(stream),
            held: Vec::new(),
            ready: Vec::new(),
            given: 0,
            framing: (protocol == Protocol::Http1).then(|| Framing::new(limits)),
            ended: false,
            header_read_timeout,
            head_due: None,
            linger: None,
        };
        wire.take(&first[..length]);
        if !wire.held.is_empty() {
            wire.head_due = Some(Box::pin(tokio::time::sleep_until(due)));
        }
        Ok(Some((wire, protocol)))
    }

    /// Takes bytes of the socket into `ready` and `held`.
    fn take(&mut self, bytes: &[u8]) {
        let Some(framing) = &mut self.framing else {
            self.ready.extend_from_slice(bytes);
            return;
        };
        self.held.extend_from_slice(bytes);
        let scanned = framing.scan(&self.held);
        self.ready.extend(self.held.drain(..scanned.pass));
        if let Some(last) = scanned.last {
            self.ready.extend(last);
            self.ended = true;
            self.held = Vec::new();
        }
        self.watch_head();
    }

    /// The same without a copy, for what the parser can take whole. Returns how much of `bytes` is
    /// for it; the rest is kept.
    fn take_directly(&mut self, bytes: &[u8]) -> usize {
        let Some(framing) = &mut self.framing else {
            return bytes.len();
        };
        if !self.held.is_empty() {
            self.take(bytes);
            return 0;
        }
        let scanned = framing.scan(bytes);
        if let Some(last) = scanned.last {
            self.ready.extend(last);
            self.ended = true;
        } else {
            self.held.extend_from_slice(&bytes[scanned.pass..]);
        }
        self.watch_head();
        scanned.pass
    }

    fn watch_head(&mut self) {
        if self.held.is_empty() {
            self.head_due = None;
        } else if self.head_due.is_none() {
            let due = tokio::time::sleep(self.header_read_timeout);
            self.head_due = Some(Box::pin(due));
        }
    }

    fn give(&mut self, cursor: &mut ReadBufCursor<'_>) {
        let rest = &self.ready[self.given..];
        let length = rest.len().min(cursor.remaining());
        cursor.put_slice(&rest[..length]);
        self.given += length;
        if self.given == self.ready.len() {
            (self.ready, self.given) = (Vec::new(), 0);
        }
    }

    /// Whether the client may still send what nobody will read.
    fn is_unread(&self) -> bool {
        let is_inside = |framing: &Framing| !framing.is_between_requests();
        self.ended || self.framing.as_ref().is_some_and(is_inside)
    }

    /// Drops what comes until the client has ended, or for a while.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            until: Box::pin(tokio::time::sleep(LINGER)),
            bytes: 0,
        });
        let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
        while linger.bytes < LINGER_BYTES {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            let stream = Pin::new(self.stream.inner_mut());
            match stream.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    linger.bytes += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return linger.until.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        if cursor.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES];
        loop {
            if wire.given < wire.ready.len() {
                wire.give(&mut cursor);
                return Poll::Ready(Ok(()));
            }
            if wire.ended {
                // The answer is on its way, and the connection ends with it.
                return Poll::Pending;
            }
            let room = cursor.remaining().min(READ_BYTES);
            let mut buffer = ReadBuf::uninit(&mut bytes[..room]);
            let read = Pin::new(wire.stream.inner_mut()).poll_read(cx, &mut buffer);
            if read.is_pending() {
                if let Some(due) = &mut wire.head_due {
                    ready!(due.as_mut().poll(cx));
                    tracing::debug!("a client did not send the header of a request in time");
                    return Poll::Ready(Ok(()));
                }
                return Poll::Pending;
            }
            ready!(read)?;
            let read = buffer.filled();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let direct = wire.take_directly(read);
            if direct > 0 {
                cursor.put_slice(&read[..direct]);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > FLAT_BYTES {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        }
        let mut bytes = [const { MaybeUninit::uninit() }; FLAT_BYTES];
        let mut flat = ReadBuf::uninit(&mut bytes);
        for part in parts {
            flat.put_slice(part);
        }
        Pin::new(&mut self.stream).poll_write(cx, flat.filled())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if self.is_unread() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

//! Standard output and standard error of guests become log lines.
//!
//! Each line is an event of target `guest` with the fields `revision`, `instance` and `stream`.
//! Control characters (and with them terminal escapes) are shown as `\u{1b}`, invalid UTF-8 is
//! replaced, a line is cut after [`LINE_BYTES`], and a revision that writes more than
//! [`BYTES_PER_SECOND`] loses lines, which are counted and the count is logged.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::logs::Log;

/// Longest line; the rest of a longer one is dropped.
pub(super) const LINE_BYTES: usize = 8 << 10;
/// What all instances of a revision may write in a second.
pub(super) const BYTES_PER_SECOND: usize = 1 << 20;
/// How much a guest may hand over at once.
const PERMIT_BYTES: usize = 64 << 10;

/// Which of the two streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where the lines of one revision go, with the revision's rate limit.
#[derive(Debug)]
pub struct Sink {
    revision: Arc<str>,
    window: Mutex<Window>,
    /// Keeps the lines beside the log of this program.
    log: Option<Arc<Log>>,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    bytes: usize,
    dropped: u64,
}

impl Sink {
    /// A sink for the guests of `revision`.
    pub fn new(revision: Arc<str>) -> Sink {
        Sink {
            revision,
            window: Mutex::new(Window {
                start: Instant::now(),
                bytes: 0,
                dropped: 0,
            }),
            log: None,
        }
    }

    /// A sink whose lines are kept in this log too.
    pub fn kept(revision: Arc<str>, log: Arc<Log>) -> Sink {
        let mut sink = Sink::new(revision);
        sink.log = Some(log);
        sink
    }

    fn line(&self, instance: u64, stream: Stream, line: &[u8]) {
        if !self.admit(line.len()) {
            return;
        }
        let (revision, text) = (&*self.revision, printable(line));
        if let Some(log) = &self.log {
            log.push(instance, &text);
        }
        match stream {
            Stream::Stdout => {
                tracing::info!(target: "guest", revision, instance, stream = "stdout", "{text}");
            }
            Stream::Stderr => {
                tracing::info!(target: "guest", revision, instance, stream = "stderr", "{text}");
            }
        }
    }

    /// Takes `bytes` from this second's allowance; reports what the last second lost.
    fn admit(&self, bytes: usize) -> bool {
        let mut window = lock(&self.window);
        let now = Instant::now();
        if now.duration_since(window.start) >= Duration::from_secs(1) {
            self.report(&mut window);
            (window.start, window.bytes) = (now, 0);
        }
        // An empty line costs the host as much as a short one.
        window.bytes += bytes.max(64);
        let fits = window.bytes <= BYTES_PER_SECOND;
        window.dropped += u64::from(!fits);
        fits
    }

    fn report(&self, window: &mut Window) {
        let lines = std::mem::take(&mut window.dropped);
        if lines > 0 {
            tracing::warn!(
                revision = &*self.revision,
                lines,
                "guest wrote too fast, lines were dropped"
            );
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let mut window = std::mem::replace(
            self.window
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner),
            Window {
                start: Instant::now(),
                bytes: 0,
                dropped: 0,
            },
        );
        self.report(&mut window);
    }
}

/// One stream of one instance: all handles that the guest opens share the unfinished line.
#[derive(Clone)]
pub(super) struct Output {
    sink: Arc<Sink>,
    instance: u64,
    stream: Stream,
    line: Arc<Mutex<Line>>,
}

#[derive(Default)]
struct Line(Vec<u8>);

impl Output {
    pub(super) fn new(sink: Arc<Sink>, instance: u64, stream: Stream) -> Output {
        Output {
            sink,
            instance,
            stream,
            line: Arc::default(),
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut line = lock(&self.line);
        let mut parts = bytes.split(|c| *c == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = LINE_BYTES.saturating_sub(line.0.len());
            line.0.extend(part.iter().take(room));
            if parts.peek().is_some() {
                self.sink.line(self.instance, self.stream, &line.0);
                line.0.clear();
            }
        }
    }
}

impl Drop for Output {
    /// The last handle logs what has no line feed at its end.
    fn drop(&mut self) {
        if Arc::strong_count(&self.line) == 1 {
            let line = std::mem::take(&mut lock(&self.line).0);
            if !line.is_empty() {
                self.sink.line(self.instance, self.stream, &line);
            }
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    /// Without this, wasmtime-wasi starts a task for every stream that a guest opens.
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT_BYTES)
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let bytes = bytes.get(..PERMIT_BYTES).unwrap_or(bytes);
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// `line` as text that a terminal shows and does not obey; tabs stay.
fn printable(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut text = String::with_capacity(line.len());
    for c in String::from_utf8_lossy(line).chars() {
        if c.is_control() && c != '\t' || is_bidi(c) {
            text.extend(c.escape_unicode());
        } else {
            text.push(c);
        }
    }
    text
}

/// Marks that reorder the text around them: a log line must not hide what it says.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn lines_are_made_harmless() {
        let cases: &[(&[u8], &str)] = &[
            (b"plain\ttext", "plain\ttext"),
            (b"dos\r", "dos"),
            (b"\x1b[2Jcleared", "\\u{1b}[2Jcleared"),
            (b"back\x08space\0", "back\\u{8}space\\u{0}"),
            (b"broken \xff utf-8", "broken \u{fffd} utf-8"),
            (
                "\u{9b}31m and \u{202e}".as_bytes(),
                "\\u{9b}31m and \\u{202e}",
            ),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n"),
        ];
        for (line, want) in cases {
            assert_eq!(printable(line), *want);
        }
    }

    #[test]
    fn unfinished_line_is_capped_and_waits_for_its_end() {
        let output = Output::new(Arc::new(Sink::new("r".into())), 0, Stream::Stdout);
        let other = output.clone();
        output.push(b"one ");
        other.push("x".repeat(3 * LINE_BYTES).as_bytes());
        assert_eq!(lock(&output.line).0.len(), LINE_BYTES);
        output.push(b"\nnext");
        assert_eq!(lock(&other.line).0, b"next");
    }

    #[tokio::test(start_paused = true)]
    async fn allowance_is_new_every_second() {
        let sink = Sink::new("r".into());
        assert!(sink.admit(BYTES_PER_SECOND));
        assert!(!sink.admit(1));
        assert_eq!(lock(&sink.window).dropped, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(sink.admit(1));
        assert_eq!(lock(&sink.window).dropped, 0);
    }
}

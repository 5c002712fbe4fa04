//! What guests wrote, kept for those who ask for a replica's log.
//!
//! Input: lines of output of instances. Output: the lines of one replica, from the past or as they
//! come. Each revision keeps so many bytes; the oldest lines give way. Nothing is done, and nothing
//! but an empty list is kept, for a guest that writes nothing.
//!
//! An instance belongs to no replica, which is a share of the capacity: its lines are those of one
//! of the living replicas, the same as long as these stay the same.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serve_core::meta::ObjectKey;
use serve_core::time::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;

/// How much of a log tells why code ended: what Kubernetes takes for that.
///
/// Source: kubernetes pkg/kubelet, `MaxContainerTerminationMessageLogLength` and
/// `MaxContainerTerminationMessageLogLines`.
const TAIL_BYTES: usize = 2048;
const TAIL_LINES: usize = 80;

/// What a line costs beside its text.
const LINE_COST: usize = 64;

/// The logs of all revisions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Logs {
    all: Arc<Mutex<HashMap<ObjectKey, Arc<Log>>>>,
    clock: Clock,
    bytes: usize,
}

/// The log of one revision.
#[derive(Debug)]
pub struct Log {
    ring: Mutex<Ring>,
    /// The number of the newest line, for those who wait for the next.
    head: watch::Sender<u64>,
    clock: Clock,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    last: u64,
    writers: Vec<Writer>,
}

/// Who writes: a replica in one of its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    pub replica: Arc<str>,
    /// How often its code had been started again.
    pub run: u32,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Counts the lines of a revision from 1.
    pub number: u64,
    pub time: Timestamp,
    pub writer: Writer,
    /// Without its end, and without characters that a terminal would obey.
    pub text: Arc<str>,
}

impl Logs {
    /// Logs that keep so many bytes for each revision.
    #[must_use]
    pub fn new(clock: Clock, bytes: usize) -> Self {
        Self {
            all: Arc::default(),
            clock,
            bytes,
        }
    }

    /// The log of a revision, which is made when there is none.
    #[must_use]
    pub fn open(&self, revision: &ObjectKey) -> Arc<Log> {
        let mut all = lock(&self.all);
        let log = all.entry(revision.clone()).or_insert_with(|| {
            Arc::new(Log {
                ring: Mutex::default(),
                head: watch::Sender::new(0),
                clock: self.clock.clone(),
                bytes: self.bytes,
            })
        });
        log.clone()
    }

    /// The log of a revision that has one.
    #[must_use]
    pub fn get(&self, revision: &ObjectKey) -> Option<Arc<Log>> {
        lock(&self.all).get(revision).cloned()
    }

    /// The last lines of all replicas of a revision; empty when there are none.
    #[must_use]
    pub fn tail(&self, revision: &ObjectKey) -> String {
        self.get(revision).map(|log| log.tail()).unwrap_or_default()
    }

    /// Forgets a revision. Who reads its log reads to the end.
    pub fn remove(&self, revision: &ObjectKey) {
        lock(&self.all).remove(revision);
    }

    /// Says which replicas live. At zero the lines that still come are those of the last ones.
    pub fn set_writers(&self, revision: &ObjectKey, writers: Vec<Writer>) {
        if !writers.is_empty() {
            lock(&self.open(revision).ring).writers = writers;
        }
    }
}

impl Log {
    /// Adds a line of an instance.
    pub fn push(&self, instance: u64, text: &str) {
        let time = self.clock.now();
        let mut ring = lock(&self.ring);
        let count = ring.writers.len() as u64;
        let index = instance.checked_rem(count).unwrap_or(0);
        let index = usize::try_from(index).unwrap_or(0);
        let Some(writer) = ring.writers.get(index).cloned() else {
            return;
        };
        ring.last += 1;
        let number = ring.last;
        ring.bytes += text.len() + LINE_COST;
        ring.lines.push_back(Line {
            number,
            time,
            writer,
            text: text.into(),
        });
        while ring.bytes > self.bytes
            && let Some(line) = ring.lines.pop_front()
        {
            ring.bytes -= line.text.len() + LINE_COST;
        }
        drop(ring);
        self.head.send_replace(number);
    }

    /// The lines of a replica after that number, and the number of the newest of all.
    #[must_use]
    pub fn after(&self, number: u64, replica: &str) -> (Vec<Line>, u64) {
        let ring = lock(&self.ring);
        let start = ring.lines.partition_point(|line| line.number <= number);
        let lines = ring.lines.range(start..);
        let lines = lines.filter(|line| &*line.writer.replica == replica);
        (lines.cloned().collect(), ring.last)
    }

    fn tail(&self) -> String {
        let ring = lock(&self.ring);
        let mut bytes = 0;
        let last = ring.lines.iter().rev().take(TAIL_LINES).take_while(|line| {
            bytes += line.text.len() + 1;
            bytes <= TAIL_BYTES
        });
        let mut lines: Vec<&str> = last.map(|line| &*line.text).collect();
        lines.reverse();
        lines.join("\n")
    }

    /// A receiver that is woken by each new line.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(replica: &str) -> Writer {
        Writer {
            replica: replica.into(),
            run: 0,
        }
    }

    fn texts(log: &Log, after: u64, replica: &str) -> Vec<String> {
        let (lines, _) = log.after(after, replica);
        lines.iter().map(|line| line.text.to_string()).collect()
    }

    #[test]
    fn lines_are_those_of_the_living_replicas() {
        let logs = Logs::new(Clock::default(), 1 << 10);
        let key = ObjectKey::new("default", "h1-00001");
        let log = logs.open(&key);
        log.push(0, "nobody lives");
        logs.set_writers(&key, vec![writer("a")]);
        log.push(7, "one");
        logs.set_writers(&key, vec![writer("a"), writer("b")]);
        log.push(7, "two");
        log.push(8, "three");
        logs.set_writers(&key, Vec::new());
        log.push(7, "at zero");
        assert_eq!(texts(&log, 0, "a"), ["one", "three"]);
        assert_eq!(texts(&log, 0, "b"), ["two", "at zero"]);
        assert_eq!(texts(&log, 2, "b"), ["at zero"]);
        assert_eq!(*log.head().borrow(), 4);
        logs.remove(&key);
        assert!(logs.get(&key).is_none());
    }

    #[test]
    fn the_tail_is_short() {
        let logs = Logs::new(Clock::default(), 1 << 20);
        let key = ObjectKey::new("default", "h1-00001");
        assert_eq!(logs.tail(&key), "");
        let log = logs.open(&key);
        logs.set_writers(&key, vec![writer("a"), writer("b")]);
        log.push(0, "one");
        log.push(1, "two");
        assert_eq!(logs.tail(&key), "one\ntwo");
        for n in 0..100 {
            log.push(n, "x");
        }
        assert_eq!(logs.tail(&key).lines().count(), 80);
        log.push(0, &"y".repeat(1500));
        log.push(0, &"z".repeat(1000));
        assert_eq!(logs.tail(&key), "z".repeat(1000));
    }

    #[test]
    fn the_oldest_lines_give_way() {
        let logs = Logs::new(Clock::default(), 3 * (LINE_COST + 1));
        let key = ObjectKey::new("default", "h1-00001");
        let log = logs.open(&key);
        logs.set_writers(&key, vec![writer("a")]);
        for n in 0..9 {
            log.push(0, &n.to_string());
        }
        assert_eq!(texts(&log, 0, "a"), ["6", "7", "8"]);
        log.push(0, &"x".repeat(1 << 10));
        assert_eq!(texts(&log, 0, "a"), Vec::<String>::new());
        assert_eq!(log.after(0, "a").1, 10);
    }
}

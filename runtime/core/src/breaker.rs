//! Capacity of one revision: who may run now, who waits and who is turned away.
//!
//! Input: requests that come, end and give up, and the capacity of the ready replicas. Output: who
//! is admitted, first come, first served. The activator holds one for each revision, and wakes the
//! requests whose tickets it gets back.
//!
//! ```text
//!                  place free               release
//!   try_admit ───────────────────► in flight ───────►
//!       │ no place free                ▲
//!       ▼                              │ release, set_capacity: oldest first
//!    waiting ──────────────────────────┘
//!       │ queue full      │ cancel
//!       ▼                 ▼
//!     Full              Removed
//! ```
//!
//! Most requests find a free place and nobody waiting. What they need to know is one word, the
//! [`Places`], which its holder may change without a lock while nobody waits; as soon as somebody
//! does, the word says so and every change goes through the [`Breaker`].
//!
//! Invariants:
//! - A request waits only while no place is free: `waiting > 0` implies `in_flight >= capacity`.
//! - A place is handed over, not freed and taken: whoever comes between finds none.
//! - Nobody is admitted beyond the capacity. A capacity that shrinks below the requests in flight
//!   interrupts none of them.

use std::collections::VecDeque;

/// How many requests wait for one revision at most, in the activator.
///
/// Source: knative/serving pkg/activator/net, `breakerQueueDepth`.
pub const REVISION_QUEUE_DEPTH: usize = 10_000;

/// How many requests wait for each place of a replica at most.
///
/// Source: knative/serving cmd/queue, `10 * containerConcurrency`.
const QUEUE_DEPTH_PER_PLACE: usize = 10;

/// How much memory an empty queue keeps for the next burst, in tickets.
const KEPT_WHEN_EMPTY: usize = 64;

/// How many requests wait in front of one replica at most, when it has a limit.
#[must_use]
pub fn replica_queue_depth(container_concurrency: u32) -> usize {
    QUEUE_DEPTH_PER_PLACE * container_concurrency as usize
}

/// How many requests may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// This many.
    Limited(usize),
    /// Any number.
    Unlimited,
}

impl Capacity {
    /// The capacity of `ready_replicas` with `container_concurrency` places each; 0 places is
    /// any number of them.
    #[must_use]
    pub fn of(ready_replicas: u32, container_concurrency: u32) -> Self {
        match (ready_replicas, container_concurrency) {
            (0, _) => Self::Limited(0),
            (_, 0) => Self::Unlimited,
            (replicas, places) => {
                Self::Limited((replicas as usize).saturating_mul(places as usize))
            }
        }
    }

    fn has_room_beside(self, in_flight: usize) -> bool {
        match self {
            Self::Limited(places) => in_flight < places,
            Self::Unlimited => true,
        }
    }
}

/// The places of one revision in a word: how many there are, how many are taken, and whether a
/// change of them is the breaker's to make.
///
/// ```text
///  63       62..32                       31..0
///  guarded  places, all ones: any number  in flight
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places(u64);

impl Places {
    /// Set while requests wait, and while a breaker is at work: then nothing else may change the
    /// word.
    pub const GUARDED: u64 = 1 << 63;
    const IN_FLIGHT: u64 = u32::MAX as u64;
    const CAPACITY_SHIFT: u32 = 32;
    const UNLIMITED: u64 = (1 << 31) - 1;

    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    #[must_use]
    pub const fn in_flight(self) -> usize {
        (self.0 & Self::IN_FLIGHT) as usize
    }

    const fn capacity(self) -> u64 {
        (self.0 & !Self::GUARDED) >> Self::CAPACITY_SHIFT
    }

    /// The word after a request took a free place; none when the breaker has to decide.
    #[must_use]
    pub const fn enter(self) -> Option<Self> {
        let capacity = self.capacity();
        let in_flight = self.0 & Self::IN_FLIGHT;
        let has_room =
            in_flight < capacity || (capacity == Self::UNLIMITED && in_flight < Self::IN_FLIGHT);
        if self.0 & Self::GUARDED == 0 && has_room {
            Some(Self(self.0 + 1))
        } else {
            None
        }
    }

    /// The word after a request gave its place back; none when the breaker has to hand it over.
    #[must_use]
    pub const fn leave(self) -> Option<Self> {
        if self.0 & Self::GUARDED == 0 && self.0 & Self::IN_FLIGHT > 0 {
            Some(Self(self.0 - 1))
        } else {
            None
        }
    }
}

/// A place in the queue. It is used up when it is given back as admitted or cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What becomes of a request that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It runs now. [`Breaker::release`] must follow.
    Admitted,
    /// It waits until its ticket is given back as admitted, or until [`Breaker::cancel`].
    Waiting(Ticket),
    /// The queue is full. Nothing must follow.
    Full,
}

/// What became of a request that no longer wants to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It left the queue. Nothing must follow.
    Removed,
    /// It was admitted before. It holds a place, and [`Breaker::release`] must follow.
    Admitted,
}

/// Counts the requests of one revision against its capacity.
///
/// All operations take constant time on average, except [`Breaker::cancel`], which takes
/// logarithmic time. Memory is bounded by twice the queue.
#[derive(Clone, Debug)]
pub struct Breaker {
    capacity: Capacity,
    in_flight: usize,
    max_waiting: usize,
    queue: Queue,
}

impl Breaker {
    /// A breaker without capacity, in which at most `max_waiting` requests wait.
    #[must_use]
    pub fn new(max_waiting: usize) -> Self {
        Self {
            capacity: Capacity::Limited(0),
            in_flight: 0,
            max_waiting,
            queue: Queue::default(),
        }
    }

    /// How many requests may be in flight.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Takes over the count of requests in flight from a word that was changed without the
    /// breaker; none of those changes can have been made while somebody waited.
    pub fn adopt(&mut self, places: Places) {
        self.in_flight = places.in_flight();
    }

    /// The word that others may change until the next [`Breaker::adopt`].
    #[must_use]
    pub fn places(&self) -> Places {
        let capacity = match self.capacity {
            Capacity::Limited(places) => (places as u64).min(Places::UNLIMITED - 1),
            Capacity::Unlimited => Places::UNLIMITED,
        };
        let guarded = if self.queue.waiting > 0 {
            Places::GUARDED
        } else {
            0
        };
        let in_flight = (self.in_flight as u64).min(Places::IN_FLIGHT);
        Places(guarded | capacity << Places::CAPACITY_SHIFT | in_flight)
    }

    /// Changes how many requests wait at most. Those that wait already stay.
    pub fn set_max_waiting(&mut self, max_waiting: usize) {
        self.max_waiting = max_waiting;
    }

    /// The requests that are admitted and not released.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting
    }

    /// A request comes.
    pub fn try_admit(&mut self) -> Admission {
        if self.capacity.has_room_beside(self.in_flight) {
            self.in_flight += 1;
            Admission::Admitted
        } else if self.queue.waiting < self.max_waiting {
            Admission::Waiting(self.queue.push())
        } else {
            Admission::Full
        }
    }

    /// An admitted request ended. Returns the ticket of the request that takes over its place, if
    /// one does.
    #[must_use = "a request that was admitted waits for its ticket"]
    pub fn release(&mut self) -> Option<Ticket> {
        debug_assert!(self.in_flight > 0, "released more often than admitted");
        self.in_flight = self.in_flight.saturating_sub(1);
        self.admit_next()
    }

    /// The capacity changed. Returns the tickets of the requests that are admitted by that, oldest
    /// first.
    #[must_use = "the requests that were admitted wait for their tickets"]
    pub fn set_capacity(&mut self, capacity: Capacity) -> Vec<Ticket> {
        self.capacity = capacity;
        std::iter::from_fn(|| self.admit_next()).collect()
    }

    /// A waiting request gives up, by its deadline or because its client went away.
    ///
    /// It may have been admitted in the meantime, with its ticket given back but not yet seen by
    /// its owner; the answer says which.
    #[must_use = "a request that was admitted before must be released"]
    pub fn cancel(&mut self, ticket: Ticket) -> Cancelled {
        if self.queue.remove(ticket) {
            Cancelled::Removed
        } else {
            Cancelled::Admitted
        }
    }

    fn admit_next(&mut self) -> Option<Ticket> {
        if !self.capacity.has_room_beside(self.in_flight) {
            return None;
        }
        let ticket = self.queue.pop()?;
        self.in_flight += 1;
        Some(ticket)
    }
}

/// First in, first out, with removal from the middle.
///
/// Entries are in the order of their tickets. One that was removed stays until it is at the front
/// or there are more of its kind than of the others.
#[derive(Clone, Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    waiting: usize,
    last_ticket: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    ticket: Ticket,
    removed: bool,
}

impl Queue {
    fn push(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.waiting += 1;
        let ticket = Ticket(self.last_ticket);
        self.entries.push_back(Entry {
            ticket,
            removed: false,
        });
        ticket
    }

    fn pop(&mut self) -> Option<Ticket> {
        let entry = std::iter::from_fn(|| self.entries.pop_front()).find(|entry| !entry.removed)?;
        self.waiting -= 1;
        self.tidy();
        Some(entry.ticket)
    }

    /// Whether `ticket` was in the queue.
    fn remove(&mut self, ticket: Ticket) -> bool {
        let found = self
            .entries
            .binary_search_by_key(&ticket, |entry| entry.ticket);
        let entry = found.ok().and_then(|index| self.entries.get_mut(index));
        let Some(entry) = entry.filter(|entry| !entry.removed) else {
            return false;
        };
        entry.removed = true;
        self.waiting -= 1;
        self.tidy();
        true
    }

    /// Forgets removed entries when they are the most, and the memory of a burst when it is over.
    fn tidy(&mut self) {
        if self.waiting == 0 {
            self.entries.clear();
            self.entries.shrink_to(KEPT_WHEN_EMPTY);
        } else if self.entries.len() > 2 * self.waiting + KEPT_WHEN_EMPTY {
            self.entries.retain(|entry| !entry.removed);
        }
    }
}

#[cfg(test)]
mod tests;

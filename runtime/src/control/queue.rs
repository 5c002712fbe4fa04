//! The keys that are to be reconciled: in order of arrival, each once, now or at a later time.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use tokio::time::Instant;

use super::store::Id;

/// The controller's work.
#[derive(Debug, Default)]
pub struct Queue {
    ready: VecDeque<Id>,
    /// What is to be looked at when nothing else is.
    idle: VecDeque<Id>,
    queued: HashSet<Id>,
    later: BTreeSet<(Instant, Id)>,
    /// When a key is due that came by [`push_by`](Self::push_by).
    due: HashMap<Id, Instant>,
}

impl Queue {
    /// Adds a key at the end, unless it is in the queue already.
    pub fn push(&mut self, id: Id) {
        if self.queued.insert(id.clone()) {
            self.ready.push_back(id);
        }
    }

    /// Puts a key before all others, also one that is in the queue already.
    pub fn push_first(&mut self, id: Id) {
        if !self.queued.insert(id.clone()) {
            self.ready.retain(|other| *other != id);
        }
        self.ready.push_front(id);
    }

    /// Adds a key behind all others, also those that come later: nobody waits for it.
    pub fn push_idle(&mut self, id: Id) {
        self.idle.push_back(id);
    }

    /// Adds a key when `at` has come.
    pub fn push_at(&mut self, at: Instant, id: Id) {
        self.later.insert((at, id));
    }

    /// Adds a key when `at` has come, unless it was so before for an earlier time: for those who say
    /// each time they look at a key when the next time is.
    pub fn push_by(&mut self, at: Instant, id: Id) {
        if let Some(earlier) = self.due.get(&id) {
            if *earlier <= at {
                return;
            }
            self.later.remove(&(*earlier, id.clone()));
        }
        self.due.insert(id.clone(), at);
        self.later.insert((at, id));
    }

    /// The next key that is due at `now`.
    pub fn pop(&mut self, now: Instant) -> Option<Id> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((at, id)) = self.later.pop_first() {
                if self.due.get(&id) == Some(&at) {
                    self.due.remove(&id);
                }
                self.push(id);
            }
        }
        let Some(id) = self.ready.pop_front() else {
            return self.idle.pop_front();
        };
        self.queued.remove(&id);
        Some(id)
    }

    /// When the next key of later becomes due.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serve_core::kind::Kind;
    use serve_core::meta::ObjectKey;

    use super::*;

    fn id(name: &str) -> Id {
        (Kind::Service, ObjectKey::new("default", name))
    }

    #[tokio::test(start_paused = true)]
    async fn keys_come_once_and_in_order() {
        let mut queue = Queue::default();
        let now = Instant::now();
        for name in ["a", "b", "a", "c"] {
            queue.push(id(name));
        }
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop(now)).collect();
        assert_eq!(popped, [id("a"), id("b"), id("c")]);
        queue.push(id("a"));
        assert_eq!(
            queue.pop(now),
            Some(id("a")),
            "a key comes again after it was taken"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_can_be_put_first_and_still_comes_once() {
        let mut queue = Queue::default();
        let now = Instant::now();
        for name in ["a", "b", "c"] {
            queue.push(id(name));
        }
        queue.push_first(id("b"));
        queue.push_first(id("d"));
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop(now)).collect();
        assert_eq!(popped, [id("d"), id("b"), id("a"), id("c")]);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_keys_come_when_there_are_no_others() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.push_idle(id("idle"));
        queue.push(id("a"));
        queue.push_at(now + Duration::from_secs(5), id("due"));
        let later = now + Duration::from_secs(5);
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop(later)).collect();
        assert_eq!(popped, [id("a"), id("due"), id("idle")]);
    }

    #[tokio::test(start_paused = true)]
    async fn later_keys_come_when_they_are_due() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let due = now + Duration::from_secs(5);
        queue.push_at(due, id("late"));
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.next_at(), Some(due));
        assert_eq!(queue.pop(due), Some(id("late")));
        assert_eq!(queue.next_at(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_time_of_a_key_counts() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        for seconds in [7, 5, 9, 5] {
            queue.push_by(after(seconds), id("a"));
        }
        queue.push_by(after(6), id("b"));
        assert_eq!(queue.next_at(), Some(after(5)));
        assert_eq!(queue.pop(after(5)), Some(id("a")));
        assert_eq!(
            queue.next_at(),
            Some(after(6)),
            "the later times are forgotten"
        );
        queue.push_by(after(8), id("a"));
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop(after(20))).collect();
        assert_eq!(popped, [id("b"), id("a")]);
    }
}

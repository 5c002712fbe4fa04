//! The replicas of one revision, each with a name that it keeps while it lives.
//!
//! Input: how many replicas are ready and wanted, and what befell one of them. Output: the list
//! that Pods are made from.
//!
//! ```text
//!   wanted rises           code runs          probes pass         wanted falls, or replaced
//!  ─────────────▶ starting ─────────▶ running ───────────▶ ready ──────────────────────▶ leaving ─▶ gone
//!                                        ▲─────────────────┘ probes fail                     drained
//! ```
//!
//! Invariants: the living ones are in the order of their age, so that the ready ones are
//! the first; no two have the
//! same name; a replica that leaves does not come back.

use crate::time::Timestamp;

/// What is known of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Five characters that tell it from the other replicas of its revision.
    pub id: String,
    pub created: Timestamp,
    /// When its code was started first; none before that.
    pub started: Option<Timestamp>,
    /// Since when it takes requests without a break; none while it does not.
    pub ready_since: Option<Timestamp>,
    /// Since when it takes no new requests; none while it is wanted.
    pub leaving_since: Option<Timestamp>,
    /// How often its code was started again.
    pub restarts: u32,
    /// How its code ended before it was last started again.
    pub last_end: Option<End>,
}

/// How the code of a replica ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub at: Timestamp,
    pub exit_code: i32,
}

/// What Kubernetes shows of a container that it killed: 128 and the number of the signal.
pub const KILLED: i32 = 137;
/// What it shows of one that aborted, as a program does that traps.
pub const ABORTED: i32 = 134;

/// How many there are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Replicas that take requests.
    pub ready: u32,
    /// Replicas whose code runs, whether or not they take requests.
    pub running: u32,
    /// Replicas that the autoscaler wants.
    pub wanted: u32,
}

/// All replicas of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    all: Vec<Replica>,
}

/// The most replicas that are listed one by one; a count beyond is still shown as a count.
const MOST: u32 = 1000;

impl Replicas {
    /// Those that leave, in the order in which they began to, then the living ones by age.
    #[must_use]
    pub fn all(&self) -> &[Replica] {
        &self.all
    }

    pub fn living(&self) -> impl DoubleEndedIterator<Item = &Replica> {
        self.all.iter().filter(|one| one.leaving_since.is_none())
    }

    #[must_use]
    pub fn has_leaving(&self) -> bool {
        self.all.iter().any(|one| one.leaving_since.is_some())
    }

    /// Makes the list fit a count: new replicas start, the youngest leave. One whose code does not
    /// run has nothing to end and is gone at once. `new_id` gives names, and may repeat itself.
    pub fn scale(&mut self, count: Count, now: Timestamp, mut new_id: impl FnMut() -> String) {
        // What runs is there, wanted or not.
        let running = count.running.max(count.ready);
        let wanted = running.max(count.wanted).min(MOST) as usize;
        let living = self.living().count();
        for _ in living..wanted {
            let id = self.free_id(&mut new_id);
            self.all.push(Replica {
                id,
                created: now,
                started: None,
                ready_since: None,
                leaving_since: None,
                restarts: 0,
                last_end: None,
            });
        }
        for _ in wanted..living {
            if let Some(last) = self.all.iter().rposition(|one| one.leaving_since.is_none()) {
                self.leave(last, now);
            }
        }
        let living = self
            .all
            .iter_mut()
            .filter(|one| one.leaving_since.is_none());
        for (place, one) in (0..).zip(living) {
            let keep = |since: Option<Timestamp>, is_so: bool| is_so.then(|| since.unwrap_or(now));
            one.started = keep(one.started, place < running);
            one.ready_since = keep(one.ready_since, place < count.ready);
        }
    }

    /// Lets one replica leave and another take its place. Returns whether there was one.
    pub fn replace(
        &mut self,
        id: &str,
        count: Count,
        now: Timestamp,
        new_id: impl FnMut() -> String,
    ) -> bool {
        let is_it = |one: &Replica| one.id == id && one.leaving_since.is_none();
        let Some(index) = self.all.iter().position(is_it) else {
            return false;
        };
        self.leave(index, now);
        self.scale(count, now, new_id);
        true
    }

    /// Notes that the code of all replicas that run was killed and started again so many times.
    pub fn restarted(&mut self, times: u32, now: Timestamp) {
        for one in self.running_mut().filter(|_| times > 0) {
            one.end(times, now, KILLED);
        }
    }

    /// Notes that code ended by itself so many times, last with this exit code. An end is one
    /// replica's: those that ended least come first.
    pub fn exited(&mut self, times: u32, exit_code: i32, now: Timestamp) {
        let mut running: Vec<_> = self.running_mut().collect();
        let Ok(count @ 1..) = u32::try_from(running.len()) else {
            return;
        };
        running.sort_by_key(|one| one.restarts);
        for (place, one) in (0..).zip(running) {
            let share = times / count + u32::from(place < times % count);
            if share > 0 {
                one.end(share, now, exit_code);
            }
        }
    }

    fn running_mut(&mut self) -> impl Iterator<Item = &mut Replica> {
        let is_running = |one: &&mut Replica| one.leaving_since.is_none() && one.started.is_some();
        self.all.iter_mut().filter(is_running)
    }

    /// All that leave are done.
    pub fn drained(&mut self) {
        self.all.retain(|one| one.leaving_since.is_none());
    }

    fn leave(&mut self, index: usize, now: Timestamp) {
        let mut one = self.all.remove(index);
        if one.started.is_none() {
            return;
        }
        one.leaving_since = Some(now);
        let place = self.all.iter().position(|one| one.leaving_since.is_none());
        self.all.insert(place.unwrap_or(self.all.len()), one);
    }

    fn free_id(&self, new_id: &mut impl FnMut() -> String) -> String {
        loop {
            let id = new_id();
            if self.all.iter().all(|one| one.id != id) {
                return id;
            }
        }
    }
}

impl Replica {
    fn end(&mut self, times: u32, at: Timestamp, exit_code: i32) {
        self.restarts = self.restarts.saturating_add(times);
        self.last_end = Some(End { at, exit_code });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    /// `name`, then `+` when it is ready, `-` when it leaves.
    fn shown(replicas: &Replicas) -> String {
        let one = |one: &Replica| {
            let mark = match (one.leaving_since, one.ready_since) {
                (Some(_), _) => "-",
                (None, Some(_)) => "+",
                (None, None) => "",
            };
            format!("{}{mark}", one.id)
        };
        replicas.all().iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn ids() -> impl FnMut() -> String {
        // Each name twice: a name that is taken is asked for again.
        let mut next = 0..;
        move || {
            let n: u32 = next.next().expect("endless");
            char::from_digit(10 + n / 2, 36)
                .expect("a letter")
                .to_string()
        }
    }

    #[test]
    fn names_stay_while_replicas_come_and_go() {
        let mut replicas = Replicas::default();
        let mut ids = ids();
        for (ready, wanted, want) in [
            (0, 0, ""),
            (0, 1, "a"),
            (1, 1, "a+"),
            (1, 3, "a+ b c"),
            (3, 3, "a+ b+ c+"),
            (3, 1, "a+ b+ c+"),
            (1, 1, "c- b- a+"),
            (2, 2, "c- b- a+ d+"),
            (1, 2, "c- b- a+ d"),
            (0, 0, "c- b- a-"),
        ] {
            let count = Count {
                ready,
                wanted,
                ..Count::default()
            };
            replicas.scale(count, at(1), &mut ids);
            assert_eq!(shown(&replicas), want, "{count:?}");
        }
        assert!(replicas.has_leaving());
        replicas.drained();
        assert_eq!(shown(&replicas), "");
    }

    #[test]
    fn a_replica_is_ready_since_it_became_so() {
        let mut replicas = Replicas::default();
        let one = |ready| Count {
            ready,
            running: 0,
            wanted: 1,
        };
        replicas.scale(one(0), at(1), ids());
        replicas.scale(one(1), at(2), ids());
        replicas.scale(one(1), at(3), ids());
        assert_eq!(replicas.all()[0].ready_since, Some(at(2)));
        assert_eq!(replicas.all()[0].created, at(1));
        replicas.scale(one(0), at(4), ids());
        replicas.scale(one(1), at(5), ids());
        assert_eq!(replicas.all()[0].ready_since, Some(at(5)));
        replicas.restarted(0, at(6));
        assert_eq!(replicas.all()[0].last_end, None);
        replicas.restarted(2, at(6));
        assert_eq!(replicas.all()[0].restarts, 2);
    }

    #[test]
    fn a_replica_that_runs_need_not_be_ready() {
        let mut replicas = Replicas::default();
        let count = |running, wanted| Count {
            ready: 0,
            running,
            wanted,
        };
        let mut ids = ids();
        replicas.scale(count(1, 2), at(1), &mut ids);
        replicas.restarted(1, at(2));
        let all: Vec<_> = replicas
            .all()
            .iter()
            .map(|one| (one.started, one.restarts))
            .collect();
        assert_eq!(all, [(Some(at(1)), 1), (None, 0)]);
        replicas.scale(count(0, 0), at(3), &mut ids);
        assert_eq!(shown(&replicas), "a-", "what never ran has nothing to end");
    }

    #[test]
    fn an_end_is_that_of_the_replica_that_ended_least() {
        let mut replicas = Replicas::default();
        replicas.exited(1, 3, at(1));
        let count = Count {
            ready: 3,
            running: 3,
            wanted: 4,
        };
        replicas.scale(count, at(1), ids());
        let ends = |replicas: &Replicas| -> Vec<_> {
            let end = |one: &Replica| (one.restarts, one.last_end.as_ref().map(|e| e.exit_code));
            replicas.all().iter().map(end).collect()
        };
        replicas.exited(1, 3, at(2));
        assert_eq!(ends(&replicas)[..2], [(1, Some(3)), (0, None)]);
        replicas.exited(4, 0, at(3));
        let want = [(2, Some(0)), (2, Some(0)), (1, Some(0)), (0, None)];
        assert_eq!(ends(&replicas), want, "the fourth does not run");
        replicas.restarted(1, at(4));
        assert_eq!(ends(&replicas)[2], (2, Some(KILLED)));
        replicas.exited(0, 7, at(5));
        assert_eq!(ends(&replicas)[2], (2, Some(KILLED)));
    }

    #[test]
    fn a_replaced_replica_leaves_and_another_is_there() {
        let mut replicas = Replicas::default();
        let count = Count {
            ready: 2,
            running: 0,
            wanted: 2,
        };
        let mut ids = ids();
        replicas.scale(count, at(1), &mut ids);
        assert!(replicas.replace("a", count, at(2), &mut ids));
        assert_eq!(shown(&replicas), "a- b+ c+");
        assert!(
            !replicas.replace("a", count, at(3), &mut ids),
            "it leaves already"
        );
        assert!(!replicas.replace("x", count, at(3), &mut ids));
        assert_eq!(shown(&replicas), "a- b+ c+");
    }

    #[test]
    fn the_list_is_bounded() {
        let mut replicas = Replicas::default();
        let mut next = 0..;
        let new_id = || next.next().map(|n: u64| n.to_string()).expect("endless");
        let count = Count {
            ready: 0,
            running: 0,
            wanted: u32::MAX,
        };
        replicas.scale(count, at(1), new_id);
        assert_eq!(replicas.all().len(), MOST as usize);
    }
}

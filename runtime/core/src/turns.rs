//! Which of the guests that compute goes on, where there are more of them than cores.
//!
//! Input: who asks for a turn, and how much CPU time a turn took. Output: who has the next one.
//!
//! ```text
//! ask ─▶ waiting ── a seat is free, and its Revision had least for its weight ─▶ turn ─ end ─▶ (ask)
//! ```
//! Each Revision has a clock of its own, which its CPU time moves on: the faster, the smaller its
//! weight. A turn goes to the Revision whose clock is furthest behind, so that those that always ask
//! share the cores in proportion to their weights; within a Revision the oldest goes first. Time
//! without a wish for it is not saved up: whoever comes back starts where the others are.
//!
//! Invariants: no more turns than seats at once; nobody waits while a seat is free, after
//! [`Turns::give`] returned nothing.
//!
//! # Source
//! Goyal, Vin and Cheng, "Start-time fair queuing". The weights are Kubernetes'
//! `resources.requests.cpu`. Differs: a cluster gives them to the kernel, as shares of a cgroup.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::cpu::WINDOW;

/// What a Revision weighs that requests nothing, in thousandths of a core: Kubernetes' 2 shares of
/// the 1024 that a core is.
const SMALLEST_WEIGHT: u64 = 2;
/// So many Revisions are remembered before those that nothing is known of are looked for.
const FEW: usize = 64;

/// What `replicas` that request so many thousandths of a core each weigh together.
#[must_use]
pub fn weight(millicores: u64, replicas: u32) -> u64 {
    let all = millicores.saturating_mul(u64::from(replicas.max(1)));
    all.max(SMALLEST_WEIGHT)
}

/// Who asks for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// One for each Revision.
    pub id: u64,
    /// See [`weight`].
    pub weight: u64,
}

/// The turns of all Revisions; `T` stands for one guest that waits.
#[derive(Debug)]
pub struct Turns<T> {
    seats: usize,
    taken: usize,
    /// What those weigh who compute or wait to.
    weight: u64,
    /// How long a turn is expected to take.
    turn: Duration,
    /// The clock of whoever got the last turn.
    now: u128,
    revisions: BTreeMap<u64, Account<T>>,
    /// Clock and id of those for whom somebody waits.
    waiting: BTreeSet<(u128, u64)>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Account<T> {
    clock: u128,
    weight: u64,
    running: usize,
    waiting: VecDeque<T>,
}

impl<T> Account<T> {
    fn is_active(&self) -> bool {
        self.running > 0 || !self.waiting.is_empty()
    }

    /// By how much CPU time moves the clock on.
    fn step(&self, time: Duration) -> u128 {
        time.as_nanos().saturating_mul(1000) / u128::from(self.weight)
    }
}

impl<T> Turns<T> {
    /// No turns yet; at most so many at once, each of about this length.
    #[must_use]
    pub fn new(seats: usize, turn: Duration) -> Self {
        Self {
            seats: seats.max(1),
            taken: 0,
            weight: 0,
            turn,
            now: 0,
            revisions: BTreeMap::new(),
            waiting: BTreeSet::new(),
            sweep_at: FEW,
        }
    }

    /// Whether guests want more than there is: no seat is free.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.taken >= self.seats
    }

    /// How many guests compute at this moment.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// What those Revisions weigh together that have guests which compute or wait to.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// A guest of `party` waits for a turn.
    pub fn ask(&mut self, party: Party, ticket: T) {
        self.sweep();
        let now = self.now;
        let account = account(&mut self.revisions, party, now);
        if account.is_active() {
            self.weight = self.weight.saturating_sub(account.weight);
        }
        account.weight = party.weight.max(1);
        self.weight = self.weight.saturating_add(account.weight);
        if account.waiting.is_empty() {
            account.clock = account.clock.max(now);
            self.waiting.insert((account.clock, party.id));
        }
        account.waiting.push_back(ticket);
    }

    /// Gives the next turn, to a guest of the Revision that is returned with it, if a seat is free
    /// and somebody waits. Each has to [`Turns::end`].
    pub fn give(&mut self) -> Option<(u64, T)> {
        if self.is_busy() {
            return None;
        }
        let (clock, id) = self.waiting.pop_first()?;
        let account = self.revisions.get_mut(&id)?;
        let ticket = account.waiting.pop_front()?;
        self.now = self.now.max(clock);
        self.taken += 1;
        account.running += 1;
        // Now, so that the next turn is not given as if this one took nothing.
        account.clock += account.step(self.turn);
        if !account.waiting.is_empty() {
            self.waiting.insert((account.clock, id));
        }
        Some((id, ticket))
    }

    /// A turn of the Revision `id` ended, which took so much CPU time.
    pub fn end(&mut self, id: u64, used: Duration) {
        self.taken = self.taken.saturating_sub(1);
        let Some(account) = self.revisions.get_mut(&id) else {
            return;
        };
        let waits = self.waiting.remove(&(account.clock, id));
        account.running = account.running.saturating_sub(1);
        let expected = account.step(self.turn);
        account.clock = (account.clock + account.step(used)).saturating_sub(expected);
        if waits {
            self.waiting.insert((account.clock, id));
        }
        if !account.is_active() {
            self.weight = self.weight.saturating_sub(account.weight);
        }
    }

    /// Guests of `party` computed for so long without a turn. They have to pay for what they used
    /// within the last window, in which shares are to be kept, and not for more.
    pub fn charge(&mut self, party: Party, used: Duration) {
        self.sweep();
        let account = account(&mut self.revisions, party, self.now);
        let waits = self.waiting.remove(&(account.clock, party.id));
        let most = self.now + account.step(WINDOW);
        let clock = account.clock.max(self.now) + account.step(used);
        account.clock = clock.min(most).max(account.clock);
        if waits {
            self.waiting.insert((account.clock, party.id));
        }
    }

    /// Forgets those that would come back where the others are, from time to time.
    fn sweep(&mut self) {
        if self.revisions.len() < self.sweep_at {
            return;
        }
        let now = self.now;
        self.revisions
            .retain(|_, account| account.is_active() || account.clock > now);
        self.sweep_at = FEW.max(self.revisions.len() * 2);
    }
}

/// The account of a Revision; whoever is new starts where the others are.
fn account<T>(
    revisions: &mut BTreeMap<u64, Account<T>>,
    party: Party,
    now: u128,
) -> &mut Account<T> {
    revisions.entry(party.id).or_insert_with(|| Account {
        clock: now,
        weight: party.weight.max(1),
        running: 0,
        waiting: VecDeque::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(2);

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Guests of one Revision that ask again as soon as a turn ended.
    #[derive(Clone, Copy)]
    struct Hungry {
        weight: u64,
        guests: usize,
        /// How long its turns take.
        turn: Duration,
    }

    const fn hungry(weight: u64, guests: usize) -> Hungry {
        Hungry {
            weight,
            guests,
            turn: TURN,
        }
    }

    /// The CPU time that each got when so much was given.
    fn run(seats: usize, parties: &[Hungry], total: Duration) -> Vec<Duration> {
        let mut turns = Turns::new(seats, TURN);
        let party = |id: u64| Party {
            id,
            weight: parties[id as usize].weight,
        };
        for (id, hungry) in (0..).zip(parties) {
            for _ in 0..hungry.guests {
                turns.ask(party(id), ());
            }
        }
        let mut got = vec![Duration::ZERO; parties.len()];
        // When each turn ends; the earliest comes first.
        let mut running = BTreeSet::new();
        let (mut now, mut number) = (Duration::ZERO, 0);
        let weights: u64 = parties.iter().map(|hungry| hungry.weight).sum();
        while got.iter().sum::<Duration>() < total {
            assert_eq!(turns.weight(), weights);
            while let Some((id, ())) = turns.give() {
                number += 1;
                running.insert((now + parties[id as usize].turn, number, id));
            }
            assert!(running.len() <= seats);
            let (end, _, id) = running.pop_first().expect("somebody computes");
            now = end;
            let used = parties[id as usize].turn;
            got[id as usize] += used;
            // As a guest does that goes on: it asks before its turn is over.
            turns.ask(party(id), ());
            turns.end(id, used);
        }
        got
    }

    #[test]
    fn those_that_always_ask_share_in_proportion_to_their_weights() {
        struct Case {
            name: &'static str,
            seats: usize,
            parties: Vec<Hungry>,
            /// Percent of all time.
            want: &'static [u32],
        }
        const HALF_TURNS: Hungry = Hungry {
            weight: 100,
            guests: 4,
            turn: ms(1),
        };
        for case in [
            Case {
                name: "one_to_three",
                seats: 1,
                parties: vec![hungry(100, 1), hungry(300, 1)],
                want: &[25, 75],
            },
            Case {
                name: "calls_do_not_count",
                seats: 1,
                parties: vec![hungry(100, 20), hungry(300, 1)],
                want: &[25, 75],
            },
            Case {
                name: "on_two_cores",
                seats: 2,
                parties: vec![hungry(100, 2), hungry(300, 2)],
                want: &[25, 75],
            },
            Case {
                name: "one_guest_cannot_use_two_cores",
                seats: 2,
                parties: vec![hungry(100, 5), hungry(900, 1)],
                want: &[50, 50],
            },
            Case {
                name: "nothing_requested",
                seats: 1,
                parties: vec![hungry(2, 1), hungry(2, 3), hungry(4, 1)],
                want: &[25, 25, 50],
            },
            Case {
                name: "short_turns_make_no_difference",
                seats: 2,
                parties: vec![HALF_TURNS, hungry(100, 4)],
                want: &[50, 50],
            },
            Case {
                name: "alone",
                seats: 2,
                parties: vec![hungry(1, 1)],
                want: &[100],
            },
        ] {
            let got = run(case.seats, &case.parties, ms(10_000));
            let total: Duration = got.iter().sum();
            for (got, want) in got.iter().zip(case.want) {
                let percent = got.as_secs_f64() / total.as_secs_f64() * 100.0;
                let off = (percent - f64::from(*want)).abs();
                assert!(off < 1.0, "{}: {percent} for {want}", case.name);
            }
        }
    }

    #[test]
    fn the_share_is_kept_within_each_window() {
        for n in 1..20 {
            let got = run(1, &[hungry(100, 3), hungry(300, 3)], WINDOW * n);
            let want = WINDOW * n / 4;
            assert!(got[0].abs_diff(want) <= TURN * 4, "{got:?} after {n}");
        }
    }

    fn turn(turns: &mut Turns<()>, used: Duration) -> u64 {
        let (id, ()) = turns.give().expect("somebody waits");
        turns.end(id, used);
        id
    }

    const A: Party = Party { id: 1, weight: 100 };
    const B: Party = Party { id: 2, weight: 100 };

    #[test]
    fn nobody_saves_time_up() {
        let mut turns = Turns::new(1, TURN);
        for _ in 0..100 {
            turns.ask(A, ());
            assert_eq!(turn(&mut turns, TURN), A.id);
        }
        // Neither does it cost anything to have used what nobody else wanted.
        let mut order = Vec::new();
        for _ in 0..4 {
            turns.ask(A, ());
            turns.ask(B, ());
            order.push(turn(&mut turns, TURN));
            order.push(turn(&mut turns, TURN));
        }
        let of_a = order.iter().filter(|id| **id == A.id).count();
        assert_eq!(of_a, 4, "{order:?}");
    }

    #[test]
    fn a_guest_that_leaves_between_its_turns_gets_no_more() {
        let mut turns = Turns::new(1, TURN);
        let heavy = Party { id: 3, weight: 300 };
        let mut got = [0, 0];
        turns.ask(heavy, ());
        for _ in 0..400 {
            // It asks when the other one's turn has begun, each time as if it were new.
            let (id, ()) = turns.give().expect("somebody waits");
            if turns.waiting.is_empty() && id == heavy.id {
                turns.ask(A, ());
            }
            if id == heavy.id {
                turns.ask(heavy, ());
            }
            turns.end(id, TURN);
            got[usize::from(id == heavy.id)] += 1;
        }
        assert!(got[0] * 5 / 2 < got[1], "{got:?}");
    }

    #[test]
    fn a_turn_that_took_too_long_is_paid_for() {
        let mut turns = Turns::new(1, TURN);
        for _ in 0..20 {
            turns.ask(A, ());
            turns.ask(B, ());
        }
        let first = turn(&mut turns, ms(20));
        let others = (0..9).map(|_| turn(&mut turns, TURN)).collect::<Vec<_>>();
        assert!(others.iter().all(|id| *id != first), "{others:?}");
    }

    #[test]
    fn time_without_a_turn_is_paid_for_as_far_as_a_window_goes() {
        let paid = |used: Duration, waits: bool| {
            let mut turns = Turns::new(1, TURN);
            if waits {
                turns.ask(A, ());
            }
            turns.charge(A, used);
            if !waits {
                turns.ask(A, ());
            }
            (0..1000).for_each(|_| turns.ask(B, ()));
            let order = std::iter::repeat_with(|| turn(&mut turns, TURN));
            order.take_while(|id| *id == B.id).count()
        };
        for waits in [false, true] {
            assert_eq!(paid(Duration::ZERO, waits), 0);
            assert_eq!(paid(TURN * 10, waits), 10);
            assert_eq!(paid(ms(60_000), waits), 50);
        }
    }

    #[test]
    fn a_turn_that_was_not_used_costs_nothing() {
        let mut turns = Turns::new(1, TURN);
        turns.ask(A, ());
        assert!(!turns.is_busy());
        let (id, ()) = turns.give().expect("it waits");
        assert!(turns.is_busy());
        assert_eq!((turns.taken(), turns.weight()), (1, A.weight));
        assert_eq!(turns.give(), None);
        turns.end(id, Duration::ZERO);
        assert!(!turns.is_busy());
        assert_eq!((turns.taken(), turns.weight()), (0, 0));
        turns.ask(B, ());
        turns.ask(A, ());
        assert_eq!(turn(&mut turns, TURN), A.id);
    }

    #[test]
    fn revisions_of_which_nothing_is_known_are_forgotten() {
        let mut turns = Turns::new(1, TURN);
        for id in 0..10_000 {
            turns.ask(Party { id, weight: 1 }, ());
            turn(&mut turns, Duration::ZERO);
        }
        assert!(turns.revisions.len() <= FEW, "{}", turns.revisions.len());
    }

    #[test]
    fn what_is_requested_weighs_for_each_replica_and_never_nothing() {
        for (millicores, replicas, want) in [
            (100, 3, 300),
            (0, 5, 2),
            (100, 0, 100),
            (u64::MAX, 9, u64::MAX),
        ] {
            assert_eq!(weight(millicores, replicas), want);
        }
    }
}

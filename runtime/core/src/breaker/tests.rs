use std::collections::{BTreeSet, VecDeque};

use super::*;

fn breaker(places: usize, max_waiting: usize) -> Breaker {
    let mut breaker = Breaker::new(max_waiting);
    assert_eq!(breaker.set_capacity(Capacity::Limited(places)), []);
    breaker
}

#[track_caller]
fn wait(breaker: &mut Breaker) -> Ticket {
    match breaker.try_admit() {
        Admission::Waiting(ticket) => ticket,
        other => panic!("does not wait: {other:?}"),
    }
}

#[test]
fn capacity_is_that_of_the_ready_replicas() {
    let cases = [
        (0, 0, Capacity::Limited(0)),
        (0, 5, Capacity::Limited(0)),
        (1, 0, Capacity::Unlimited),
        (9, 0, Capacity::Unlimited),
        (1, 1, Capacity::Limited(1)),
        (3, 10, Capacity::Limited(30)),
    ];
    for (ready, places, want) in cases {
        assert_eq!(Capacity::of(ready, places), want, "{ready} of {places}");
    }
    assert_eq!(replica_queue_depth(0), 0);
    assert_eq!(replica_queue_depth(7), 70);
}

#[test]
fn at_zero_all_wait_until_the_queue_is_full() {
    let mut breaker = Breaker::new(2);
    wait(&mut breaker);
    wait(&mut breaker);
    assert_eq!(breaker.try_admit(), Admission::Full);
    assert_eq!((breaker.in_flight(), breaker.waiting()), (0, 2));
}

#[test]
fn a_queue_without_places_turns_away() {
    let mut breaker = breaker(1, 0);
    assert_eq!(breaker.try_admit(), Admission::Admitted);
    assert_eq!(breaker.try_admit(), Admission::Full);
    assert_eq!(breaker.release(), None);
    assert_eq!(breaker.try_admit(), Admission::Admitted);
}

#[test]
fn a_place_is_handed_to_the_one_that_waits_longest() {
    let mut breaker = breaker(1, 9);
    assert_eq!(breaker.try_admit(), Admission::Admitted);
    let first = wait(&mut breaker);
    let second = wait(&mut breaker);
    assert_eq!(breaker.release(), Some(first));
    // The place is taken already: who comes now waits behind the others.
    let third = wait(&mut breaker);
    assert_eq!(breaker.release(), Some(second));
    assert_eq!(breaker.release(), Some(third));
    assert_eq!(breaker.release(), None);
    assert_eq!(breaker.in_flight(), 0);
}

#[test]
fn more_capacity_admits_as_many_as_it_holds() {
    let mut breaker = breaker(0, 9);
    let tickets: Vec<Ticket> = (0..5).map(|_| wait(&mut breaker)).collect();
    assert_eq!(breaker.set_capacity(Capacity::Limited(2)), tickets[..2]);
    assert_eq!(breaker.set_capacity(Capacity::Limited(2)), []);
    assert_eq!(breaker.set_capacity(Capacity::Unlimited), tickets[2..]);
    assert_eq!((breaker.in_flight(), breaker.waiting()), (5, 0));
    assert_eq!(breaker.try_admit(), Admission::Admitted);
}

#[test]
fn less_capacity_interrupts_nobody_and_admits_nobody() {
    let mut breaker = breaker(3, 9);
    for _ in 0..3 {
        assert_eq!(breaker.try_admit(), Admission::Admitted);
    }
    assert_eq!(breaker.set_capacity(Capacity::Limited(1)), []);
    assert_eq!(breaker.in_flight(), 3);
    let ticket = wait(&mut breaker);
    assert_eq!(breaker.release(), None);
    assert_eq!(breaker.release(), None);
    assert_eq!(breaker.release(), Some(ticket));
}

#[test]
fn who_gives_up_is_passed_over() {
    let mut breaker = breaker(1, 2);
    assert_eq!(breaker.try_admit(), Admission::Admitted);
    let first = wait(&mut breaker);
    let second = wait(&mut breaker);
    assert_eq!(breaker.cancel(first), Cancelled::Removed);
    let third = wait(&mut breaker);
    assert_eq!(breaker.try_admit(), Admission::Full);
    assert_eq!(breaker.release(), Some(second));
    assert_eq!(breaker.release(), Some(third));
}

#[test]
fn who_gives_up_too_late_holds_a_place() {
    let mut breaker = breaker(1, 9);
    assert_eq!(breaker.try_admit(), Admission::Admitted);
    let first = wait(&mut breaker);
    let second = wait(&mut breaker);
    assert_eq!(breaker.release(), Some(first));
    assert_eq!(breaker.cancel(first), Cancelled::Admitted);
    assert_eq!(breaker.release(), Some(second));
}

#[test]
fn those_who_gave_up_do_not_fill_the_memory() {
    let mut breaker = breaker(0, 100);
    let oldest = wait(&mut breaker);
    for _ in 0..10_000 {
        let ticket = wait(&mut breaker);
        assert_eq!(breaker.cancel(ticket), Cancelled::Removed);
    }
    assert!(breaker.queue.entries.len() <= 2 + KEPT_WHEN_EMPTY);
    assert_eq!(breaker.set_capacity(Capacity::Limited(1)), [oldest]);
}

#[test]
fn an_empty_queue_keeps_little_memory() {
    let mut breaker = breaker(0, 10_000);
    for _ in 0..10_000 {
        wait(&mut breaker);
    }
    assert_eq!(breaker.set_capacity(Capacity::Unlimited).len(), 10_000);
    assert!(breaker.queue.entries.capacity() <= 2 * KEPT_WHEN_EMPTY);
}

/// The same rules over plain lists.
struct Model {
    capacity: Capacity,
    max_waiting: usize,
    in_flight: usize,
    waiting: VecDeque<Ticket>,
    /// Given back as admitted; its owner has not looked yet.
    unseen: BTreeSet<Ticket>,
}

impl Model {
    fn room(&self) -> bool {
        match self.capacity {
            Capacity::Limited(places) => self.in_flight < places,
            Capacity::Unlimited => true,
        }
    }

    /// Checks that `tickets` are exactly those that the capacity admits now, in order.
    #[track_caller]
    fn admit(&mut self, tickets: &[Ticket]) {
        for ticket in tickets {
            assert!(self.room(), "admitted beyond the capacity");
            assert_eq!(self.waiting.pop_front(), Some(*ticket), "out of order");
            self.in_flight += 1;
            self.unseen.insert(*ticket);
        }
        assert!(
            self.waiting.is_empty() || !self.room(),
            "a request waits beside a free place"
        );
    }
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn random_operations_agree_with_plain_lists() {
    for seed in 1..=200_u64 {
        println!("seed {seed}");
        run_random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), 2_000);
    }
}

fn run_random(mut random: u64, operations: usize) {
    let max_waiting = (xorshift(&mut random) % 50) as usize;
    // With impatient requests the queue is mostly of those who gave up.
    let impatient = xorshift(&mut random).is_multiple_of(2);
    let ends = if impatient { 45..47 } else { 45..75 };
    let mut breaker = Breaker::new(max_waiting);
    let mut model = Model {
        capacity: Capacity::Limited(0),
        max_waiting,
        in_flight: 0,
        waiting: VecDeque::new(),
        unseen: BTreeSet::new(),
    };
    for _ in 0..operations {
        match xorshift(&mut random) % 100 {
            0..45 => come(&mut breaker, &mut model),
            operation if ends.contains(&operation) => end(&mut breaker, &mut model),
            45..92 => give_up(&mut breaker, &mut model, &mut random),
            _ if xorshift(&mut random).is_multiple_of(8) => {
                model.max_waiting = (xorshift(&mut random) % 50) as usize;
                breaker.set_max_waiting(model.max_waiting);
            }
            _ => resize(&mut breaker, &mut model, &mut random),
        }
        assert_eq!(breaker.in_flight(), model.in_flight);
        assert_eq!(breaker.waiting(), model.waiting.len());
        assert_eq!(breaker.capacity(), model.capacity);
    }
    drain(breaker, model);
}

fn come(breaker: &mut Breaker, model: &mut Model) {
    match breaker.try_admit() {
        Admission::Admitted => {
            assert!(model.room() && model.waiting.is_empty(), "overtook");
            model.in_flight += 1;
        }
        Admission::Waiting(ticket) => {
            assert!(!model.room(), "waits beside a free place");
            assert!(model.waiting.len() < model.max_waiting);
            model.waiting.push_back(ticket);
        }
        Admission::Full => {
            assert!(!model.room(), "turned away beside a free place");
            assert!(model.waiting.len() >= model.max_waiting);
        }
    }
}

fn end(breaker: &mut Breaker, model: &mut Model) {
    if model.in_flight == 0 {
        return;
    }
    model.in_flight -= 1;
    // Whichever request ended, it has seen by now that it was admitted.
    model.unseen.pop_first();
    let next = breaker.release();
    model.admit(next.as_slice());
}

/// Any request that waits, or believes so, gives up.
fn give_up(breaker: &mut Breaker, model: &mut Model, random: &mut u64) {
    let believers: Vec<Ticket> = model.waiting.iter().chain(&model.unseen).copied().collect();
    if believers.is_empty() {
        return;
    }
    let ticket = believers[xorshift(random) as usize % believers.len()];
    match breaker.cancel(ticket) {
        Cancelled::Removed => {
            let before = model.waiting.len();
            model.waiting.retain(|waiting| *waiting != ticket);
            assert_eq!(model.waiting.len(), before - 1, "removed a stranger");
        }
        Cancelled::Admitted => {
            assert!(model.unseen.remove(&ticket), "was not admitted");
            model.in_flight -= 1;
            let next = breaker.release();
            model.admit(next.as_slice());
        }
    }
}

fn resize(breaker: &mut Breaker, model: &mut Model, random: &mut u64) {
    model.capacity = match xorshift(random) % 12 {
        0 => Capacity::Unlimited,
        places => Capacity::Limited(places as usize - 1),
    };
    let admitted = breaker.set_capacity(model.capacity);
    model.admit(&admitted);
}

/// With one place, all who still wait are admitted one after another.
fn drain(mut breaker: Breaker, mut model: Model) {
    model.capacity = Capacity::Limited(1);
    let admitted = breaker.set_capacity(model.capacity);
    model.admit(&admitted);
    while model.in_flight > 0 {
        end(&mut breaker, &mut model);
    }
    assert_eq!((breaker.in_flight(), breaker.waiting()), (0, 0));
    assert!(model.waiting.is_empty(), "a request was forgotten");
}

#[test]
fn a_word_says_what_its_breaker_would() {
    let seed = 7;
    let mut random = Lcg(seed);
    for case in 0..2000 {
        let capacity = match random.below(4) {
            0 => Capacity::Unlimited,
            n => Capacity::Limited((n as usize - 1) * random.below(3) as usize),
        };
        let mut breaker = Breaker::new(3);
        let _ = breaker.set_capacity(capacity);
        for _ in 0..random.below(6) {
            let _ = breaker.try_admit();
        }
        let places = breaker.places();
        assert_eq!(places.in_flight(), breaker.in_flight(), "case {case}");
        let before = breaker.clone();
        match places.enter() {
            Some(after) => {
                assert_eq!(breaker.try_admit(), Admission::Admitted, "case {case}");
                assert_eq!(after, breaker.places(), "case {case}");
            }
            None => assert_ne!(breaker.try_admit(), Admission::Admitted, "case {case}"),
        }
        let mut breaker = before;
        if let Some(after) = places.leave() {
            assert_eq!(breaker.release(), None, "case {case}");
            assert_eq!(after, breaker.places(), "case {case}");
        }
    }
}

#[test]
fn a_breaker_goes_on_from_a_word_that_others_changed() {
    let mut breaker = breaker(2, 9);
    let word = breaker.places().enter().expect("a place");
    breaker.adopt(word);
    assert_eq!(breaker.in_flight(), 1);
    assert_eq!(breaker.try_admit(), Admission::Admitted);
    assert_eq!(breaker.places().enter(), None, "no place is free");
    let ticket = wait(&mut breaker);
    assert_eq!(breaker.places().leave(), None, "the place is somebody's");
    assert_eq!(breaker.release(), Some(ticket));
    assert!(breaker.places().leave().is_some(), "nobody waits");
}

/// Numbers that look random, the same each time.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

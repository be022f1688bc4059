//! The books: what was sent, what arrived where, in which order, and how long it took.

use std::collections::{HashMap, VecDeque};

use hdrhistogram::Histogram;

use crate::payload::{Damaged, Stamp};

/// The longest latency that is told apart, in microseconds: ten minutes.
const LATENCY_MAX_US: u64 = 600_000_000;

/// How many deliveries were wrong, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Never arrived.
    pub lost: u64,
    /// Arrived more than once.
    pub doubled: u64,
    /// Arrived after a later one of the same publisher to the same channel.
    pub reordered: u64,
    /// Arrived at a subscriber for whom it was not, or was never sent.
    pub misdelivered: u64,
    /// Arrived with other bytes than were sent.
    pub damaged: u64,
}

impl Faults {
    /// Whether there are none.
    #[must_use]
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lost, doubled, reordered, misdelivered, damaged } = self;
        write!(
            out,
            "{lost} lost, {doubled} doubled, {reordered} reordered, {misdelivered} misdelivered, {damaged} damaged"
        )
    }
}

/// Where one receiver stands in one lane.
#[derive(Debug, Default)]
struct Place {
    next: u32,
    missing: Vec<u32>,
}

/// One ordered stream of messages.
#[derive(Debug, Default)]
struct Lane {
    sent: u32,
    receivers: u32,
    /// Messages that have not reached all, the oldest first: when each was due, and how many have yet to get
    /// it.
    open: VecDeque<(u64, u32)>,
    /// The number of the first of them.
    first_open: u32,
}

/// The books of one run.
#[derive(Debug)]
pub struct Tally {
    lanes: Vec<Lane>,
    places: HashMap<(u32, u32), Place>,
    faults: Faults,
    /// All deliveries.
    pub delivered: u64,
    /// How long each delivery took, in microseconds from when it was due.
    pub each: Histogram<u64>,
    /// How long each message took to its last receiver.
    pub last: Histogram<u64>,
    /// Messages that were due before this moment count for nothing but their faults.
    pub measured_from_us: u64,
}

impl Tally {
    /// Empty books for so many lanes, each of which has `receivers`.
    #[must_use]
    pub fn new(lanes: impl IntoIterator<Item = u32>) -> Self {
        let lanes = lanes.into_iter().map(|receivers| Lane { receivers, ..Lane::default() }).collect();
        Self {
            lanes,
            places: HashMap::new(),
            faults: Faults::default(),
            delivered: 0,
            each: histogram(),
            last: histogram(),
            measured_from_us: 0,
        }
    }

    /// The next message of a lane.
    pub fn send(&mut self, lane: u32, due_us: u64) -> Stamp {
        let entry = &mut self.lanes[lane as usize];
        let number = entry.sent;
        entry.sent += 1;
        entry.open.push_back((due_us, entry.receivers));
        Stamp { lane, number, due_us }
    }

    /// How many messages were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.lanes.iter().map(|lane| u64::from(lane.sent)).sum()
    }

    /// How many deliveries are to come of what was sent.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.lanes.iter().map(|lane| u64::from(lane.sent) * u64::from(lane.receivers)).sum()
    }

    /// Something arrived at a receiver that follows the lanes from `first`, `lanes` of them.
    pub fn receive(
        &mut self,
        receiver: u32,
        first: u32,
        lanes: u32,
        found: Result<Stamp, Damaged>,
        now_us: u64,
    ) {
        let Ok(stamp) = found else {
            self.faults.damaged += 1;
            return;
        };
        let known = (first..first + lanes).contains(&stamp.lane)
            && self.lanes.get(stamp.lane as usize).is_some_and(|lane| stamp.number < lane.sent);
        if !known {
            self.faults.misdelivered += 1;
            return;
        }
        let place = self.places.entry((receiver, stamp.lane)).or_default();
        if stamp.number >= place.next {
            place.missing.extend(place.next..stamp.number);
            place.next = stamp.number + 1;
        } else if let Some(at) = place.missing.iter().position(|number| *number == stamp.number) {
            place.missing.swap_remove(at);
            self.faults.reordered += 1;
        } else {
            self.faults.doubled += 1;
            return;
        }
        self.delivered += 1;
        let took = now_us.saturating_sub(stamp.due_us);
        let measured = stamp.due_us >= self.measured_from_us;
        if measured {
            self.each.saturating_record(took);
        }
        let lane = &mut self.lanes[stamp.lane as usize];
        let Some((_, left)) = lane.open.get_mut((stamp.number - lane.first_open) as usize) else { return };
        *left -= 1;
        if *left == 0 && measured {
            self.last.saturating_record(took);
        }
        while lane.open.front().is_some_and(|(_, left)| *left == 0) {
            lane.open.pop_front();
            lane.first_open += 1;
        }
    }

    /// The faults, with everything that has not arrived counted as lost.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults { lost: self.expected().saturating_sub(self.delivered), ..self.faults }
    }
}

/// Of times in microseconds, up to ten minutes.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    // Three digits between one microsecond and ten minutes is a form that the library has.
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).unwrap_or_else(|error| unreachable!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two receivers of one lane with five messages; the second one gets `second`.
    fn run(second: &[u32]) -> (Tally, Faults) {
        let mut tally = Tally::new([2]);
        let stamps: Vec<Stamp> = (0..5).map(|n| tally.send(0, n * 10)).collect();
        for stamp in &stamps {
            tally.receive(0, 0, 1, Ok(*stamp), 100);
        }
        for number in second {
            let stamp = stamps.get(*number as usize).copied().unwrap_or(Stamp {
                lane: 0,
                number: *number,
                due_us: 0,
            });
            tally.receive(1, 0, 1, Ok(stamp), 200);
        }
        let faults = tally.faults();
        (tally, faults)
    }

    #[test]
    fn what_arrives_in_order_has_no_fault() {
        let (tally, faults) = run(&[0, 1, 2, 3, 4]);
        assert!(faults.none(), "{faults}");
        assert_eq!((tally.delivered, tally.each.len(), tally.last.len(), tally.last.max()), (10, 10, 5, 200));
    }

    #[test]
    fn planted_faults_are_found() {
        let none = Faults::default();
        assert_eq!(run(&[0, 1, 3, 4]).1, Faults { lost: 1, ..none }, "in the middle");
        assert_eq!(run(&[0, 1, 2, 3]).1, Faults { lost: 1, ..none }, "at the end");
        assert_eq!(run(&[]).1, Faults { lost: 5, ..none });
        assert_eq!(run(&[0, 1, 1, 2, 3, 4, 0]).1, Faults { doubled: 2, ..none });
        assert_eq!(run(&[0, 2, 1, 3, 4]).1, Faults { reordered: 1, ..none });
        assert_eq!(run(&[0, 1, 2, 3, 4, 9]).1, Faults { misdelivered: 1, ..none }, "never sent");
        assert_eq!(run(&[0, 2, 2, 1, 1, 4]).1, Faults { lost: 1, doubled: 2, reordered: 1, ..none });
    }

    #[test]
    fn damage_and_foreign_messages_are_found() {
        let mut tally = Tally::new([1, 1]);
        let stamp = tally.send(1, 0);
        tally.receive(0, 0, 1, Ok(stamp), 1);
        tally.receive(1, 1, 1, Err(Damaged), 1);
        assert_eq!(tally.faults(), Faults { lost: 1, misdelivered: 1, damaged: 1, ..Faults::default() });
    }

    #[test]
    fn what_was_due_before_is_not_measured() {
        let mut tally = Tally::new([1]);
        tally.measured_from_us = 50;
        for due in [0, 100] {
            let stamp = tally.send(0, due);
            tally.receive(0, 0, 1, Ok(stamp), due + 7);
        }
        assert_eq!((tally.delivered, tally.each.len(), tally.each.max()), (2, 1, 7));
    }
}

//! Which idempotency keys and producers are too old to count, by the stream's sequence instead of a clock,
//! since the servers' clocks are not this node's. They themselves are messages in the stream.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use encke_proto::{Epoch, Time};

use crate::{KEY_KEPT_S, PRODUCER_KEPT_S, passed::Passed};

/// How far apart the moments are whose sequence is remembered, in seconds: by so much a key, or a producer,
/// is kept longer than it must.
const KEY_STEP_S: u64 = 10;
const PRODUCER_STEP_S: u64 = 3_600;
/// How long the stream itself keeps a key, in seconds by the servers' clock.
pub(super) const KEY_TTL_S: u64 = 3 * KEY_KEPT_S;

/// What of one kind is too old to count. The stream's sequence serves as its clock: what was stored up to one
/// is at least as old as the moment at which it was the last.
#[derive(Debug)]
pub(super) struct KeptTimes {
    moments: Mutex<Moments>,
    kept_s: u64,
    step_s: u64,
}

#[derive(Debug)]
struct Moments {
    passed: Passed,
    /// Moments in the order of time, each with the stream's last sequence then.
    last: VecDeque<(Time, u64)>,
    /// What was stored up to this sequence is too old.
    void_up_to: u64,
    /// Sequences of another epoch's stream mean nothing.
    epoch: Epoch,
}

impl KeptTimes {
    /// Of idempotency keys.
    pub(super) fn of_keys() -> Self {
        Self::new(KEY_KEPT_S, KEY_STEP_S)
    }

    /// Of producers.
    pub(super) fn of_producers() -> Self {
        Self::new(PRODUCER_KEPT_S, PRODUCER_STEP_S)
    }

    fn new(kept_s: u64, step_s: u64) -> Self {
        let (passed, last) = (Passed::from(Time(0)), VecDeque::new());
        let moments = Moments { passed, last, void_up_to: 0, epoch: Epoch(0) };
        Self { moments: Mutex::new(moments), kept_s, step_s }
    }

    /// It is `now` by the clock, and the stream's last sequence is this.
    pub(super) fn told(&self, now: Time, epoch: Epoch, last_seq: u64) {
        let mut moments = self.lock(epoch);
        let stamp = moments.passed.at(now);
        if moments.last.back().is_none_or(|(last, _)| last.plus_seconds(self.step_s) <= stamp) {
            moments.last.push_back((stamp, last_seq));
        }
        while let Some((then, seq)) = moments.last.front().copied()
            && then.plus_seconds(self.kept_s) < stamp
        {
            moments.void_up_to = seq;
            moments.last.pop_front();
        }
        debug_assert!(moments.last.len() as u64 <= self.kept_s / self.step_s + 2, "one for each step");
    }

    /// Up to which sequence nothing counts any more.
    pub(super) fn void_up_to(&self, epoch: Epoch) -> u64 {
        self.lock(epoch).void_up_to
    }

    fn lock(&self, epoch: Epoch) -> std::sync::MutexGuard<'_, Moments> {
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        if moments.epoch != epoch {
            moments.last.clear();
            moments.void_up_to = 0;
            moments.epoch = epoch;
        }
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_for_its_time_whatever_the_clock_does() {
        let keys = KeptTimes::of_keys();
        let epoch = Epoch(1);
        let mut now = Time(0).plus_seconds(1_000_000);
        let mut pass = |seconds: u64, seq: u64| {
            for _ in 0..seconds / 5 {
                now = now.plus_seconds(5);
                keys.told(now, epoch, seq);
            }
            keys.void_up_to(epoch)
        };
        assert_eq!(pass(10, 7), 0);
        assert_eq!(pass(KEY_KEPT_S - 10, 8), 0);
        assert_eq!(pass(30, 9), 8, "what had come 15 seconds after the beginning is over ten minutes old");
        keys.told(Time(0).plus_seconds(9_000_000), epoch, 10);
        assert!(keys.void_up_to(epoch) < 9, "a clock that was set makes nothing old");
        assert_eq!(keys.void_up_to(Epoch(2)), 0, "another stream's sequences say nothing");
    }
}

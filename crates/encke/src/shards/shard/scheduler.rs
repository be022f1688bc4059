//! The scheduler of a shard: which connections are written to in a turn, and which of them are held until
//! there is more to write.
//!
//! Turns follow each other without a pause. What comes while one runs is done in the next, all of it together:
//! the more there is to do, the more is done at once, and nothing waits for what may not come. In a turn,
//! those are served first who became ready by a message for them alone, and then a batch of those whom a
//! broadcast made ready. Only a broadcast may be held, and only from a receiver that was sent one just now:
//! each send owes a share of a millisecond, the time that goes by pays, and while a millisecond or more is
//! owed such receivers are held until it is paid. A `linger_ms` takes the place of what is owed, and holds
//! every receiver of a public channel.

use std::collections::VecDeque;

use encke_hub::Key;

use crate::shards::Queued;

/// How many sends of broadcasts a shard makes in a millisecond before it holds others. A send takes 4 to 8
/// us, so by then a third to half of the shard's time goes into them.
const SENDS_PER_MS: u32 = 64;
/// The longest that a broadcast is held for what is owed, in milliseconds.
const HOLD_MAX_MS: u32 = 5;
/// For how many ready connections room is kept when there is none.
const READY_KEPT: usize = 1_024;

/// The ready connections of a shard, in the order in which they are served. Each stands in a queue once at
/// most as long as one request of it waits, so the queues are bounded by the table.
#[derive(Debug)]
pub(super) struct Scheduler {
    /// Those that became ready alone.
    targeted: VecDeque<Key>,
    /// Those of broadcasts.
    broadcast: VecDeque<Key>,
    /// Those of broadcasts that are held.
    held: VecDeque<Key>,
    /// When these are let go. It is when the first of them has been held for as long as it may be.
    held_until_ms: u64,
    /// For how long broadcasts are held by the configuration. With 0 by what is owed.
    linger_ms: u64,
    /// Sends of broadcasts for which the time has not gone yet. When time goes on, no more than
    /// [`HOLD_MAX_MS`] pays for.
    owed: u32,
    /// Up to when time was paid in.
    paid_ms: u64,
    /// A receiver that is sent a broadcast remembers the round, to be known again as one that was sent
    /// something just now. The numbers from 1 to 255 come again and again, so one in so many is held that
    /// need not be; 0 is the round of those that were sent nothing yet.
    round: u8,
    /// When the round began. It ends when those that are held are let go, or after [`HOLD_MAX_MS`].
    round_ms: u64,
}

impl Scheduler {
    /// No connection is ready. Broadcasts are held for `linger_ms`; with 0, only as long as what they cost
    /// asks for it.
    pub(super) fn new(linger_ms: u64) -> Self {
        Self {
            targeted: VecDeque::new(),
            broadcast: VecDeque::new(),
            held: VecDeque::new(),
            held_until_ms: 0,
            linger_ms,
            owed: 0,
            paid_ms: 0,
            round: 1,
            round_ms: 0,
        }
    }

    /// A turn begins: the time that has gone pays for what was sent.
    pub(super) fn begin_turn(&mut self, now_ms: u64) {
        if now_ms > self.paid_ms {
            let gone_ms = u32::try_from(now_ms - self.paid_ms).unwrap_or(u32::MAX);
            self.owed = self
                .owed
                .min(HOLD_MAX_MS * SENDS_PER_MS)
                .saturating_sub(gone_ms.saturating_mul(SENDS_PER_MS));
            self.paid_ms = now_ms;
            if now_ms - self.round_ms >= u64::from(HOLD_MAX_MS) {
                self.begin_round();
            }
        }
    }

    /// It became ready alone.
    pub(super) fn put_targeted(&mut self, key: Key, queued: &mut Queued) {
        if !std::mem::replace(&mut queued.narrow, true) {
            self.targeted.push_back(key);
        }
    }

    /// It became ready by a broadcast.
    pub(super) fn put_broadcast(&mut self, key: Key, queued: &mut Queued, now_ms: u64) {
        if std::mem::replace(&mut queued.broadcast, true) {
            return;
        }
        let hold_ms = self.hold_ms(queued.round);
        if hold_ms == 0 {
            return self.broadcast.push_back(key);
        }
        if self.held.is_empty() {
            self.held_until_ms = now_ms + hold_ms;
        }
        self.held.push_back(key);
    }

    /// It has had its turn, and there is more for it.
    pub(super) fn put_back(&mut self, key: Key, queued: &mut Queued, broadcast: bool) {
        if !broadcast {
            self.put_targeted(key, queued);
        } else if !std::mem::replace(&mut queued.broadcast, true) {
            self.broadcast.push_back(key);
        }
    }

    /// It is sent what a broadcast made it ready for.
    pub(super) fn sent_broadcast(&mut self, queued: &mut Queued) {
        self.owed = self.owed.saturating_add(1);
        queued.round = self.round;
    }

    /// How many are ready alone, and how many are ready by broadcasts and not held any more.
    pub(super) fn counts(&mut self, now_ms: u64) -> (usize, usize) {
        if self.held_until_ms <= now_ms && !self.held.is_empty() {
            self.broadcast.append(&mut self.held);
            self.begin_round();
        }
        (self.targeted.len(), self.broadcast.len())
    }

    /// The next that is alone.
    pub(super) fn next_targeted(&mut self) -> Option<Key> {
        self.targeted.pop_front()
    }

    /// The next of a broadcast.
    pub(super) fn next_broadcast(&mut self) -> Option<Key> {
        self.broadcast.pop_front()
    }

    /// Gives back the room that a broadcast has left for as many as it made ready.
    pub(super) fn make_small(&mut self) {
        for queue in [&mut self.targeted, &mut self.broadcast, &mut self.held] {
            if queue.is_empty() && queue.capacity() > READY_KEPT {
                *queue = VecDeque::new();
            }
        }
    }

    /// How long there is nothing to do, in milliseconds; none when no connection is ready.
    pub(super) fn rests_ms(&self, now_ms: u64) -> Option<u64> {
        if !self.targeted.is_empty() || !self.broadcast.is_empty() {
            return Some(0);
        }
        (!self.held.is_empty()).then(|| self.held_until_ms.saturating_sub(now_ms))
    }

    /// For how long a connection is held that a broadcast made ready, in milliseconds. `round` is the one in
    /// which it was sent a broadcast last.
    fn hold_ms(&self, round: u8) -> u64 {
        if self.linger_ms > 0 {
            self.linger_ms
        } else if round == self.round {
            u64::from((self.owed / SENDS_PER_MS).min(HOLD_MAX_MS))
        } else {
            0
        }
    }

    fn begin_round(&mut self) {
        self.round = self.round % u8::MAX + 1;
        self.round_ms = self.paid_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    /// Sends `count` broadcasts in a turn; the round in which that is.
    fn send(scheduler: &mut Scheduler, count: u32, now_ms: u64) -> u8 {
        scheduler.begin_turn(now_ms);
        let mut queued = Queued::default();
        (0..count).for_each(|_| scheduler.sent_broadcast(&mut queued));
        queued.round
    }

    fn hold_ms(scheduler: &mut Scheduler, round: u8, now_ms: u64) -> u64 {
        scheduler.begin_turn(now_ms);
        scheduler.hold_ms(round)
    }

    #[test]
    fn a_hold_is_as_long_as_its_sends_pay_for_up_to_a_bound() {
        let mut scheduler = Scheduler::new(0);
        let round = send(&mut scheduler, SENDS_PER_MS - 1, 100);
        assert_eq!(scheduler.hold_ms(round), 0, "few cost nothing");
        send(&mut scheduler, SENDS_PER_MS * 2 + 1, 100);
        assert_eq!([100, 101, 102, 103].map(|now_ms| hold_ms(&mut scheduler, round, now_ms)), [3, 2, 1, 0]);
        let round = send(&mut scheduler, SENDS_PER_MS * 1_000, 110);
        assert_eq!([110, 111, 114, 115].map(|now_ms| hold_ms(&mut scheduler, round, now_ms)), [5, 4, 1, 0]);
        let round = send(&mut scheduler, SENDS_PER_MS * 1_000, 120);
        assert_eq!([120, 90_000].map(|now_ms| hold_ms(&mut scheduler, round, now_ms)), [5, 0]);
    }

    #[test]
    fn no_receiver_is_held_that_was_sent_nothing_in_the_round() {
        let mut scheduler = Scheduler::new(0);
        let first = send(&mut scheduler, 1_000, 100);
        assert_eq!([first, first - 1, 0].map(|round| scheduler.hold_ms(round)), [5, 0, 0]);
        scheduler.begin_round();
        assert_eq!(scheduler.hold_ms(first), 0, "it was held already");
        let second = send(&mut scheduler, 1, 100);
        assert_eq!(scheduler.hold_ms(second), 5, "what is owed is owed still");
        // However much is sent meanwhile, after a while it is not just now any more.
        for now_ms in 101..105 {
            assert_eq!(send(&mut scheduler, 1_000, now_ms), second);
            assert_eq!(scheduler.hold_ms(second), 5);
        }
        let third = send(&mut scheduler, 1_000, 105);
        assert_eq!([second, third].map(|round| scheduler.hold_ms(round)), [0, 5]);
    }

    #[test]
    fn rounds_come_again_and_none_is_that_of_newcomers() {
        let mut scheduler = Scheduler::new(0);
        for _ in 0..1_000 {
            let round = send(&mut scheduler, 100, 7);
            assert_ne!(round, 0);
            scheduler.begin_round();
            assert_eq!((scheduler.hold_ms(round), scheduler.hold_ms(0)), (0, 0));
        }
        let round = send(&mut scheduler, 1, 7);
        let back = hold_ms(&mut scheduler, round, 3);
        assert_eq!(back, 5, "a clock that stands still or goes back pays nothing");
    }

    #[test]
    fn broadcasts_linger_and_nothing_else() {
        let (mut scheduler, mut queued) = (Scheduler::new(5), [Queued::default(); 3]);
        assert_eq!(scheduler.rests_ms(100), None);
        scheduler.put_broadcast(key(0), &mut queued[0], 100);
        scheduler.put_broadcast(key(1), &mut queued[1], 104);
        assert_eq!((scheduler.rests_ms(104), scheduler.counts(104)), (Some(1), (0, 0)));
        scheduler.put_targeted(key(2), &mut queued[2]);
        scheduler.put_targeted(key(1), &mut queued[1]);
        assert_eq!((scheduler.rests_ms(104), scheduler.counts(104)), (Some(0), (2, 0)));
        assert_eq!((scheduler.next_targeted(), scheduler.next_targeted()), (Some(key(2)), Some(key(1))));
        assert_eq!(scheduler.counts(105), (0, 2), "the second was held for less than the first");
        scheduler.put_back(key(2), &mut queued[2], true);
        assert_eq!(scheduler.counts(105), (0, 3), "what has had a turn does not linger again");
    }

    #[test]
    fn a_receiver_that_was_sent_much_just_now_is_held_for_more() {
        let (mut scheduler, mut queued) = (Scheduler::new(0), [Queued::default(); 200]);
        let serve = |scheduler: &mut Scheduler, queued: &mut [Queued], now_ms| {
            let (_, broadcast) = scheduler.counts(now_ms);
            for _ in 0..broadcast {
                let queued = &mut queued[scheduler.next_broadcast().unwrap().index as usize];
                queued.broadcast = false;
                scheduler.sent_broadcast(queued);
            }
            broadcast
        };
        let broadcast = |scheduler: &mut Scheduler, queued: &mut [Queued], now_ms| {
            scheduler.begin_turn(now_ms);
            (0..).zip(queued).for_each(|(index, queued)| scheduler.put_broadcast(key(index), queued, now_ms));
        };
        // The last is not among those of the first message.
        broadcast(&mut scheduler, &mut queued[..199], 100);
        assert_eq!(serve(&mut scheduler, &mut queued, 100), 199, "a first message waits for nothing");
        broadcast(&mut scheduler, &mut queued, 101);
        assert_eq!(serve(&mut scheduler, &mut queued, 101), 1, "nor does one that had none");
        assert_eq!(scheduler.rests_ms(101), Some(2));
        broadcast(&mut scheduler, &mut queued, 102);
        scheduler.put_targeted(key(7), &mut queued[7]);
        assert_eq!(scheduler.counts(102), (1, 0), "nor what is for one alone");
        assert_eq!(serve(&mut scheduler, &mut queued, 103), 200, "both messages at once");
        assert_eq!(serve(&mut scheduler, &mut queued, 200), 0);
        broadcast(&mut scheduler, &mut queued, 200);
        assert_eq!(serve(&mut scheduler, &mut queued, 200), 200, "after a rest it is a first message again");
    }

    #[test]
    fn no_connection_stands_in_a_queue_twice() {
        let (mut scheduler, mut queued) = (Scheduler::new(0), Queued::default());
        for _ in 0..3 {
            scheduler.put_broadcast(key(0), &mut queued, 0);
            scheduler.put_targeted(key(0), &mut queued);
            scheduler.put_back(key(0), &mut queued, true);
        }
        assert_eq!(scheduler.counts(0), (1, 1));
    }
}

//! Connections that have something to pull, in the order in which they are served.

use std::collections::VecDeque;

use encke_hub::Key;

use super::broadcast_pacing::BroadcastPacing;
use crate::shards::Queued;

/// For how many ready connections room is kept when there is none.
const READY_KEPT: usize = 1_024;

/// The ready connections of a shard. Each stands in a queue once at most as long as one request of it waits,
/// so the queues are bounded by the table.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Those that became ready alone.
    narrow: VecDeque<Key>,
    /// Those of broadcasts.
    broadcast: VecDeque<Key>,
    /// Those of broadcasts that wait until there is more for them.
    lingering: VecDeque<Key>,
    /// When these have waited long enough.
    opens_ms: u64,
    /// How long they wait by the configuration. With 0 the pacing says it.
    linger_ms: u64,
    broadcast_pacing: BroadcastPacing,
}

impl Ready {
    /// No slot is ready. Broadcasts gather for `linger_ms`; with 0, only as long as what they cost asks for
    /// it.
    pub(super) fn new(linger_ms: u64) -> Self {
        Self { linger_ms, ..Self::default() }
    }

    /// Another turn begins.
    pub(super) fn go_on(&mut self, now_ms: u64) {
        self.broadcast_pacing.go_on(now_ms);
    }

    /// It became ready by a broadcast.
    pub(super) fn put_broadcast(&mut self, key: Key, queued: &mut Queued, now_ms: u64) {
        if std::mem::replace(&mut queued.broadcast, true) {
            return;
        }
        let waits_ms =
            if self.linger_ms > 0 { self.linger_ms } else { self.broadcast_pacing.pause_ms(queued.round) };
        if waits_ms == 0 {
            return self.broadcast.push_back(key);
        }
        if self.lingering.is_empty() {
            self.opens_ms = now_ms + waits_ms;
        }
        self.lingering.push_back(key);
    }

    /// It is sent what a broadcast made it ready for.
    pub(super) fn sent_broadcast(&mut self, queued: &mut Queued) {
        queued.round = self.broadcast_pacing.sent();
    }

    /// It became ready alone.
    pub(super) fn put_targeted(&mut self, key: Key, queued: &mut Queued) {
        if !std::mem::replace(&mut queued.narrow, true) {
            self.narrow.push_back(key);
        }
    }

    /// It has had its turn, and there is more for it.
    pub(super) fn put_back(&mut self, key: Key, queued: &mut Queued, broadcast: bool) {
        if !broadcast {
            self.put_targeted(key, queued);
        } else if !std::mem::replace(&mut queued.broadcast, true) {
            self.broadcast.push_back(key);
        }
    }

    /// The next that is alone.
    pub(super) fn next_targeted(&mut self) -> Option<Key> {
        self.narrow.pop_front()
    }

    /// The next of a broadcast.
    pub(super) fn next_broadcast(&mut self) -> Option<Key> {
        self.broadcast.pop_front()
    }

    /// How many are alone, and how many are of broadcasts and have waited long enough by now.
    pub(super) fn counts(&mut self, now_ms: u64) -> (usize, usize) {
        if self.opens_ms <= now_ms && !self.lingering.is_empty() {
            self.broadcast.append(&mut self.lingering);
            self.broadcast_pacing.let_go();
        }
        (self.narrow.len(), self.broadcast.len())
    }

    /// Gives back the room that a broadcast has left for as many as it made ready.
    pub(super) fn make_small(&mut self) {
        for queue in [&mut self.narrow, &mut self.broadcast, &mut self.lingering] {
            if queue.is_empty() && queue.capacity() > READY_KEPT {
                *queue = VecDeque::new();
            }
        }
    }

    /// How long there is nothing to do, in milliseconds; none when no slot is ready.
    pub(super) fn rests_ms(&self, now_ms: u64) -> Option<u64> {
        if !self.narrow.is_empty() || !self.broadcast.is_empty() {
            return Some(0);
        }
        (!self.lingering.is_empty()).then(|| self.opens_ms.saturating_sub(now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    #[test]
    fn broadcasts_linger_and_nothing_else_does() {
        let (mut ready, mut queued) = (Ready::new(5), [Queued::default(); 3]);
        assert_eq!(ready.rests_ms(100), None);
        ready.put_broadcast(key(0), &mut queued[0], 100);
        ready.put_broadcast(key(1), &mut queued[1], 104);
        assert_eq!((ready.rests_ms(104), ready.counts(104)), (Some(1), (0, 0)));
        ready.put_targeted(key(2), &mut queued[2]);
        ready.put_targeted(key(1), &mut queued[1]);
        assert_eq!((ready.rests_ms(104), ready.counts(104)), (Some(0), (2, 0)));
        assert_eq!((ready.next_targeted(), ready.next_targeted()), (Some(key(2)), Some(key(1))));
        assert_eq!(ready.counts(105), (0, 2), "the second waited less than the first");
        ready.put_back(key(2), &mut queued[2], true);
        assert_eq!(ready.counts(105), (0, 3), "who has had a turn does not linger again");
    }

    #[test]
    fn who_was_sent_much_just_now_waits_for_more() {
        let (mut ready, mut queued) = (Ready::new(0), [Queued::default(); 200]);
        let serve = |ready: &mut Ready, queued: &mut [Queued], now_ms| {
            let (_, broadcast) = ready.counts(now_ms);
            for _ in 0..broadcast {
                let queued = &mut queued[ready.next_broadcast().unwrap().index as usize];
                queued.broadcast = false;
                ready.sent_broadcast(queued);
            }
            broadcast
        };
        let broadcast = |ready: &mut Ready, queued: &mut [Queued], now_ms| {
            ready.go_on(now_ms);
            (0..).zip(queued).for_each(|(index, queued)| ready.put_broadcast(key(index), queued, now_ms));
        };
        // The last is not among those of the first message.
        broadcast(&mut ready, &mut queued[..199], 100);
        assert_eq!(serve(&mut ready, &mut queued, 100), 199, "a first message waits for nothing");
        broadcast(&mut ready, &mut queued, 101);
        assert_eq!(serve(&mut ready, &mut queued, 101), 1, "nor does who had none");
        assert_eq!(ready.rests_ms(101), Some(2));
        broadcast(&mut ready, &mut queued, 102);
        ready.put_targeted(key(7), &mut queued[7]);
        assert_eq!(ready.counts(102), (1, 0), "nor what is for one alone");
        assert_eq!(serve(&mut ready, &mut queued, 103), 200, "both messages at once");
        assert_eq!(serve(&mut ready, &mut queued, 200), 0);
        broadcast(&mut ready, &mut queued, 200);
        assert_eq!(serve(&mut ready, &mut queued, 200), 200, "after a rest it is a first message again");
    }

    #[test]
    fn no_slot_stands_in_a_queue_twice() {
        let (mut ready, mut queued) = (Ready::new(0), Queued::default());
        for _ in 0..3 {
            ready.put_broadcast(key(0), &mut queued, 0);
            ready.put_targeted(key(0), &mut queued);
            ready.put_back(key(0), &mut queued, true);
        }
        assert_eq!(ready.counts(0), (1, 1));
    }
}

//! How much is read in one turn of a shard, and which connections are to be read on in the next one.
//!
//! The kernel tells only once that a socket has something (epoll(7), edge-triggered files). So a connection
//! that is left unread for the sake of the others stands in a queue here, and is read on without being told
//! again.

use std::collections::{HashSet, VecDeque};

use encke_hub::Key;

/// The most bytes read from one connection in one turn: a client that never stops sending costs the others of
/// its shard no more than the handling of so many.
pub(super) const CONNECTION_MAX_BYTES: usize = 16 * 1024;
/// The most bytes read from all connections in one turn.
const TURN_MAX_BYTES: usize = 256 * 1024;
/// How much of that is for deferred reads. The rest is for those of which the kernel tells now, so
/// that neither can keep the other from being read.
const DEFERRED_MAX_BYTES: usize = TURN_MAX_BYTES / 2;
/// What a read counts at least, since a system call costs the same for one byte as for some hundred.
const READ_COUNTS_BYTES: usize = 512;
/// The most requests answered from what one connection has sent ahead, in one turn.
pub(super) const REQUESTS_MAX: usize = 16;

/// The budget of the turn, and the queue, in which a connection stands once at most. One that has ended since
/// stands there until its turn comes, so the queue is bounded by the sockets that were open in one turn.
#[derive(Debug, Default)]
pub(super) struct ReadBudget {
    left: usize,
    deferred: VecDeque<Key>,
    /// The slots in the queue. Nearly always it is empty, so a slot has no room for this.
    in_queue: HashSet<Key>,
}

impl ReadBudget {
    /// A turn begins. How many connections of the queue may be read in it, at most.
    pub(super) fn begin(&mut self) -> usize {
        self.left = DEFERRED_MAX_BYTES;
        self.deferred.len()
    }

    /// Deferred reads have had their share of the turn.
    pub(super) fn admit_others(&mut self) {
        self.left += TURN_MAX_BYTES - DEFERRED_MAX_BYTES;
    }

    /// What a read of so many bytes costs; it is taken from the turn's budget.
    pub(super) fn take(&mut self, bytes: usize) -> usize {
        let cost = bytes.max(READ_COUNTS_BYTES);
        self.left = self.left.saturating_sub(cost);
        cost
    }

    /// Whether the turn has read as much as it may.
    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Lets a connection be read on in the next turn.
    pub(super) fn defer(&mut self, key: Key) {
        if self.in_queue.insert(key) {
            self.deferred.push_back(key);
        }
    }

    /// The connection that has waited longest.
    pub(super) fn next(&mut self) -> Option<Key> {
        let key = self.deferred.pop_front()?;
        self.in_queue.remove(&key);
        Some(key)
    }

    /// Whether a connection is read on in the next turn.
    pub(super) fn is_deferred(&self, key: Key) -> bool {
        !self.deferred.is_empty() && self.in_queue.contains(&key)
    }

    /// Whether the next turn has something to read that the kernel will not tell of.
    pub(super) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deferred_reads_leave_half_of_a_turn_to_the_others() {
        let mut budget = ReadBudget::default();
        let key = |index| Key { index, generation: 1 };
        (0..3).for_each(|index| budget.defer(key(index)));
        assert_eq!(budget.begin(), 3);
        let mut cost = 0;
        while !budget.is_spent() {
            cost += budget.take(CONNECTION_MAX_BYTES);
        }
        assert_eq!(cost, DEFERRED_MAX_BYTES);
        assert_eq!(budget.next(), Some(key(0)), "first in, first out");
        budget.admit_others();
        assert!(!budget.is_spent());
        assert_eq!(budget.take(1), READ_COUNTS_BYTES);
        assert!(budget.has_deferred());
    }
}

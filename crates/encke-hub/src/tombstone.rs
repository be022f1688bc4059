//! The ids of sessions that were closed on purpose, kept for the grace time, so that a client that returns
//! with one of them is told that it is closed and not that it is unknown.

use std::collections::{HashMap, VecDeque};

use encke_proto::{SessionId, UserId};

/// The most closed sessions that are remembered; past it the oldest are forgotten first, and count as
/// unknown.
const TOMBSTONES_MAX: usize = 65_536;

/// For how many there is always room.
const KEPT: usize = 256;

/// The sessions that were closed on purpose, so that a client that did not hear of it is told when it comes
/// back.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    closed: HashMap<SessionId, Tombstone>,
    order: VecDeque<SessionId>,
}

#[derive(Debug)]
struct Tombstone {
    user: UserId,
    until_ms: u64,
}

impl Tombstones {
    pub(crate) fn insert(&mut self, session: SessionId, user: UserId, until_ms: u64) {
        if self.closed.insert(session, Tombstone { user, until_ms }).is_none() {
            self.order.push_back(session);
        }
        if self.order.len() > TOMBSTONES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.closed.remove(&oldest);
        }
    }

    /// Whether it was a session of this user. To others it is as unknown as any that never was.
    pub(crate) fn contains(&self, session: SessionId, user: &UserId) -> bool {
        self.closed.get(&session).is_some_and(|tombstone| tombstone.user == *user)
    }

    /// Forgets those whose time is over. All are kept equally long, so the oldest come first.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while let Some(oldest) = self.order.front() {
            if self.closed.get(oldest).is_some_and(|tombstone| tombstone.until_ms > now_ms) {
                break;
            }
            self.closed.remove(oldest);
            self.order.pop_front();
        }
        // What was needed when very many were closed is not kept for a few.
        if self.order.capacity() / 4 > self.order.len().max(KEPT) {
            self.order.shrink_to(2 * self.order.len());
            self.closed.shrink_to(2 * self.closed.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_kept_for_their_time_and_bounded() {
        let (mut tombstones, user) = (Tombstones::default(), UserId::new("alice").unwrap());
        for n in 0..TOMBSTONES_MAX as u128 + 10 {
            tombstones.insert(SessionId::from_bits(n), user.clone(), 1_000);
        }
        assert!(
            !tombstones.contains(SessionId::from_bits(9), &user)
                && tombstones.contains(SessionId::from_bits(10), &user)
        );
        tombstones.expire(999);
        assert!(tombstones.contains(SessionId::from_bits(10), &user));
        tombstones.expire(1_000);
        assert_eq!((tombstones.closed.len(), tombstones.order.len()), (0, 0));
        assert!(
            tombstones.closed.capacity() <= KEPT && tombstones.order.capacity() <= KEPT,
            "nor room for them"
        );
    }
}

use std::collections::{HashMap, VecDeque};

use encke_proto::SessionId;

/// The most closed sessions that are remembered; past it the oldest are forgotten first, and count as unknown.
const TOMBSTONES_MAX: usize = 65_536;

/// The sessions that were closed on purpose, so that a client that did not hear of it is told when it comes back.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    until_ms: HashMap<SessionId, u64>,
    order: VecDeque<SessionId>,
}

impl Tombstones {
    pub(crate) fn insert(&mut self, session: SessionId, until_ms: u64) {
        if self.until_ms.insert(session, until_ms).is_none() {
            self.order.push_back(session);
        }
        if self.order.len() > TOMBSTONES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.until_ms.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, session: SessionId) -> bool {
        self.until_ms.contains_key(&session)
    }

    /// Forgets those whose time is over. All are kept equally long, so the oldest come first.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while let Some(oldest) = self.order.front() {
            if self.until_ms.get(oldest).is_some_and(|until| *until > now_ms) {
                break;
            }
            self.until_ms.remove(oldest);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_kept_for_their_time_and_bounded() {
        let mut tombstones = Tombstones::default();
        for n in 0..TOMBSTONES_MAX as u128 + 10 {
            tombstones.insert(SessionId::from_bits(n), 1_000);
        }
        assert!(!tombstones.contains(SessionId::from_bits(9)) && tombstones.contains(SessionId::from_bits(10)));
        tombstones.expire(999);
        assert!(tombstones.contains(SessionId::from_bits(10)));
        tombstones.expire(1_000);
        assert_eq!((tombstones.until_ms.len(), tombstones.order.len()), (0, 0));
    }
}

//! The sessions that are being fetched from other nodes, which are nowhere meanwhile.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use encke_proto::SessionId;

/// Those of this node: one at most for each request that waits for that.
#[derive(Debug, Default)]
pub(super) struct Fetches(Mutex<HashSet<SessionId>>);

impl Fetches {
    fn ids(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One begins, unless it is under way.
    pub(super) fn begin(&self, id: SessionId) -> Option<Fetching<'_>> {
        let begins = self.ids().insert(id);
        begins.then(|| Fetching { fetches: self, id })
    }

    /// Whether it is under way.
    pub(super) fn holds(&self, id: SessionId) -> bool {
        self.ids().contains(&id)
    }
}

/// That a session is being fetched.
#[derive(Debug)]
pub(super) struct Fetching<'a> {
    fetches: &'a Fetches,
    id: SessionId,
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.fetches.ids().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_under_way_once() {
        let (fetches, id) = (Fetches::default(), SessionId::from_bits(1));
        let fetching = fetches.begin(id);
        assert!(fetching.is_some() && fetches.holds(id));
        assert!(fetches.begin(id).is_none() && fetches.begin(SessionId::from_bits(2)).is_some());
        drop(fetching);
        assert!(!fetches.holds(id) && !fetches.holds(SessionId::from_bits(2)));
    }
}

//! All sessions of Bayeux on this node, by their ids, with their bounds and the time of each.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use encke_proto::SessionId;

use super::session::Session;

/// The most sessions.
const SESSIONS_MAX: usize = 1 << 20;
/// The most of them that have not connected yet: a handshake alone is cheap for its client.
const UNCONNECTED_MAX: usize = 1 << 16;
/// In so many parts they stand, each with a lock of its own.
pub(super) const PARTS: usize = 64;

type Part = HashMap<SessionId, Arc<Session>>;

/// The sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    parts: [Mutex<Part>; PARTS],
    hasher: RandomState,
    count: AtomicUsize,
    unconnected: AtomicUsize,
}

/// There are as many as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Default for Sessions {
    fn default() -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
            unconnected: AtomicUsize::new(0),
        }
    }
}

impl Sessions {
    fn part(&self, id: SessionId) -> MutexGuard<'_, Part> {
        let number = usize::try_from(self.hasher.hash_one(id) % PARTS as u64).unwrap_or(0);
        self.lock(number)
    }

    fn lock(&self, number: usize) -> MutexGuard<'_, Part> {
        self.parts[number % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.part(id).get(&id).cloned()
    }

    /// Takes one in; it takes the place of another one of its id.
    pub(super) fn insert(&self, session: Arc<Session>) -> Result<(), TooMany> {
        let is_new = session.state().connects == 0;
        if self.count.load(Ordering::Relaxed) >= SESSIONS_MAX
            || (is_new && self.unconnected.load(Ordering::Relaxed) >= UNCONNECTED_MAX)
        {
            return Err(TooMany);
        }
        if is_new {
            self.unconnected.fetch_add(1, Ordering::Relaxed);
            session.state().is_counted = true;
        }
        let replaced = self.part(session.id).insert(session.id, session);
        match replaced {
            Some(other) => self.connected(&other),
            None => {
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// One has connected for the first time, or is gone: it counts no more among those that have not.
    pub(super) fn connected(&self, session: &Session) {
        if std::mem::take(&mut session.state().is_counted) {
            self.unconnected.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&self, id: SessionId) -> Option<Arc<Session>> {
        let gone = self.part(id).remove(&id)?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.connected(&gone);
        Some(gone)
    }

    /// Takes those of a part out whose time is over.
    pub(super) fn sweep(&self, number: usize, now_ms: u64) -> Vec<Arc<Session>> {
        let mut part = self.lock(number);
        let over: Vec<SessionId> =
            part.iter().filter(|(_, session)| session.state().due_ms <= now_ms).map(|(id, _)| *id).collect();
        let gone: Vec<Arc<Session>> = over.iter().filter_map(|id| part.remove(id)).collect();
        if part.capacity() > 4 * part.len() + 64 {
            part.shrink_to_fit();
        }
        drop(part);
        self.count.fetch_sub(gone.len(), Ordering::Relaxed);
        gone.iter().for_each(|session| self.connected(session));
        gone
    }

    /// How many there are, and how many of them have not connected yet.
    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        (self.count.load(Ordering::Relaxed), self.unconnected.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use encke_proto::{Time, TokenInfo, UserId};

    use super::*;
    use crate::auth::{Authenticated, Grants, Identity};

    fn session(number: u128, due_ms: u64) -> Arc<Session> {
        let identity = Identity {
            user: UserId::new("alice").unwrap(),
            grants: Grants::default().into(),
            expires: Time(0),
            by_cookie: false,
        };
        let owner = Authenticated { identity, token: TokenInfo::default() };
        let session = Session::new(SessionId::from_bits(number), owner, false, false);
        session.state().due_ms = due_ms;
        Arc::new(session)
    }

    #[test]
    fn handshakes_without_a_connect_are_bounded_and_gone_after_their_time() {
        let sessions = Sessions::default();
        let taken = (0..100_000).filter(|number| sessions.insert(session(*number, 10)).is_ok()).count();
        assert_eq!((taken, sessions.counts()), (UNCONNECTED_MAX, (UNCONNECTED_MAX, UNCONNECTED_MAX)));
        let first = sessions.get(SessionId::from_bits(0)).unwrap();
        first.connect(None);
        sessions.connected(&first);
        first.state().due_ms = 20;
        assert!(sessions.insert(session(1 << 100, 10)).is_ok(), "there is room for one more");
        let swept = |now_ms| (0..PARTS).map(|part| sessions.sweep(part, now_ms).len()).sum::<usize>();
        assert_eq!(swept(9), 0);
        assert_eq!(swept(10), UNCONNECTED_MAX);
        assert_eq!(sessions.counts(), (1, 0));
        assert_eq!((swept(20), sessions.counts()), (1, (0, 0)));
    }

    #[test]
    fn one_that_is_gone_before_its_first_connect_counts_once() {
        let sessions = Sessions::default();
        for number in 0..3 {
            let one = session(number, 10);
            assert!(sessions.insert(Arc::clone(&one)).is_ok());
            sessions.remove(one.id);
            one.connect(None);
            sessions.connected(&one);
        }
        assert_eq!(sessions.counts(), (0, 0));
        assert!(sessions.insert(session(7, 10)).is_ok());
    }

    #[test]
    fn one_takes_the_place_of_another_of_its_id() {
        let sessions = Sessions::default();
        sessions.insert(session(1, 10)).unwrap();
        sessions.insert(session(1, 20)).unwrap();
        assert_eq!(sessions.counts(), (1, 1));
        assert!(sessions.remove(SessionId::from_bits(1)).is_some());
        assert!(sessions.remove(SessionId::from_bits(1)).is_none());
        assert_eq!(sessions.counts(), (0, 0));
    }
}

//! Who has a session on this node, for every thread to read without asking a shard.
//!
//! A shard enters a user with the first session and takes the user out with the last, before the client reads
//! that either has happened. A session outlives its polls, so a user who polls is in here between them too.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{PoisonError, RwLock},
};

use encke_proto::UserId;

/// How many parts the set has, each with a lock of its own: so many readers and shards seldom meet, and what
/// a part takes to grow is a 64th of what the whole would.
const PARTS: usize = 64;
/// For how many users a part keeps room when they are gone.
const KEPT: usize = 64;

/// The users who are online on this node. Bounded by the users of all hubs, which enter them.
#[derive(Debug)]
pub struct OnlineUsers {
    parts: [RwLock<HashSet<UserId>>; PARTS],
    hasher: RandomState,
}

impl Default for OnlineUsers {
    fn default() -> Self {
        Self { parts: std::array::from_fn(|_| RwLock::default()), hasher: RandomState::new() }
    }
}

impl OnlineUsers {
    /// Whether a user has a session here.
    #[must_use]
    pub fn contains(&self, user: &UserId) -> bool {
        self.part(user).read().unwrap_or_else(PoisonError::into_inner).contains(user)
    }

    /// A user has the first session.
    pub fn insert(&self, user: UserId) {
        self.part(&user).write().unwrap_or_else(PoisonError::into_inner).insert(user);
    }

    /// A user's last session is gone.
    pub fn remove(&self, user: &UserId) {
        let mut part = self.part(user).write().unwrap_or_else(PoisonError::into_inner);
        part.remove(user);
        if part.capacity() > KEPT && part.capacity() / 4 > part.len() {
            let room = part.len() * 2;
            part.shrink_to(room);
        }
    }

    fn part(&self, user: &UserId) -> &RwLock<HashSet<UserId>> {
        // The remainder is below the number of parts, on machines of any width.
        &self.parts[(self.hasher.hash_one(user) % PARTS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> UserId {
        UserId::new(&format!("user{number}")).unwrap()
    }

    #[test]
    fn it_holds_those_who_came_and_have_not_gone() {
        let online = OnlineUsers::default();
        (0..1_000).for_each(|number| online.insert(user(number)));
        (0..1_000).step_by(2).for_each(|number| online.remove(&user(number)));
        assert!(
            (0..1_001).all(|number| online.contains(&user(number)) == (number % 2 == 1 && number < 1_000))
        );
    }

    #[test]
    fn the_room_of_those_who_have_gone_is_given_back() {
        let online = OnlineUsers::default();
        let room = || -> usize { online.parts.iter().map(|part| part.read().unwrap().capacity()).sum() };
        (0..100_000).for_each(|number| online.insert(user(number)));
        assert!(room() >= 100_000);
        (1..100_000).for_each(|number| online.remove(&user(number)));
        assert!(room() < PARTS * 2 * KEPT, "{}", room());
        assert!(online.contains(&user(0)), "the one who stays");
    }
}

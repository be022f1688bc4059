//! A map that every thread reads and the shards change, in parts with a lock each, so that readers and shards
//! seldom meet.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{PoisonError, RwLock},
};

use encke_proto::NameHashState;

/// How many parts it has. What a part takes to grow is a 64th of what the whole would.
const PARTS: usize = 64;
/// For how many keys a part keeps room when they are gone.
const KEPT: usize = 64;

/// A map from names. Bounded by what its users enter.
#[derive(Debug)]
pub(super) struct PartedMap<K, V> {
    parts: [RwLock<HashMap<K, V, NameHashState>>; PARTS],
}

impl<K, V> Default for PartedMap<K, V> {
    fn default() -> Self {
        Self { parts: std::array::from_fn(|_| RwLock::default()) }
    }
}

impl<K: Borrow<str> + Eq + Hash, V> PartedMap<K, V> {
    /// What is entered for a key.
    pub(super) fn get(&self, key: &K) -> Option<V>
    where
        V: Copy,
    {
        self.part(key).read().unwrap_or_else(PoisonError::into_inner).get(key.borrow()).copied()
    }

    /// Changes the part that holds a key, while no other thread sees it.
    pub(super) fn change<R>(
        &self,
        key: &K,
        change: impl FnOnce(&mut HashMap<K, V, NameHashState>) -> R,
    ) -> R {
        let mut part = self.part(key).write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut part);
        if part.capacity() > KEPT && part.capacity() / 4 > part.len() {
            let room = part.len() * 2;
            part.shrink_to(room);
        }
        result
    }

    /// The keys that are wanted, part by part: each part as it was at one moment.
    pub(super) fn keys(&self, is_wanted: impl Fn(&K) -> bool) -> Vec<K>
    where
        K: Clone,
    {
        let mut keys = Vec::new();
        for part in &self.parts {
            let part = part.read().unwrap_or_else(PoisonError::into_inner);
            keys.extend(part.keys().filter(|key| is_wanted(key)).cloned());
        }
        keys
    }

    fn part(&self, key: &K) -> &RwLock<HashMap<K, V, NameHashState>> {
        // Names differ most at their ends. Names that were chosen to fall into one part only make that a map
        // like any other, whose hashes no client knows.
        let ending = key.borrow().bytes().rev().take(4);
        &self.parts[ending.fold(0, |sum: usize, byte| sum * 31 + usize::from(byte)) % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use encke_proto::UserId;

    use super::*;

    fn user(number: usize) -> UserId {
        UserId::new(&format!("user{number}")).unwrap()
    }

    #[test]
    fn the_room_of_what_is_gone_is_given_back() {
        let map = PartedMap::default();
        let room = || -> usize { map.parts.iter().map(|part| part.read().unwrap().capacity()).sum() };
        let change = |number, change: fn(&mut HashMap<UserId, (), NameHashState>, UserId)| {
            map.change(&user(number), |part| change(part, user(number)));
        };
        (0..100_000).for_each(|number| change(number, |part, user| _ = part.insert(user, ())));
        assert!(room() >= 100_000);
        (1..100_000).for_each(|number| change(number, |part, user| _ = part.remove(&user)));
        assert!(room() < PARTS * 2 * KEPT, "{}", room());
        assert!(map.get(&user(0)).is_some(), "what stays");
    }
}

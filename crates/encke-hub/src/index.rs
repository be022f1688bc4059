//! A hash index from names to places in a slab. It does not own the names, since the values hold them
//! already; that saves a copy of every user id and session id.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;

use crate::{Key, Slab};

/// Room that is kept however few there are.
const KEPT: usize = 64;

/// What values of a slab are found by.
pub trait Keyed<T>: Hash + Eq {
    /// The name of a value; none of one that is not to be found by it.
    fn of(value: &T) -> Option<&Self>;
}

/// Finds the values of a slab by their names. It holds no names, which the values have: only places. As there
/// are as many places as users and sessions, that is most of what it would hold.
#[derive(Debug)]
pub struct Index<S = RandomState> {
    places: HashTable<u32>,
    state: S,
}

impl<S: Default> Default for Index<S> {
    fn default() -> Self {
        Self { places: HashTable::new(), state: S::default() }
    }
}

impl<S: BuildHasher> Index<S> {
    /// The key of the value of this name.
    #[must_use]
    pub fn find<T, N: Keyed<T>>(&self, values: &Slab<T>, name: &N) -> Option<Key> {
        self.find_value(values, name).map(|(key, _)| key)
    }

    /// The value of this name, and its key.
    #[must_use]
    pub fn find_value<'a, T, N: Keyed<T>>(&self, values: &'a Slab<T>, name: &N) -> Option<(Key, &'a T)> {
        let mut found = None;
        // The value that is looked at is remembered, since this is asked for every message.
        self.places.find(self.state.hash_one(name), |place| {
            found = values.entry_at(*place).filter(|(_, value)| N::of(value) == Some(name));
            found.is_some()
        })?;
        found
    }

    /// Lets the value at `key`, which has this name already, be found by it. No other value may have it.
    pub fn insert<T, N: Keyed<T>>(&mut self, values: &Slab<T>, name: &N, key: Key) {
        let Self { places, state } = self;
        places.insert_unique(state.hash_one(name), key.index, |place| hash_of::<T, N>(state, values, *place));
    }

    /// The value at `key` is not to be found by this name any more; whether it was. It need not be there
    /// still.
    pub fn remove<N: Hash>(&mut self, name: &N, key: Key) -> bool {
        let found = self.places.find_entry(self.state.hash_one(name), |place| *place == key.index);
        found.map(|entry| entry.remove()).is_ok()
    }

    /// Gives room back that was needed for more than there are now. `name` is said for its kind alone.
    pub fn fit<T, N: Keyed<T>>(&mut self, values: &Slab<T>) {
        let Self { places, state } = self;
        if places.capacity() / 4 > places.len().max(KEPT) {
            places.shrink_to(2 * places.len(), |place| hash_of::<T, N>(state, values, *place));
        }
    }

    /// How many can be found.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none can.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The places of all values that can be found, in no order.
    pub fn places(&self) -> impl Iterator<Item = u32> {
        self.places.iter().copied()
    }
}

fn hash_of<T, N: Keyed<T>>(state: &impl BuildHasher, values: &Slab<T>, place: u32) -> u64 {
    // A value that can be found is there and has its name, or it could not be found: no hash is asked for of
    // any other value.
    values.at(place).and_then(N::of).map_or(0, |name| state.hash_one(name))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use std::collections::HashMap;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Word(String);

    impl Keyed<Word> for Word {
        fn of(value: &Word) -> Option<&Self> {
            Some(value)
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_a_map_would_find(acts in vec((0..40_u16, any::<bool>()), 0..400)) {
            let (mut slab, mut map) = (Slab::default(), HashMap::new());
            let mut index = Index::<RandomState>::default();
            for (number, comes) in acts {
                let word = Word(number.to_string());
                prop_assert_eq!(index.find(&slab, &word), map.get(&number).copied());
                match (map.get(&number).copied(), comes) {
                    (None, true) => {
                        let key = slab.insert(word);
                        index.insert(&slab, &Word(number.to_string()), key);
                        map.insert(number, key);
                    }
                    (Some(key), false) => {
                        prop_assert!(index.remove(&word, key));
                        prop_assert!(!index.remove(&word, key));
                        slab.remove(key);
                        map.remove(&number);
                    }
                    _ => {}
                }
                prop_assert_eq!(index.len(), map.len());
            }
        }
    }

    /// Else many names could be chosen that fall into one place, and each would be looked for among all.
    #[test]
    fn t27_no_one_knows_where_a_name_falls() {
        let hashes = [(); 4].map(|()| Index::<RandomState>::default().state.hash_one("a"));
        assert!(hashes.iter().any(|hash| *hash != hashes[0]), "{hashes:?}");
    }

    #[test]
    fn room_is_given_back() {
        let (mut slab, mut index) = (Slab::default(), Index::<RandomState>::default());
        let word = |number: usize| Word(number.to_string());
        let keys: Vec<Key> = (0..10_000).map(|number| slab.insert(word(number))).collect();
        (0..).zip(&keys).for_each(|(number, key)| index.insert(&slab, &word(number), *key));
        for (number, key) in keys.iter().enumerate().skip(100) {
            index.remove(&word(number), *key);
            slab.remove(*key);
        }
        index.fit::<Word, Word>(&slab);
        assert!(index.places.capacity() < 400, "{}", index.places.capacity());
        assert!((0..10_000).all(|number| index.find(&slab, &word(number)).is_some() == (number < 100)));
        assert_eq!(index.places().count(), 100);
    }
}

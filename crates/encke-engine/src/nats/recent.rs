//! A bounded cache that drops what was not used lately, by two generations instead of a list of uses.

use std::{borrow::Borrow, collections::HashMap, hash::Hash, mem};

/// What was used lately, in two generations: what is asked for moves to the younger; when that is full it
/// becomes the older, and what was not asked for meanwhile is gone.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    generation_max: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Holds at most twice `generation_max`.
    pub(super) fn new(generation_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_max }
    }

    pub(super) fn get<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.generation_max {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays() {
        let mut recent = Recent::new(3);
        for key in 0..100 {
            recent.insert(key, key * 10);
            assert_eq!(recent.get(&0), Some(&mut 0));
        }
        let held =
            (0..100).filter(|key| recent.young.contains_key(key) || recent.old.contains_key(key)).count();
        assert!((4..=6).contains(&held), "{held}");
        assert_eq!((recent.remove(&0), recent.get(&0)), (Some(0), None));
    }
}

/// The name of a value in a [`Slab`]: where it stands, and which of the values that have stood there it is. A key to a value that is gone finds nothing, also when another has taken the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The place.
    pub index: u32,
    /// Which value there has been at that place.
    pub generation: u32,
}

/// Values in one block of memory, with keys that never take one value for another.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Puts a value in and tells its key.
    ///
    /// # Panics
    /// Over 2^32 values at a time; the connections and names that lead here are bounded far below.
    pub fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.value = Some(value);
            return Key { index, generation: place.generation };
        }
        let index = u32::try_from(self.places.len()).expect("a slab holds fewer than 2^32 values");
        self.places.push(Place { generation: 0, value: Some(value) });
        Key { index, generation: 0 }
    }

    /// Takes a value out; its key finds nothing any more.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index as usize).filter(|place| place.generation == key.generation)?;
        let value = place.value.take()?;
        self.len -= 1;
        // A place whose generations are used up is not used again; that is 2^32 values at one place.
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(key.index);
        }
        Some(value)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key.index as usize).filter(|place| place.generation == key.generation)?.value.as_ref()
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key.index as usize).filter(|place| place.generation == key.generation)?.value.as_mut()
    }

    /// The value at a place that is known to be taken, such as one in a member list.
    #[must_use]
    pub fn at(&self, index: u32) -> Option<&T> {
        self.places.get(index as usize)?.value.as_ref()
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.places.get_mut(index as usize)?.value.as_mut()
    }

    /// The key of the value at a place.
    #[must_use]
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let place = self.places.get(index as usize)?;
        place.value.as_ref().map(|_| Key { index, generation: place.generation })
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All values with their keys, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let keyed =
            |(index, place): (usize, &Place<T>)| Key { index: u32::try_from(index).unwrap_or(u32::MAX), generation: place.generation };
        self.places.iter().enumerate().filter_map(move |each| each.1.value.as_ref().map(|value| (keyed(each), value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert("a");
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b");
        assert_eq!(first.index, second.index, "the place is used again");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"b"));
    }

    #[test]
    fn it_holds_what_a_map_would_hold_through_churn() {
        let (mut slab, mut model, mut gone) = (Slab::default(), HashMap::new(), Vec::new());
        // A small linear congruential generator: the same churn at every run.
        let mut state = 42_u64;
        for step in 0..20_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if state >> 63 == 0 || model.is_empty() {
                assert_eq!(model.insert(slab.insert(step), step), None, "a key is given once");
            } else {
                let key = *model.keys().nth((state >> 32) as usize % model.len()).unwrap();
                assert_eq!(slab.remove(key), model.remove(&key));
                gone.push(key);
            }
            if step % 1000 == 0 {
                assert!(model.iter().all(|(key, value)| slab.get(*key) == Some(value)));
                assert!(gone.iter().all(|key| slab.get(*key).is_none()));
                assert_eq!(slab.len(), model.len());
            }
        }
    }
}

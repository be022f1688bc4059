//! A slab with generations: values in fixed pages, found by keys that never name a later value at the same
//! place. Pages are returned when they are empty, so that memory follows the number of values down as well as
//! up.

use std::collections::BTreeSet;

/// How many places a page has: as many as there are bits to say which are free.
const PAGE_PLACES: usize = u64::BITS as usize;

/// The name of a value in a [`Slab`]: where it stands, and which of the values that have stood there it is. A
/// key to a value that is gone finds nothing, also when another has taken the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The place.
    pub index: u32,
    /// Which value there has been at that place.
    pub generation: u32,
}

/// Values in pages of memory, with keys that never take one value for another. A page is made when it is
/// needed, never moved, and given back when nothing stands in it any more: so many values cost what they are
/// large, while they come as well as after they have gone.
#[derive(Debug)]
pub struct Slab<T> {
    pages: Vec<Page<T>>,
    /// The pages with a free place. The first of them is filled first, so that the last ones run empty.
    open: BTreeSet<u32>,
    /// The one page that is kept although it is empty, lest a value that comes and goes should make and
    /// unmake a page each time.
    spare: Option<u32>,
    len: usize,
}

#[derive(Debug)]
struct Page<T> {
    /// None before the page is used, and after it was given back. Places follow as they are needed.
    places: Vec<Place<T>>,
    /// A bit for each place that can be taken.
    free: u64,
    /// The generation with which its places begin: of a page that was given back, behind all that it has had.
    first_generation: u32,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), open: BTreeSet::new(), spare: None, len: 0 }
    }
}

/// Which page a place is in, and where.
fn split(index: u32) -> (usize, usize) {
    let index = index as usize;
    (index / PAGE_PLACES, index % PAGE_PLACES)
}

impl<T> Slab<T> {
    /// Puts a value in and tells its key.
    ///
    /// # Panics
    /// Over 2^32 values at a time; the connections and names that lead here are bounded far below.
    pub fn insert(&mut self, value: T) -> Key {
        let number = self.open.first().copied().unwrap_or_else(|| self.add_page());
        if self.spare == Some(number) {
            self.spare = None;
        }
        self.len += 1;
        let page = &mut self.pages[number as usize];
        let at = page.free.trailing_zeros();
        let generation = page.put(at as usize, value);
        if page.free == 0 {
            self.open.remove(&number);
        }
        Key { index: number * PAGE_PLACES as u32 + at, generation }
    }

    fn add_page(&mut self) -> u32 {
        let number =
            u32::try_from(self.pages.len()).ok().filter(|number| *number <= u32::MAX / PAGE_PLACES as u32);
        let number = number.expect("a slab holds fewer than 2^32 values");
        self.pages.push(Page { places: Vec::new(), free: u64::MAX, first_generation: 0 });
        self.open.insert(number);
        number
    }

    /// Takes a value out; its key finds nothing any more.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let (number, at) = split(key.index);
        let page = self.pages.get_mut(number)?;
        let value = page.take(at, key.generation)?;
        self.len -= 1;
        let (free, number) = (page.free, u32::try_from(number).unwrap_or(u32::MAX));
        if free != 0 {
            self.open.insert(number);
        }
        if free == u64::MAX {
            self.give_back(number);
        }
        Some(value)
    }

    /// A page has run empty. Of two such the first is kept, as it will be filled first.
    fn give_back(&mut self, number: u32) {
        let (kept, other) = match self.spare {
            Some(spare) => (spare.min(number), Some(spare.max(number))),
            None => (number, None),
        };
        self.spare = Some(kept);
        if let Some(page) = other.and_then(|other| self.pages.get_mut(other as usize)) {
            page.first_generation = page.places.iter().map(|place| place.generation).max().unwrap_or(0);
            page.places = Vec::new();
        }
    }

    fn place(&self, index: u32) -> Option<&Place<T>> {
        let (number, at) = split(index);
        self.pages.get(number)?.places.get(at)
    }

    fn place_mut(&mut self, index: u32) -> Option<&mut Place<T>> {
        let (number, at) = split(index);
        self.pages.get_mut(number)?.places.get_mut(at)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        self.place(key.index).filter(|place| place.generation == key.generation)?.value.as_ref()
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.place_mut(key.index).filter(|place| place.generation == key.generation)?.value.as_mut()
    }

    /// The value at a place that is known to be taken, such as one in a member list.
    #[must_use]
    pub fn at(&self, index: u32) -> Option<&T> {
        self.place(index)?.value.as_ref()
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.place_mut(index)?.value.as_mut()
    }

    /// The key of the value at a place.
    #[must_use]
    pub fn key_at(&self, index: u32) -> Option<Key> {
        self.entry_at(index).map(|(key, _)| key)
    }

    /// The value at a place, with its key.
    #[must_use]
    pub fn entry_at(&self, index: u32) -> Option<(Key, &T)> {
        let place = self.place(index)?;
        Some((Key { index, generation: place.generation }, place.value.as_ref()?))
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
        let places = (0_u32..)
            .step_by(PAGE_PLACES)
            .zip(&self.pages)
            .flat_map(|(first, page)| (first..).zip(&page.places));
        places.filter_map(|(index, place)| {
            Some((Key { index, generation: place.generation }, place.value.as_ref()?))
        })
    }

    /// How many places there is memory for.
    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.pages.iter().map(|page| page.places.capacity()).sum()
    }
}

impl<T> Page<T> {
    /// Puts a value at a free place; its generation.
    fn put(&mut self, at: usize, value: T) -> u32 {
        self.free &= !(1 << at);
        if let Some(place) = self.places.get_mut(at) {
            place.value = Some(value);
            return place.generation;
        }
        // The first free place is always taken, so the one behind the last is next.
        debug_assert_eq!(at, self.places.len());
        if self.places.capacity() == 0 {
            self.places.reserve_exact(PAGE_PLACES);
        }
        self.places.push(Place { generation: self.first_generation, value: Some(value) });
        self.first_generation
    }

    fn take(&mut self, at: usize, generation: u32) -> Option<T> {
        let place = self.places.get_mut(at).filter(|place| place.generation == generation)?;
        let value = place.value.take()?;
        // A place whose generations are used up is not used again; that is 2^32 values at one place.
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free |= 1 << at;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        /// So many come.
        Come(u8),
        /// So many go, from a place among all on.
        Go(u16, u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            any::<u8>().prop_map(Act::Come),
            (any::<u16>(), any::<u8>()).prop_map(|(from, count)| Act::Go(from, count))
        ]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_would_hold_through_churn(acts in vec(act(), 0..40)) {
            let (mut slab, mut map, mut given) = (Slab::default(), HashMap::new(), HashSet::new());
            let mut next = 0_u32;
            for act in acts {
                match act {
                    Act::Come(count) => for _ in 0..count {
                        next += 1;
                        let key = slab.insert(next);
                        prop_assert!(given.insert(key), "a key is given once");
                        map.insert(key, next);
                    },
                    Act::Go(from, count) => {
                        let mut keys: Vec<Key> = map.keys().copied().collect();
                        keys.sort_unstable();
                        let from = usize::from(from) % keys.len().max(1);
                        for key in keys.into_iter().skip(from).take(count.into()) {
                            prop_assert_eq!(slab.remove(key), map.remove(&key));
                        }
                    }
                }
                prop_assert_eq!(slab.len(), map.len());
                prop_assert!(
                    given.iter().all(|key| slab.get(*key) == map.get(key)),
                    "stale keys find nothing, others theirs"
                );
                let places: Vec<u32> = slab.iter().map(|(key, _)| key.index).collect();
                prop_assert!(places.is_sorted() && places.len() == map.len());
                prop_assert!(slab.iter().all(|(key, value)| map.get(&key) == Some(value)));
                prop_assert!(slab.iter().all(|(key, _)| slab.key_at(key.index) == Some(key)));
                let used: HashSet<usize> = places.iter().map(|index| split(*index).0).collect();
                let capacity_max = (used.len() + 1) * PAGE_PLACES;
                prop_assert!(slab.capacity() <= capacity_max, "of empty pages at most one is kept");
                // The next value takes the first free place.
                let next_key = slab.insert(0);
                prop_assert!((0..next_key.index).all(|index| places.contains(&index)));
                given.insert(next_key);
                slab.remove(next_key);
            }
        }
    }

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert("a");
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b");
        assert_eq!(first.index, second.index, "the place is used again");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"b"));
    }

    #[test]
    fn a_key_is_stale_also_after_its_page_was_given_back() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..3 * PAGE_PLACES).map(|value| slab.insert(value)).collect();
        // The last place has had more values than the others, and all of its page begin behind it.
        let last = keys[3 * PAGE_PLACES - 1];
        assert!(slab.remove(last).is_some());
        let again = slab.insert(7);
        assert_eq!((again.index, again.generation), (last.index, 1));
        for (key, _) in slab.iter().map(|(key, value)| (key, *value)).collect::<Vec<_>>() {
            assert!(slab.remove(key).is_some());
        }
        assert_eq!((slab.len(), slab.capacity()), (0, PAGE_PLACES), "one page is kept");
        let new: Vec<Key> = (0..3 * PAGE_PLACES).map(|value| slab.insert(value)).collect();
        assert_eq!(new.last().map(|key| (key.index, key.generation)), Some((last.index, 2)));
        assert!(keys.iter().chain([&again]).all(|key| slab.get(*key).is_none()));
        assert!(new.iter().enumerate().all(|(value, key)| slab.get(*key) == Some(&value)));
    }

    #[test]
    fn a_place_whose_generations_are_used_up_is_not_used_again() {
        let mut slab = Slab::default();
        let key = slab.insert(0);
        slab.pages[0].places[0].generation = u32::MAX;
        assert_eq!(slab.remove(Key { generation: u32::MAX, ..key }), Some(0));
        assert_eq!(slab.insert(1).index, 1);
        let keys: Vec<Key> = (0..PAGE_PLACES).map(|value| slab.insert(value)).collect();
        keys.into_iter().for_each(|key| assert!(slab.remove(key).is_some()));
        assert!(slab.insert(2).index != 0, "nor when its page is all but empty");
    }

    #[test]
    fn one_that_comes_and_goes_makes_no_page_each_time() {
        let mut slab = Slab::default();
        let kept: Vec<Key> = (0..PAGE_PLACES).map(|value| slab.insert(value)).collect();
        for value in 0..10 {
            let key = slab.insert(value);
            assert_eq!((key.index as usize, slab.capacity()), (PAGE_PLACES, 2 * PAGE_PLACES));
            slab.remove(key);
            assert_eq!(slab.capacity(), 2 * PAGE_PLACES);
        }
        // The page in front runs empty too, and is the one to be kept.
        kept.into_iter().for_each(|key| assert!(slab.remove(key).is_some()));
        assert_eq!((slab.spare, slab.capacity()), (Some(0), PAGE_PLACES));
    }
}

//! Idempotency keys: where the first message of each lies. They are forgotten by generations, each of which
//! holds those of some seconds, so that forgetting costs nothing for each key; of a user with too many the
//! oldest go before.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher as _},
};

use encke_proto::{Time, UserId};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::{record::KeysImage, stored::Place};
use crate::{KEY_KEPT_S, USER_KEYS_MAX};

/// The most keys of backends that are remembered at once. Each takes some 50 bytes.
const BACKEND_KEYS_MAX: usize = 10_000_000;
/// The most of all clients together. Each takes some 70 bytes.
const CLIENT_KEYS_MAX: usize = 2_000_000;
/// How much time one generation holds, in seconds.
const GENERATION_S: u64 = 30;
/// In how many maps a generation lies, so that a checkpoint writes, and the sweep frees, one at a time.
const PARTS: usize = 16;

/// The hashes are random already.
#[derive(Default)]
struct TakeHash(u64);

impl std::hash::Hasher for TakeHash {
    fn write(&mut self, bytes: &[u8]) {
        let half = bytes.first_chunk().copied().unwrap_or_default();
        self.0 = u64::from_le_bytes(half);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Part = HashMap<[u8; 16], (Place, u32), BuildHasherDefault<TakeHash>>;

/// What came within some seconds.
#[derive(Default)]
struct Generation {
    parts: [Part; PARTS],
    /// The hashes of each user's keys, the oldest first. Some may be forgotten already.
    of_users: HashMap<UserId, VecDeque<u128>>,
}

/// Keys by generation, up to a bound.
struct Generations {
    by_number: BTreeMap<u64, Generation>,
    count: usize,
    most: usize,
}

/// The idempotency keys of the last minutes.
pub(super) struct Keys {
    hash_key: u128,
    backends: Generations,
    clients: Generations,
}

fn generation(stamp: Time) -> u64 {
    stamp.0 / (GENERATION_S * 1000)
}

/// Until which stamp a key with this stamp may be remembered.
pub(super) fn kept_until(stamp: Time) -> Time {
    stamp.plus_seconds(KEY_KEPT_S + GENERATION_S)
}

fn part(hash: u128) -> usize {
    (hash >> 64) as usize % PARTS
}

impl Generations {
    fn new(most: usize) -> Self {
        Self { by_number: BTreeMap::new(), count: 0, most }
    }

    /// Where the message lies that came with this key, how long its record is, and which generation that was.
    fn find(&self, hash: u128) -> Option<(u64, Place, u32)> {
        self.by_number.iter().rev().find_map(|(number, generation)| {
            let (place, length) = generation.parts[part(hash)].get(&hash.to_le_bytes())?;
            Some((*number, *place, *length))
        })
    }

    fn remember(&mut self, hash: u128, place: Place, length: u32, stamp: Time, user: Option<&UserId>) {
        if let Some(user) = user {
            self.make_room_for(user);
        }
        while self.count >= self.most && self.forget_part() {}
        let generation = self.by_number.entry(generation(stamp)).or_default();
        if generation.parts[part(hash)].insert(hash.to_le_bytes(), (place, length)).is_none() {
            self.count += 1;
        }
        if let Some(user) = user {
            generation.of_users.entry(user.clone()).or_default().push_back(hash);
        }
    }

    /// Forgets the oldest of a user's keys if there is no room for one more.
    fn make_room_for(&mut self, user: &UserId) {
        let own = |generation: &Generation| generation.of_users.get(user).map_or(0, VecDeque::len);
        if self.by_number.values().map(own).sum::<usize>() < USER_KEYS_MAX {
            return;
        }
        for generation in self.by_number.values_mut() {
            if let Some(hash) = generation.of_users.get_mut(user).and_then(VecDeque::pop_front) {
                let is_there = generation.parts[part(hash)].remove(&hash.to_le_bytes()).is_some();
                self.count -= usize::from(is_there);
                return;
            }
        }
    }

    /// Forgets all keys of a user.
    fn forget_user(&mut self, user: &UserId) {
        for generation in self.by_number.values_mut() {
            for hash in generation.of_users.remove(user).unwrap_or_default() {
                let is_there = generation.parts[part(hash)].remove(&hash.to_le_bytes()).is_some();
                self.count -= usize::from(is_there);
            }
        }
    }

    /// Forgets a part of the oldest generation, or the rest of it. Says whether there was one.
    fn forget_part(&mut self) -> bool {
        let Some(mut first) = self.by_number.first_entry() else { return false };
        match first.get_mut().parts.iter_mut().find(|part| !part.is_empty()) {
            Some(part) => self.count -= std::mem::take(part).len(),
            None => drop(first.remove()),
        }
        true
    }

    /// Forgets a part of what is too old at this stamp. Says whether there is more.
    fn forget_some(&mut self, now: Time) -> bool {
        let Some(first) = self.by_number.keys().next() else { return false };
        let end = Time(0).plus_seconds((first + 1) * GENERATION_S);
        end.plus_seconds(KEY_KEPT_S) < now && self.forget_part()
    }
}

impl Keys {
    pub(super) fn new(hash_key: u128) -> Self {
        let (backends, clients) = (Generations::new(BACKEND_KEYS_MAX), Generations::new(CLIENT_KEYS_MAX));
        Self { hash_key, backends, clients }
    }

    /// The hash under which a key is remembered. It is keyed, so that no client can make two that collide;
    /// the message has the key itself.
    pub(super) fn hash(&self, text: &str) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.hash_key as u64, (self.hash_key >> 64) as u64);
        hasher.write(text.as_bytes());
        hasher.finish128().as_u128()
    }

    /// Where the message lies that came with this key, and how long its record is. Which publisher's a key is
    /// stands in its text, so that it is looked for among all; after an opening it may be among either.
    pub(super) fn find(&self, hash: u128) -> Option<(Place, u32)> {
        let found = [self.backends.find(hash), self.clients.find(hash)];
        let newest = found.into_iter().flatten().max_by_key(|(generation, ..)| *generation);
        newest.map(|(_, place, length)| (place, length))
    }

    /// Remembers a key of a user. Those of backends have none, nor have those of a checkpoint: until they are
    /// too old, these count among those of backends.
    pub(super) fn remember(
        &mut self,
        hash: u128,
        place: Place,
        length: u32,
        stamp: Time,
        user: Option<&UserId>,
    ) {
        let publishers = if user.is_some() { &mut self.clients } else { &mut self.backends };
        publishers.remember(hash, place, length, stamp, user);
    }

    /// Forgets the keys of a user, all but those that an opening found in a checkpoint, which does not say
    /// whose they are.
    pub(super) fn forget_user(&mut self, user: &UserId) {
        self.clients.forget_user(user);
    }

    /// Forgets some of what is too old at this stamp: one part of a generation. Says whether there is more.
    pub(super) fn forget_some(&mut self, now: Time) -> bool {
        self.backends.forget_some(now) | self.clients.forget_some(now)
    }

    fn generations(&self) -> impl Iterator<Item = (u64, &Generation)> {
        let all = self.backends.by_number.iter().chain(&self.clients.by_number);
        all.map(|(number, generation)| (*number, generation))
    }

    /// The segments in which messages lie whose keys have to be remembered at this stamp.
    pub(super) fn segments(&self, now: Time) -> BTreeSet<u32> {
        let oldest = |generation: u64| kept_until(Time(0).plus_seconds(generation * GENERATION_S));
        let young = self.generations().filter(|(generation, _)| oldest(*generation) > now);
        let places = young.flat_map(|(_, generation)| &generation.parts).flat_map(Part::values);
        places.map(|(place, _)| place.segment).collect()
    }

    /// The parts in which keys lie, for a checkpoint that writes one after the other.
    pub(super) fn parts(&self) -> Vec<(u64, usize)> {
        let numbers: BTreeSet<u64> = self.generations().map(|(number, _)| number).collect();
        numbers.into_iter().flat_map(|number| (0..PARTS).map(move |part| (number, part))).collect()
    }

    /// What lies in a part by now; nothing if it was forgotten meanwhile.
    pub(super) fn image(&self, (generation, part): (u64, usize), now: Time) -> KeysImage {
        let stamp = Time(0).plus_seconds(generation * GENERATION_S);
        let keys = self.generations().filter(|(number, _)| *number == generation);
        let keys = keys.filter_map(|(_, generation)| generation.parts.get(part)).flatten();
        let keys = keys.map(|(hash, (place, length))| (u128::from_le_bytes(*hash), *place, *length, stamp));
        KeysImage { now, keys: keys.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { segment: 1, at: 2 };

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("it is a user's name")
    }

    #[test]
    fn more_keys_than_there_is_room_for_push_out_the_oldest_of_their_kind() {
        let mut keys = Generations::new(1_000);
        let hash = |number: u128| number << 64 | number;
        for number in 0..3_000 {
            let stamp = Time(0).plus_seconds(number as u64 / 5);
            keys.remember(hash(number), PLACE, 9, stamp, Some(&user(&format!("user {number}"))));
            assert!(keys.count <= 1_000);
        }
        assert!(keys.find(hash(0)).is_none());
        assert!((2_500..3_000).all(|number| keys.find(hash(number)).is_some()));
        while keys.forget_some(Time(0).plus_seconds(KEY_KEPT_S * 3)) {}
        assert!(keys.count == 0 && keys.by_number.is_empty());
    }

    #[test]
    fn keys_are_kept_for_their_time_and_one_generation() {
        let mut keys = Keys::new(7);
        let at = |seconds| Time(0).plus_seconds(seconds);
        let hash = keys.hash("api:1");
        keys.remember(hash, PLACE, 9, at(40), None);
        let mut forget = |now| {
            while keys.forget_some(at(now)) {}
            keys.find(hash)
        };
        assert_eq!(forget(40 + KEY_KEPT_S), Some((PLACE, 9)));
        assert_eq!(forget(41 + KEY_KEPT_S + GENERATION_S), None);
        assert!(keys.backends.count == 0 && keys.generations().next().is_none());
        assert!(keys.hash("a") != keys.hash("b") && Keys::new(8).hash("a") != keys.hash("a"));
    }

    #[test]
    fn a_checkpoint_has_every_key() {
        let (mut keys, mut again) = (Keys::new(7), Keys::new(7));
        for number in 0..1000_u32 {
            let hash = keys.hash(&number.to_string());
            let (place, user) = (Place { segment: number, at: 0 }, user(&format!("user {}", number % 7)));
            keys.remember(hash, place, 1, Time(u64::from(number) * 300), (number % 2 == 0).then_some(&user));
        }
        for part in keys.parts() {
            for (hash, place, length, stamp) in keys.image(part, Time(0)).keys {
                again.remember(hash, place, length, stamp, None);
            }
        }
        let numbers = |keys: &Keys| keys.generations().map(|(number, _)| number).collect::<BTreeSet<_>>();
        assert_eq!((again.backends.count, numbers(&again)), (1000, numbers(&keys)));
        for number in 0..1000_u32 {
            let place = Place { segment: number, at: 0 };
            assert_eq!(again.find(again.hash(&number.to_string())), Some((place, 1)));
        }
    }
}

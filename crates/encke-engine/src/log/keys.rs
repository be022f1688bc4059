//! Idempotency keys: where the first message of each lies. They are forgotten by generations, each of which
//! holds those of some seconds, so that forgetting costs nothing for each key.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasherDefault, Hasher as _},
};

use encke_proto::Time;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::{record::KeysImage, stored::Place};
use crate::{EngineError, KEY_KEPT_S};

/// The most idempotency keys that are remembered at once. Each takes some 50 bytes.
const KEYS_MAX: usize = 10_000_000;
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

/// The idempotency keys of the last minutes.
pub(super) struct Keys {
    hash_key: u128,
    generations: BTreeMap<u64, [Part; PARTS]>,
    count: usize,
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

impl Keys {
    pub(super) fn new(hash_key: u128) -> Self {
        Self { hash_key, generations: BTreeMap::new(), count: 0 }
    }

    /// The hash under which a key is remembered. It is keyed, so that no client can make two that collide;
    /// the message has the key itself.
    pub(super) fn hash(&self, text: &str) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.hash_key as u64, (self.hash_key >> 64) as u64);
        hasher.write(text.as_bytes());
        hasher.finish128().as_u128()
    }

    /// Where the message lies that came with this key, and how long its record is.
    pub(super) fn find(&self, hash: u128) -> Option<(Place, u32)> {
        let found = |parts: &[Part; PARTS]| parts[part(hash)].get(&hash.to_le_bytes()).copied();
        self.generations.values().rev().find_map(found)
    }

    /// Makes sure that there is room for `more` keys. Refusing is better than forgetting one too early: that
    /// could become a second message.
    pub(super) fn check_room(&self, more: usize) -> Result<(), EngineError> {
        if self.count.saturating_add(more) > KEYS_MAX {
            let text = format!("{KEYS_MAX} idempotency keys came within {KEY_KEPT_S} seconds");
            return Err(EngineError::Unavailable(text));
        }
        Ok(())
    }

    pub(super) fn remember(&mut self, hash: u128, place: Place, length: u32, stamp: Time) {
        let parts = self.generations.entry(generation(stamp)).or_default();
        if parts[part(hash)].insert(hash.to_le_bytes(), (place, length)).is_none() {
            self.count += 1;
        }
    }

    /// Forgets some of what is too old at this stamp: one part of a generation. Says whether there is more.
    pub(super) fn forget_some(&mut self, now: Time) -> bool {
        let Some(mut first) = self.generations.first_entry() else { return false };
        let end = Time(0).plus_seconds((first.key() + 1) * GENERATION_S);
        if end.plus_seconds(KEY_KEPT_S) >= now {
            return false;
        }
        match first.get_mut().iter_mut().find(|part| !part.is_empty()) {
            Some(part) => self.count -= std::mem::take(part).len(),
            None => drop(first.remove()),
        }
        true
    }

    /// The segments in which messages lie whose keys have to be remembered at this stamp.
    pub(super) fn segments(&self, now: Time) -> BTreeSet<u32> {
        let oldest = |generation: &u64| kept_until(Time(0).plus_seconds(generation * GENERATION_S));
        let young = self.generations.iter().filter(|(generation, _)| oldest(generation) > now);
        let places = young.flat_map(|(_, parts)| parts).flat_map(Part::values);
        places.map(|(place, _)| place.segment).collect()
    }

    /// The parts in which keys lie, for a checkpoint that writes one after the other.
    pub(super) fn parts(&self) -> Vec<(u64, usize)> {
        let all = self.generations.keys().flat_map(|generation| (0..PARTS).map(|part| (*generation, part)));
        all.collect()
    }

    /// What lies in a part by now; nothing if it was forgotten meanwhile.
    pub(super) fn image(&self, (generation, part): (u64, usize), now: Time) -> KeysImage {
        let stamp = Time(0).plus_seconds(generation * GENERATION_S);
        let keys = self.generations.get(&generation).and_then(|parts| parts.get(part)).into_iter().flatten();
        let keys = keys.map(|(hash, (place, length))| (u128::from_le_bytes(*hash), *place, *length, stamp));
        KeysImage { now, keys: keys.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { segment: 1, at: 2 };

    #[test]
    fn keys_are_kept_for_their_time_and_one_generation() {
        let mut keys = Keys::new(7);
        let at = |seconds| Time(0).plus_seconds(seconds);
        let hash = keys.hash("api:1");
        keys.remember(hash, PLACE, 9, at(40));
        let mut forget = |now| {
            while keys.forget_some(at(now)) {}
            keys.find(hash)
        };
        assert_eq!(forget(40 + KEY_KEPT_S), Some((PLACE, 9)));
        assert_eq!(forget(41 + KEY_KEPT_S + GENERATION_S), None);
        assert!(keys.count == 0 && keys.generations.is_empty());
        assert!(keys.hash("a") != keys.hash("b") && Keys::new(8).hash("a") != keys.hash("a"));
    }

    #[test]
    fn a_checkpoint_has_every_key() {
        let (mut keys, mut again) = (Keys::new(7), Keys::new(7));
        for number in 0..1000_u32 {
            let hash = keys.hash(&number.to_string());
            keys.remember(hash, Place { segment: number, at: 0 }, 1, Time(u64::from(number) * 300));
        }
        for part in keys.parts() {
            for (hash, place, length, stamp) in keys.image(part, Time(0)).keys {
                again.remember(hash, place, length, stamp);
            }
        }
        assert_eq!((again.count, again.generations.len()), (1000, keys.generations.len()));
        for number in 0..1000_u32 {
            let place = Place { segment: number, at: 0 };
            assert_eq!(again.find(again.hash(&number.to_string())), Some((place, 1)));
        }
    }
}

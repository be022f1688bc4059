//! The hasher for maps of names. Clients choose names, so it is keyed: SipHash-1-3, as the standard library
//! has it, but over a name that is there whole. That is half the work, and several maps are asked with every
//! message.

use std::hash::{BuildHasher, Hasher, RandomState};

/// For maps whose keys are names. Each has a random key of its own, which no client knows.
#[derive(Clone, Copy, Debug)]
pub struct NameHashState {
    keys: (u64, u64),
}

impl Default for NameHashState {
    fn default() -> Self {
        let random = RandomState::new();
        Self { keys: (random.hash_one(0_u8), random.hash_one(1_u8)) }
    }
}

impl BuildHasher for NameHashState {
    type Hasher = NameHasher;

    fn build_hasher(&self) -> NameHasher {
        NameHasher { keys: self.keys, hash: 0 }
    }
}

/// See [`NameHashState`].
#[derive(Clone, Copy, Debug)]
pub struct NameHasher {
    keys: (u64, u64),
    hash: u64,
}

impl Hasher for NameHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        // A name is one call. What comes behind something else depends on that by the key.
        self.hash = sip_1_3((self.keys.0 ^ self.hash, self.keys.1), bytes);
    }

    /// What the standard library writes behind each text.
    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.hash = self.hash.rotate_left(8) ^ u64::from(byte);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }
}

/// SipHash-1-3 (Aumasson and Bernstein, 2012) of all bytes at once.
#[inline]
fn sip_1_3((low, high): (u64, u64), bytes: &[u8]) -> u64 {
    let mut state = [
        low ^ 0x736f_6d65_7073_6575,
        high ^ 0x646f_7261_6e64_6f6d,
        low ^ 0x6c79_6765_6e65_7261,
        high ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        absorb(&mut state, u64::from_le_bytes(*word));
    }
    let length = (bytes.len() as u64) << 56;
    let last = rest.iter().rev().fold(0, |last, byte| last << 8 | u64::from(*byte));
    absorb(&mut state, length | last);
    state[2] ^= 0xff;
    (0..3).for_each(|_| round(&mut state));
    state.iter().fold(0, |hash, word| hash ^ word)
}

#[inline]
fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    state[0] ^= word;
}

#[inline]
fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *c = c.wrapping_add(*d);
    *b = b.rotate_left(13) ^ *a;
    *d = d.rotate_left(16) ^ *c;
    *a = a.rotate_left(32).wrapping_add(*d);
    *c = c.wrapping_add(*b);
    *d = d.rotate_left(21) ^ *a;
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    use super::*;
    use crate::{ChannelName, UserId};

    proptest! {
        #[test]
        fn it_is_the_hash_of_that_name(low: u64, high: u64, bytes: Vec<u8>) {
            let mut library = SipHasher13::new_with_keys(low, high);
            library.write(&bytes);
            prop_assert_eq!(sip_1_3((low, high), &bytes), library.finish());
        }
    }

    #[test]
    fn a_name_is_hashed_as_its_text_is() {
        let state = NameHashState::default();
        let (user, channel) = (UserId::new("alice").unwrap(), ChannelName::public("room").unwrap());
        assert_eq!(state.hash_one(&user), state.hash_one("alice"));
        assert_eq!(state.hash_one(&channel), state.hash_one("room"));
        assert_ne!(state.hash_one("alice"), state.hash_one("room"));
        assert_ne!(state.hash_one(("a", "bc")), state.hash_one(("ab", "c")));
    }

    /// Else many names could be chosen that fall into one place.
    #[test]
    fn no_two_maps_hash_alike() {
        let hashes = [(); 4].map(|()| NameHashState::default().hash_one("alice"));
        assert!(hashes.iter().any(|hash| *hash != hashes[0]), "{hashes:?}");
    }
}

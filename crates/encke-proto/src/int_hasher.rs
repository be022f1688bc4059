//! A cheap hasher for keys that the server makes. It must not be used for keys that a client can choose,
//! since it does not resist collisions made on purpose.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps whose keys the server makes: no client can choose them to collide, and they are looked up for
/// every message.
pub type IntHashState = BuildHasherDefault<IntHasher>;

/// One multiplication that spreads the low bits over the high ones, which the map looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntHasher(u64);

impl Hasher for IntHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

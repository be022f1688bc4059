//! Token buckets, one for each key, of a bounded number of keys.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::Hash,
    mem,
    sync::{Mutex, PoisonError},
};

/// The most keys of which one set of buckets knows; the keys that were used least lately go. A bucket that is
/// forgotten is full again.
pub(super) const KEYS_MAX: usize = 65_536;

/// Tokens come at a rate and are taken by requests. What is not taken gathers, up to the burst.
#[derive(Debug)]
pub(super) struct TokenBuckets<K> {
    per_s: u64,
    burst: u64,
    buckets: Mutex<Generations<K>>,
}

/// The keys that were used lately, and those that were before: when the first are half of all that may be
/// known, they take the place of the second.
#[derive(Debug)]
struct Generations<K> {
    now: HashMap<K, Bucket, RandomState>,
    before: HashMap<K, Bucket, RandomState>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In thousandths: at a rate a second, so many come in a millisecond.
    left: u64,
    at_ms: u64,
}

impl<K: Eq + Hash> TokenBuckets<K> {
    /// So many tokens a second, of which as many gather as come in `burst_s` seconds. None for a rate of 0.
    pub(super) fn new(per_s: u64, burst_s: u64) -> Option<Self> {
        let buckets = Mutex::new(Generations { now: HashMap::new(), before: HashMap::new() });
        (per_s > 0).then(|| Self { per_s, burst: per_s.saturating_mul(burst_s.max(1)), buckets })
    }

    /// Takes so many tokens. False if there are not as many; then none is taken. What takes more than there
    /// can ever be takes them all.
    pub(super) fn take(&self, key: K, count: u64, now_ms: u64) -> bool {
        let full = self.burst.saturating_mul(1000);
        let cost = count.saturating_mul(1000).min(full);
        // Nothing stops halfway here, so that it is whole even after a panic.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let known = buckets.now.get(&key).copied().or_else(|| buckets.before.remove(&key));
        let bucket = known.unwrap_or(Bucket { left: full, at_ms: now_ms });
        let come = now_ms.saturating_sub(bucket.at_ms).saturating_mul(self.per_s);
        let left = bucket.left.saturating_add(come).min(full);
        let enough = left >= cost;
        let left = if enough { left - cost } else { left };
        // A clock that goes back gives nothing twice.
        buckets.now.insert(key, Bucket { left, at_ms: now_ms.max(bucket.at_ms) });
        if buckets.now.len() >= KEYS_MAX / 2 {
            let now = mem::take(&mut buckets.now);
            buckets.before = now;
        }
        enough
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        let buckets = self.buckets.lock().unwrap();
        buckets.now.len() + buckets.before.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_at_the_rate_and_gather_up_to_the_burst() {
        let buckets = TokenBuckets::new(10, 3).unwrap();
        let take = |key: &'static str, count, now_ms| buckets.take(key, count, now_ms);
        assert!((0..30).all(|_| take("a", 1, 1_000)));
        assert!(!take("a", 1, 1_000));
        assert!(!take("a", 1, 1_099), "a tenth of a second brings one");
        assert!(take("a", 1, 1_100) && !take("a", 1, 1_100));
        assert!(!take("a", 1, 500), "a clock that goes back brings none");
        assert!(take("a", 1, 1_200) && !take("a", 1, 1_200), "nor twice");
        assert!(take("b", 30, 1_000) && !take("b", 1, 1_000), "each key has its own");
        assert!(take("a", 30, 1_000_000) && !take("a", 1, 1_000_000), "no more gather than the burst");
        assert!(take("c", u64::MAX, 1), "a full bucket lets anything pass once");
        assert!(!take("c", 1, 1));
        assert!(TokenBuckets::<&str>::new(0, 10).is_none());
    }

    #[test]
    fn the_keys_that_were_used_least_lately_go() {
        let buckets = TokenBuckets::new(1, 1).unwrap();
        assert!(buckets.take(0, 1, 0));
        for key in 1..=2 * KEYS_MAX {
            buckets.take(key, 1, 0);
            if key % 1_000 == 0 {
                assert!(!buckets.take(0, 1, 0), "one that is used is known");
            }
            assert!(buckets.keys() <= KEYS_MAX);
        }
        assert!(buckets.take(1, 1, 0), "it was forgotten");
    }
}

//! Token buckets, one for each key, of a bounded number of keys.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::Hash,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

/// The most keys of which one set of buckets knows; the keys that were used least lately go. A bucket that is
/// forgotten is full again.
pub(super) const KEYS_MAX: usize = 65_536;

/// How fast tokens come, and how many of them gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    per_s: u64,
    burst: u64,
}

impl Rate {
    /// So many tokens a second, of which as many gather as come in `burst_s` seconds.
    pub(super) fn new(per_s: u64, burst_s: u64) -> Self {
        Self { per_s, burst: per_s.saturating_mul(burst_s.max(1)) }
    }
}

/// Tokens come at a rate and are taken by requests. What is not taken gathers, up to the burst.
#[derive(Debug)]
pub(super) struct TokenBuckets<K> {
    rate: Rate,
    /// Shared with those that came before at another rate, if there were any.
    buckets: Arc<Mutex<Generations<K>>>,
}

/// The keys that were used lately, and those that were before: when the first are half of all that may be
/// known, they take the place of the second.
#[derive(Debug)]
struct Generations<K> {
    now: HashMap<K, Bucket, RandomState>,
    before: HashMap<K, Bucket, RandomState>,
}

impl<K> Default for Generations<K> {
    fn default() -> Self {
        Self { now: HashMap::new(), before: HashMap::new() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In thousandths: at a rate a second, so many come in a millisecond.
    left: u64,
    at_ms: u64,
    /// When it is full again.
    full_ms: u64,
}

impl<K: Eq + Hash> TokenBuckets<K> {
    /// So many tokens a second, of which as many gather as come in `burst_s` seconds, and with what `before`
    /// has left of each key. None for a rate of 0.
    pub(super) fn after(before: Option<&Self>, per_s: u64, burst_s: u64) -> Option<Self> {
        (per_s > 0).then(|| Self::at(Rate::new(per_s, burst_s), before))
    }

    /// The same, at this rate.
    pub(super) fn at(rate: Rate, before: Option<&Self>) -> Self {
        Self { rate, buckets: before.map(|before| Arc::clone(&before.buckets)).unwrap_or_default() }
    }

    /// Takes so many tokens. False if there are not as many; then none is taken. What takes more than there
    /// can ever be takes them all.
    pub(super) fn take(&self, key: K, count: u64, now_ms: u64) -> bool {
        self.take_at(key, count, self.rate, now_ms)
    }

    /// The same of a key with a rate of its own, which is said each time.
    pub(super) fn take_at(&self, key: K, count: u64, rate: Rate, now_ms: u64) -> bool {
        let full = rate.burst.saturating_mul(1000);
        let cost = count.saturating_mul(1000).min(full);
        // Nothing stops halfway here, so that it is whole even after a panic.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let known = buckets.now.get(&key).copied().or_else(|| buckets.before.remove(&key));
        let bucket = known.unwrap_or(Bucket { left: full, at_ms: now_ms, full_ms: now_ms });
        let come = now_ms.saturating_sub(bucket.at_ms).saturating_mul(rate.per_s);
        let left = bucket.left.saturating_add(come).min(full);
        let enough = left >= cost;
        let left = if enough { left - cost } else { left };
        make_room(&mut buckets.now, now_ms);
        // A clock that goes back gives nothing twice.
        let at_ms = now_ms.max(bucket.at_ms);
        let full_ms = at_ms.saturating_add((full - left).div_ceil(rate.per_s.max(1)));
        buckets.now.insert(key, Bucket { left, at_ms, full_ms });
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

/// Before a map grows, the buckets go that are full again, as those of which nothing is known are. So a key
/// that is used seldom takes no memory for long.
fn make_room<K: Eq + Hash>(buckets: &mut HashMap<K, Bucket, RandomState>, now_ms: u64) {
    let capacity = buckets.capacity();
    if buckets.len() < capacity {
        return;
    }
    buckets.retain(|_, bucket| bucket.full_ms > now_ms);
    // So that as many come before the next look as are looked at.
    if buckets.len() > capacity / 2 {
        buckets.reserve(capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_at_the_rate_and_gather_up_to_the_burst() {
        let buckets = TokenBuckets::after(None, 10, 3).unwrap();
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
        assert!(TokenBuckets::<&str>::after(None, 0, 10).is_none());
    }

    #[test]
    fn another_rate_goes_on_with_what_is_left() {
        let before = TokenBuckets::after(None, 10, 3).unwrap();
        assert!(before.take("a", 30, 0) && before.take("b", 20, 0));
        let faster = TokenBuckets::after(Some(&before), 20, 3).unwrap();
        assert!(!faster.take("a", 1, 0) && faster.take("a", 20, 1_000), "it comes faster from now on");
        let slower = TokenBuckets::after(Some(&faster), 1, 5).unwrap();
        assert!(slower.take("b", 5, 0) && !slower.take("b", 1, 0), "what is left beyond the burst is gone");
        assert!(slower.take("c", 5, 0) && !slower.take("c", 1, 0));
        assert!(TokenBuckets::after(Some(&slower), 0, 5).is_none());
    }

    #[test]
    fn buckets_that_are_full_again_take_no_room() {
        let buckets = TokenBuckets::after(None, 10, 3).unwrap();
        for key in 0..20_000 {
            assert!(buckets.take(key, 1, key));
        }
        // A token comes in 100 ms, in which as many keys are used. How often the map grows for them depends
        // on where chance puts those that go; at most to this, where it makes room without growing.
        assert!(buckets.keys() <= 4 * 224, "{}", buckets.keys());
        assert!((0..30).all(|_| buckets.take(20_000, 1, 20_000)));
        for key in 20_001..22_000 {
            assert!(buckets.take(key, 1, 20_000));
        }
        assert!(!buckets.take(20_000, 1, 20_000), "one that is not full is known");
    }

    #[test]
    fn the_keys_that_were_used_least_lately_go() {
        let buckets = TokenBuckets::after(None, 1, 1).unwrap();
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

//! How often values of each size came: counts in buckets that double. It is counted by one thread, or under
//! a lock of its owner's; several are put together when they are read.

use serde::{Deserialize, Serialize};

/// How many buckets there are. In milliseconds the last but one ends at 70 minutes, in microseconds at 4.2
/// seconds.
pub const HISTOGRAM_BUCKETS: usize = 24;

/// Counts of whole values by size. The first bucket holds 0 and 1, each next one up to twice as much as the
/// one before, and the last all that are larger. The unit is the owner's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    buckets: [u64; HISTOGRAM_BUCKETS],
    sum: u64,
}

impl Histogram {
    /// Of these counts, in the order of the buckets, and the sum of all values.
    #[must_use]
    pub fn of(buckets: [u64; HISTOGRAM_BUCKETS], sum: u64) -> Self {
        Self { buckets, sum }
    }

    /// In which bucket a value is counted.
    #[must_use]
    pub fn bucket_of(value: u64) -> usize {
        let bits = u64::BITS - value.saturating_sub(1).leading_zeros();
        (bits as usize).min(HISTOGRAM_BUCKETS - 1)
    }

    /// The largest value of a bucket; none of the last, which has no end.
    #[must_use]
    pub fn bound_of(bucket: usize) -> Option<u64> {
        (bucket < HISTOGRAM_BUCKETS - 1).then(|| 1 << bucket)
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.buckets[Self::bucket_of(value)] += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// Counts all that another one has.
    pub fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(bucket, more)| *bucket += more);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// What was counted since `earlier`, a state of the same one; of another one it is nothing.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = *self;
        since.buckets.iter_mut().zip(earlier.buckets).for_each(|(bucket, had)| *bucket -= had.min(*bucket));
        since.sum = since.sum.saturating_sub(earlier.sum);
        since
    }

    /// The counts, in the order of the buckets.
    #[must_use]
    pub fn buckets(&self) -> &[u64; HISTOGRAM_BUCKETS] {
        &self.buckets
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All values together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The value that `share` of all are at or below, from 0 to 1, as if those of a bucket lay evenly in it:
    /// it is wrong by half its size at most. None when nothing was counted. What lies in the last bucket
    /// counts as its beginning.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        // Counts are far below what a float holds exactly.
        let wanted = (share.clamp(0.0, 1.0) * count as f64).max(1.0);
        let mut below = 0;
        for (bucket, here) in self.buckets.iter().enumerate().filter(|(_, here)| **here > 0) {
            if (below + here) as f64 >= wanted {
                let from = if bucket == 0 { 0 } else { 1_u64 << (bucket - 1) };
                let to = Self::bound_of(bucket).unwrap_or(from);
                return Some(from as f64 + (to - from) as f64 * (wanted - below as f64) / *here as f64);
            }
            below += here;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_at_or_below_the_bound_of_its_bucket_and_above_the_one_before() {
        for value in (0..70).chain([1_000, 1 << 21, (1 << 22) - 1, 1 << 22, (1 << 22) + 1, u64::MAX]) {
            let bucket = Histogram::bucket_of(value);
            assert!(Histogram::bound_of(bucket).is_none_or(|bound| value <= bound), "{value}");
            let before = bucket.checked_sub(1).and_then(Histogram::bound_of);
            assert!(before.is_none_or(|bound| value > bound), "{value}");
        }
        assert_eq!(Histogram::bound_of(HISTOGRAM_BUCKETS - 1), None);
    }

    #[test]
    fn quantiles_are_found_and_several_make_one() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (0..90).for_each(|_| histogram.record(1));
        let earlier = histogram;
        let mut other = Histogram::default();
        (0..10).for_each(|_| other.record(64));
        histogram.add(&other);
        assert_eq!((histogram.count(), histogram.sum()), (100, 90 + 640));
        assert_eq!(histogram.quantile(0.9), Some(1.0));
        assert_eq!(histogram.quantile(1.0), Some(64.0));
        assert!(histogram.quantile(0.99).is_some_and(|value| value > 32.0 && value < 64.0));
        assert_eq!(histogram.since(&earlier), other);
        // Of a process that began anew there is nothing to be taken away.
        assert_eq!(earlier.since(&histogram).count(), 0);
        let mut huge = Histogram::default();
        huge.record(u64::MAX);
        assert_eq!(huge.quantile(0.5), Some(4_194_304.0));
    }
}

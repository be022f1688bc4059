//! A histogram of durations that several threads count in, without a lock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use encke_proto::{HISTOGRAM_BUCKETS, Histogram};
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

use super::reading::encode;

/// Seconds of a microsecond.
const MICROSECOND: f64 = 0.000_001;

/// How long things took, in microseconds. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct AtomicHistogram(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; HISTOGRAM_BUCKETS],
    sum: AtomicU64,
}

impl AtomicHistogram {
    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        // Half a million years fit.
        self.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts so many microseconds.
    pub fn record(&self, micros: u64) {
        self.0.buckets[Histogram::bucket_of(micros)].fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was counted until now.
    #[must_use]
    pub fn now(&self) -> Histogram {
        let buckets = self.0.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        Histogram::of(buckets, self.0.sum.load(Ordering::Relaxed))
    }
}

impl EncodeMetric for AtomicHistogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encode(&self.now(), MICROSECOND, encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for AtomicHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

//! What is measured when it is told: what shards, the engine and the node have counted or have now.

use std::{borrow::Cow, fmt};

use encke_proto::Histogram;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// One metric as it is now.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Its name, without its unit and without `_total`.
    pub name: &'static str,
    /// What it is, as text.
    pub help: &'static str,
    /// Its unit, which stands behind the name.
    pub unit: Option<Unit>,
    /// What was measured; all of one kind. With none it is not told.
    pub points: Vec<Point>,
}

/// One value of a metric.
#[derive(Clone, Debug)]
pub struct Point {
    /// A label and its value, if there are several.
    pub label: Option<(&'static str, Cow<'static, str>)>,
    /// How much.
    pub value: Measured,
}

/// What was measured.
#[derive(Clone, Debug)]
pub enum Measured {
    /// How often, since the process began.
    Counter(u64),
    /// How much now.
    Gauge(u64),
    /// How often values of each size came, and what one of its units is in that of the metric.
    Histogram(Histogram, f64),
}

impl Reading {
    /// A metric without labels.
    #[must_use]
    pub fn one(name: &'static str, help: &'static str, value: Measured) -> Self {
        Self { name, help, unit: None, points: vec![Point { label: None, value }] }
    }

    /// A metric with a value for each of a label's.
    #[must_use]
    pub fn by(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        points: impl IntoIterator<Item = (Cow<'static, str>, Measured)>,
    ) -> Self {
        let point = |(name, value)| Point { label: Some((label, name)), value };
        Self { name, help, unit: None, points: points.into_iter().map(point).collect() }
    }

    /// The same, with its unit.
    #[must_use]
    pub fn in_unit(self, unit: Unit) -> Self {
        Self { unit: Some(unit), ..self }
    }
}

impl Measured {
    fn metric_type(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Histogram(..) => MetricType::Histogram,
        }
    }

    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Counter(count) => ConstCounter::new(*count).encode(encoder),
            Self::Gauge(count) => ConstGauge::new(i64::try_from(*count).unwrap_or(i64::MAX)).encode(encoder),
            Self::Histogram(histogram, scale) => encode(histogram, *scale, encoder),
        }
    }
}

/// Writes a histogram; one of its units is `scale` of the metric's.
pub(super) fn encode(
    histogram: &Histogram,
    scale: f64,
    mut encoder: MetricEncoder<'_>,
) -> Result<(), fmt::Error> {
    // Divided, whole parts of a unit are written without the noise of binary fractions.
    let parts = (1.0 / scale).round().max(1.0);
    // Bounds and sums are far below what a float holds exactly.
    let bound = |bucket| Histogram::bound_of(bucket).map_or(f64::INFINITY, |bound| bound as f64 / parts);
    let buckets: Vec<(f64, u64)> =
        histogram.buckets().iter().enumerate().map(|(bucket, count)| (bound(bucket), *count)).collect();
    encoder.encode_histogram::<NoLabelSet>(histogram.sum() as f64 / parts, histogram.count(), &buckets, None)
}

/// Several metrics, for one telling.
#[derive(Debug)]
pub(super) struct Readings(pub(super) Vec<Reading>);

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for reading in &self.0 {
            let Some(first) = reading.points.first() else { continue };
            let mut metric = encoder.encode_descriptor(
                reading.name,
                reading.help,
                reading.unit.as_ref(),
                first.value.metric_type(),
            )?;
            for Point { label, value } in &reading.points {
                match label {
                    Some((name, text)) => value.encode(metric.encode_family(&[(*name, text.clone())])?)?,
                    None => value.encode(metric.encode_family(&NO_LABELS)?)?,
                }
            }
        }
        Ok(())
    }
}

/// No label at all, as the library writes it.
const NO_LABELS: [(&str, &str); 0] = [];

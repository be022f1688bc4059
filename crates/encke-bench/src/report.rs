//! How figures are printed.

use hdrhistogram::Histogram;

/// The head of the table that [`percentiles`] makes the rows of.
#[must_use]
pub fn percentiles_head() -> String {
    format!(
        "{:<32}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "milliseconds", "count", "p50", "p90", "p99", "p99.9", "max"
    )
}

/// A row of percentiles.
#[must_use]
pub fn percentiles(name: &str, of: &Histogram<u64>) -> String {
    let at = |quantile: f64| of.value_at_quantile(quantile) as f64 / 1000.0;
    let (p50, p90, p99, p999, max) = (at(0.5), at(0.9), at(0.99), at(0.999), of.max() as f64 / 1000.0);
    format!("{name:<32}{:>10}{p50:>10.3}{p90:>10.3}{p99:>10.3}{p999:>10.3}{max:>10.3}", of.len())
}

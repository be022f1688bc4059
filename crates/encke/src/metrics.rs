//! What is counted, and how it is told: Prometheus text at `/metrics`.

use std::{fmt::Write as _, sync::OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// How much there is of something now.
#[derive(Clone, Copy, Debug)]
pub struct Gauge {
    /// Its name, as Prometheus has it.
    pub name: &'static str,
    /// What it is, as text.
    pub help: &'static str,
    /// How much.
    pub value: usize,
}

/// The way to what is counted in this process. Counters are written anywhere by the macros of the crate
/// `metrics`, once [`Metrics::global`] was called.
#[derive(Clone, Debug)]
pub struct Metrics {
    counters: PrometheusHandle,
}

/// There is one recorder in a process, however many servers a test starts in it.
static COUNTERS: OnceLock<PrometheusHandle> = OnceLock::new();

impl Metrics {
    /// The one of this process. The first call installs the recorder.
    #[must_use]
    pub fn global() -> Self {
        let counters = COUNTERS.get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another recorder of metrics was installed before; counters go there");
            }
            handle
        });
        Self { counters: counters.clone() }
    }

    /// Everything as Prometheus reads it: the counters, and how much there is of everything now.
    #[must_use]
    pub fn render(&self, gauges: &[Gauge]) -> String {
        self.counters.run_upkeep();
        let mut text = self.counters.render();
        for Gauge { name, help, value } in gauges {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        text
    }
}

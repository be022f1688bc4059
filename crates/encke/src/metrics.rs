//! What is counted, and how it is told: Prometheus text at `/metrics`.

use std::{fmt::Write as _, sync::OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::shards::Counts;

/// The way to what is counted in this process. Counters are written anywhere by the macros of the crate `metrics`, once [`Metrics::global`] was called.
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
    pub fn render(&self, counts: Counts, nodes: usize) -> String {
        self.counters.run_upkeep();
        let mut text = self.counters.render();
        for (name, help, value) in [
            ("encke_users_online", "Users who have a session.", counts.users),
            ("encke_sessions", "Sessions, those in their grace time among them.", counts.sessions),
            ("encke_connections_held", "Connections that wait for messages.", counts.held),
            ("encke_sockets", "Sockets in the connection table.", counts.sockets),
            ("encke_channels_followed", "Channels that somebody follows, users' own among them.", counts.channels),
            ("encke_slow_receivers", "Connections whose receivers do not keep up.", counts.slow),
            ("encke_unsent_bytes", "Bytes that are kept for them.", counts.unsent_bytes),
            ("encke_nodes", "Nodes that live, as this one knows; 1 for a node that is alone.", nodes),
        ] {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        text
    }
}

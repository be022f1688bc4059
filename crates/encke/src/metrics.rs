//! What is counted in this process, each with its name, and how it is told. What a shard or an engine counts
//! for itself is asked for when it is told ([`Reading`]), so that it costs nothing before.

mod atomic_histogram;
mod by_label;
mod process;
mod reading;
mod text_form;

use std::{borrow::Cow, sync::LazyLock};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};

pub use self::{
    atomic_histogram::AtomicHistogram,
    by_label::ByLabel,
    reading::{Measured, Point, Reading},
    text_form::TextForm,
};

/// Requests by route, method and status.
type Requests = Family<[(&'static str, Cow<'static, str>); 3], Counter>;

/// Requests with webhooks, by whose they are and outcome.
type Webhooks = Family<[(&'static str, Cow<'static, str>); 2], Counter>;

/// Decisions of the application's endpoint by hook and outcome.
type Decisions = Family<[(&'static str, &'static str); 2], Counter>;

/// All that parts of the server count where they are. There is one in a process, however many servers a test
/// starts in it.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    hook_decisions: Decisions,
    /// Events that the application has taken.
    pub hook_events: Counter,
    /// Requests with events, by outcome.
    pub hook_batches: ByLabel<Counter>,
    /// Messages with events that were not delivered.
    pub hook_events_lost: Counter,
    /// Messages with events that the application has not taken yet.
    pub hook_events_lag: Gauge,
    /// Events of dialects that their applications have taken, by whose they are.
    pub webhook_events: ByLabel<Counter>,
    webhook_batches: Webhooks,
    /// Messages with such events that were not delivered, by whose they are.
    pub webhook_events_lost: ByLabel<Counter>,
    /// Messages with such events that were not taken yet, by whose they are.
    pub webhook_events_lag: ByLabel<Gauge>,
    /// Connections that were refused because there was no room for their requests.
    pub overloaded_connections: Counter,
    /// How long requests took, by their route, in microseconds.
    pub request_us: ByLabel<AtomicHistogram>,
    /// How long it took from when a message was read until the engine had it, by `kind`, in microseconds.
    pub accepted_us: ByLabel<AtomicHistogram>,
    /// Pushes that were accepted.
    pub pushes: Counter,
    /// Messages to channels that were accepted.
    pub publishes: Counter,
    /// Requests that were answered with a status of 500 or above. It is not told by itself: the requests are,
    /// by their status.
    pub server_errors: Counter,
    /// Refusals as `rate_limited`, by what has the limit.
    pub rate_limited: ByLabel<Counter>,
    /// Keys, tokens and session ids that were none.
    pub refused_credentials: Counter,
    /// Sessions that clients of a dialect named and that are nowhere.
    pub unknown_sessions: Counter,
    /// Readings of the configuration on SIGHUP, by outcome.
    pub reloads: ByLabel<Counter>,
    /// Parts of the server that ended before their time, by name.
    pub part_failures: ByLabel<Counter>,
    /// Panics.
    pub panics: Counter,
    /// Audit records that their channel did not take.
    pub audit_lost: Counter,
    /// Lines that the access log has left out.
    pub access_log_lost: Counter,
    /// TLS handshakes, by kind.
    pub tls_handshakes: ByLabel<Counter>,
    /// Changed certificates that cannot be used.
    pub tls_certificate_errors: Counter,
    /// The last second in which a certificate is valid, by its file, since 1970.
    pub tls_certificate_not_after_s: ByLabel<Gauge>,
    /// Orders by ACME, by outcome.
    pub tls_acme_orders: ByLabel<Counter>,
    /// Names without a certificate by ACME.
    pub tls_acme_names_missing: Gauge,
    /// Spans of traces, by what became of them.
    pub trace_spans: ByLabel<Counter>,
    /// Connections that ended because their client took nothing.
    pub slow_stalled: Counter,
    /// Sessions that were closed for being too far behind.
    pub slow_closed: Counter,
    /// Connections that ended because too much was kept.
    pub slow_shed: Counter,
    /// Messages that were skipped.
    pub slow_skipped_messages: Counter,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

impl Metrics {
    /// Those of this process.
    #[must_use]
    pub fn global() -> &'static Self {
        &METRICS
    }

    fn new() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            hook_decisions: Family::default(),
            hook_events: Counter::default(),
            hook_batches: ByLabel::with("outcome", &["delivered", "failed"]),
            hook_events_lost: Counter::default(),
            hook_events_lag: Gauge::default(),
            webhook_events: ByLabel::new("app"),
            webhook_batches: Family::default(),
            webhook_events_lost: ByLabel::new("app"),
            webhook_events_lag: ByLabel::new("app"),
            overloaded_connections: Counter::default(),
            request_us: ByLabel::new("route"),
            accepted_us: ByLabel::with("kind", &["push", "publish"]),
            pushes: Counter::default(),
            publishes: Counter::default(),
            server_errors: Counter::default(),
            rate_limited: ByLabel::with("limit", RATE_LIMITS),
            refused_credentials: Counter::default(),
            unknown_sessions: Counter::default(),
            reloads: ByLabel::with("outcome", &["done", "failed"]),
            part_failures: ByLabel::new("part"),
            panics: Counter::default(),
            audit_lost: Counter::default(),
            access_log_lost: Counter::default(),
            tls_handshakes: ByLabel::with("kind", &["full", "resumed", "failed"]),
            tls_certificate_errors: Counter::default(),
            tls_certificate_not_after_s: ByLabel::new("cert"),
            tls_acme_orders: ByLabel::new("outcome"),
            tls_acme_names_missing: Gauge::default(),
            trace_spans: ByLabel::with("outcome", &["exported", "dropped", "failed"]),
            slow_stalled: Counter::default(),
            slow_closed: Counter::default(),
            slow_shed: Counter::default(),
            slow_skipped_messages: Counter::default(),
        };
        metrics.register()
    }

    /// Gives everything its name. A counter's ends in `_total` besides, and a unit stands behind the name.
    fn register(mut self) -> Self {
        let mut registry = Registry::default();
        registry.register(
            "encke_build",
            "Which build this is",
            Info::new([("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)]),
        );
        registry.register("encke_http_requests", "Requests that were answered", self.requests.clone());
        registry.register_with_unit(
            "encke_http_request",
            "How long answered requests took",
            Unit::Seconds,
            self.request_us.family(),
        );
        registry.register_with_unit(
            "encke_publish_accepted",
            "From when a push or a message was read until the engine had it safe",
            Unit::Seconds,
            self.accepted_us.family(),
        );
        let mut count = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        count("encke_pushes", "Pushes that were accepted", &self.pushes);
        count("encke_publishes", "Messages to channels that were accepted", &self.publishes);
        count(
            "encke_refused_credentials",
            "Keys, tokens and session ids that were refused and were none",
            &self.refused_credentials,
        );
        count(
            "encke_unknown_sessions",
            "Sessions that clients of Bayeux named and that are nowhere",
            &self.unknown_sessions,
        );
        count(
            "encke_panics",
            "Panics, each of which is a bug; it ended a connection or a part of the server",
            &self.panics,
        );
        count(
            "encke_audit_lost",
            "Audit records that the channel `audit_channel` did not take; the log has them",
            &self.audit_lost,
        );
        count(
            "encke_access_log_lost",
            "Lines that the access log has left out, as its disk was slow or refused them",
            &self.access_log_lost,
        );
        count(
            "encke_tls_certificate_errors",
            "Changed certificates that cannot be used; the old ones stay",
            &self.tls_certificate_errors,
        );
        count(
            "encke_overloaded_connections",
            "Connections that were refused because there was no room for their requests",
            &self.overloaded_connections,
        );
        self.register_labelled(&mut registry);
        self.register_slow(&mut registry);
        self.register_hooks(&mut registry);
        registry.register_collector(Box::new(process::Process::begun_now()));
        self.registry = registry;
        self
    }

    fn register_labelled(&self, registry: &mut Registry) {
        let mut count = |name: &str, help: &str, counters: &ByLabel<Counter>| {
            registry.register(name, help, counters.family());
        };
        count(
            "encke_rate_limited",
            "Requests that were refused as `rate_limited`, by what has the limit",
            &self.rate_limited,
        );
        count(
            "encke_reloads",
            "Readings of the configuration on SIGHUP, done or failed; failed ones change nothing",
            &self.reloads,
        );
        count(
            "encke_trace_spans",
            "Spans of traces that the collector has taken, that found no room, and that it has not taken",
            &self.trace_spans,
        );
        count(
            "encke_part_failures",
            "Parts of the server that ended before their time; it stops then",
            &self.part_failures,
        );
        count(
            "encke_tls_handshakes",
            "TLS handshakes that are done, in full or by a ticket, and those that came to nothing",
            &self.tls_handshakes,
        );
        count(
            "encke_tls_acme_orders",
            "Orders of a certificate by ACME, by their outcome; `issued` is the only good one",
            &self.tls_acme_orders,
        );
        registry.register(
            "encke_tls_acme_names_missing",
            "Names of `tls_acme` that there is no valid certificate for",
            self.tls_acme_names_missing.clone(),
        );
        registry.register_with_unit(
            "encke_tls_certificate_not_after",
            "The last second in which a certificate is valid, since 1970",
            Unit::Seconds,
            self.tls_certificate_not_after_s.family(),
        );
    }

    fn register_slow(&self, registry: &mut Registry) {
        let mut count = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        count(
            "encke_slow_stalled",
            "Connections that ended because the client did not take in time what it was sent",
            &self.slow_stalled,
        );
        count(
            "encke_slow_closed",
            "Sessions that were closed because they were too far behind",
            &self.slow_closed,
        );
        count(
            "encke_slow_shed",
            "Connections that ended because too much was kept for all that are slow",
            &self.slow_shed,
        );
        count(
            "encke_slow_skipped_messages",
            "Messages that were skipped, with a gap, because their receiver was too far behind",
            &self.slow_skipped_messages,
        );
    }

    fn register_hooks(&self, registry: &mut Registry) {
        for hook in ["connect", "subscribe", "publish"] {
            for outcome in ["allowed", "refused", "failed"] {
                let _ = self.hook_decisions(hook, outcome);
            }
        }
        registry.register(
            "encke_hook_decisions",
            "Decisions of the application's endpoint: allowed, refused, or failed",
            self.hook_decisions.clone(),
        );
        registry.register(
            "encke_hook_events",
            "Events that the application has taken",
            self.hook_events.clone(),
        );
        registry.register(
            "encke_hook_batches",
            "Requests with events, delivered or failed; one that failed is sent again",
            self.hook_batches.family(),
        );
        registry.register(
            "encke_hook_events_lost",
            "Messages with events that were not delivered for as long as they are kept, or not written down",
            self.hook_events_lost.clone(),
        );
        registry.register(
            "encke_hook_events_lag",
            "Messages with events that the application has not taken yet, on the node that delivers",
            self.hook_events_lag.clone(),
        );
        self.register_webhooks(registry);
    }

    fn register_webhooks(&self, registry: &mut Registry) {
        registry.register(
            "encke_webhook_events",
            "Events that an application of a dialect has taken",
            self.webhook_events.family(),
        );
        registry.register(
            "encke_webhook_batches",
            "Requests with such events, delivered or failed; one that failed is sent again",
            self.webhook_batches.clone(),
        );
        registry.register(
            "encke_webhook_events_lost",
            "Messages with such events that were not delivered while they are kept, or not written down",
            self.webhook_events_lost.family(),
        );
        registry.register(
            "encke_webhook_events_lag",
            "Messages with such events that were not taken yet, on the node that delivers",
            self.webhook_events_lag.family(),
        );
    }

    /// The counter of requests to a route, by this method and with this status.
    #[must_use]
    pub fn requests(&self, route: Cow<'static, str>, method: &'static str, status: u16) -> Counter {
        let status = status.to_string();
        let labels = [("route", route), ("method", method.into()), ("status", status.into())];
        self.requests.get_or_create_owned(&labels)
    }

    /// The counter of requests with webhooks of an application, with this outcome.
    #[must_use]
    pub fn webhook_batches(&self, app: &str, outcome: &'static str) -> Counter {
        self.webhook_batches
            .get_or_create_owned(&[("app", app.to_owned().into()), ("outcome", outcome.into())])
    }

    /// The counter of decisions of the application's endpoint about this, with this outcome.
    #[must_use]
    pub fn hook_decisions(&self, hook: &'static str, outcome: &'static str) -> Counter {
        self.hook_decisions.get_or_create_owned(&[("hook", hook), ("outcome", outcome)])
    }

    /// How many requests were refused as `rate_limited`, by whatever limit.
    #[must_use]
    pub fn rate_limited_sum(&self) -> u64 {
        RATE_LIMITS.iter().map(|limit| self.rate_limited.of(*limit).get()).sum()
    }

    /// All of it and `readings`, as text.
    #[must_use]
    pub fn render(&self, form: TextForm, readings: Vec<Reading>) -> String {
        let mut asked = Registry::default();
        asked.register_collector(Box::new(reading::Readings(readings)));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = form.write(&mut text, &[&self.registry, &asked]);
        text
    }
}

/// What has a limit of its rate, as in `[limits]`, `[[rules]]` and `[[api_keys]]`.
const RATE_LIMITS: &[&str] = &[
    "connections",
    "logins",
    "requests",
    "failures",
    "connects",
    "user_requests",
    "publishes",
    "publish_bytes",
    "channel_messages",
    "api_requests",
];

#[cfg(test)]
mod tests {
    use encke_proto::Histogram;

    use super::*;

    #[test]
    fn both_texts_have_types_units_and_everything_that_was_counted() {
        let metrics = Metrics::new();
        metrics.pushes.inc_by(3);
        metrics.request_us.of("/api/push").record(1_500);
        metrics.requests("/api/push".into(), "POST", 202).inc();
        let mut delivered = Histogram::default();
        delivered.record(3);
        let reading = || Reading {
            name: "encke_accepted_to_delivered",
            help: "How long",
            unit: Some(Unit::Seconds),
            points: vec![Point { label: None, value: Measured::Histogram(delivered, 0.001) }],
        };
        let open = metrics.render(TextForm::OpenMetrics, vec![reading()]);
        for line in [
            "# TYPE encke_pushes counter\n",
            "encke_pushes_total 3\n",
            "# TYPE encke_http_request_seconds histogram\n# UNIT encke_http_request_seconds seconds\n",
            "encke_http_request_seconds_bucket{le=\"0.002048\",route=\"/api/push\"} 1\n",
            "encke_http_requests_total{route=\"/api/push\",method=\"POST\",status=\"202\"} 1\n",
            "encke_accepted_to_delivered_seconds_bucket{le=\"0.002\"} 0\n",
            "encke_accepted_to_delivered_seconds_bucket{le=\"0.004\"} 1\n",
            "encke_accepted_to_delivered_seconds_sum 0.003\n",
            "encke_reloads_total{outcome=\"failed\"} 0\n",
        ] {
            assert!(open.contains(line), "{line}\n{open}");
        }
        assert!(open.ends_with("# EOF\n") && open.matches("# EOF").count() == 1, "{open}");
        assert!(open.contains("\nencke_build_info{version=\""), "{open}");
        let old = metrics.render(TextForm::Prometheus, vec![reading()]);
        for line in ["# TYPE encke_pushes_total counter\n", "encke_pushes_total 3\n"] {
            assert!(old.contains(line), "{line}\n{old}");
        }
        assert!(!old.contains("# UNIT") && !old.contains("# EOF"), "{old}");
        assert!(old.contains("\nencke_build_info{version=\""), "{old}");
        if cfg!(target_os = "linux") {
            for name in ["process_resident_memory_bytes ", "process_cpu_seconds_total ", "process_open_fds "]
            {
                assert!(open.contains(name) && old.contains(name), "{name}\n{open}");
            }
        }
    }
}

//! Whether the server lives, and whether it would take a request; and what it has counted.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{FromRequestParts, Request, State},
    response::{IntoResponse, Response},
};
use encke_engine::EngineStats;
use encke_hub::TransportTraffic;
use encke_proto::{CloseCode, ErrorCode, GapReason};
use http::header;
use prometheus_client::registry::Unit;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    extractors::MayReadMetrics,
    http::{
        host::is_this_machine,
        refusal::{ENGINE, Refused, codes},
    },
    metrics::{Measured, Reading, TextForm},
    shards::Counts,
};

/// All is well.
#[derive(Serialize, ToSchema)]
pub(crate) struct Well {
    /// Always true.
    ok: bool,
    /// The node.
    node: String,
}

/// Whether the process lives.
#[utoipa::path(
    get, path = "/healthz", tag = "operation", security(()),
    responses((
        status = 200, description = "It does.", body = Well, example = json!({"ok": true, "node": "push-1"})
    )),
    extensions(("x-error-codes" = json!(codes(&[])))),
)]
pub(crate) async fn healthz(State(app): State<Arc<App>>) -> Answer<Well> {
    Answer(Well { ok: true, node: app.config.node.clone() })
}

/// Whether the server would take requests: it is not about to stop, all of its parts are at
/// work, and its engine takes messages.
#[utoipa::path(
    get, path = "/readyz", tag = "operation", security(()),
    responses((
        status = 200, description = "It would.", body = Well, example = json!({"ok": true, "node": "push-1"})
    )),
    extensions(("x-error-codes" = json!(codes(&[ENGINE, &[ErrorCode::ShuttingDown]])))),
)]
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Result<Answer<Well>, Refused> {
    if app.is_stopping() {
        return Err(ErrorCode::ShuttingDown.into());
    }
    if app.supervisor.has_failed() {
        return Err(Refused::new(ErrorCode::ShuttingDown, "a part of the server has failed"));
    }
    app.engine.ready().await?;
    Ok(Answer(Well { ok: true, node: app.config.node.clone() }))
}

/// What is counted, in the text of Prometheus, or of OpenMetrics if `Accept` asks for it. Needs the API key,
/// but in dev mode by a name of this machine.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", security(("api_key" = []), ()),
    responses((status = 200, description = "Text.", body = String, content_type = "text/plain")),
    extensions(("x-error-codes" = json!(codes(&[&[
        ErrorCode::Unauthorized, ErrorCode::Forbidden, ErrorCode::RateLimited
    ]])))),
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    let form = TextForm::accepted(request.headers().get(header::ACCEPT).and_then(|it| it.to_str().ok()));
    // A foreign site can make its own name lead here (DNS rebinding); its pages could read the answer.
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !(app.config.dev && host.is_none_or(is_this_machine)) {
        MayReadMetrics::from_request_parts(&mut request.into_parts().0, &app).await?;
    }
    let (counts, engine) = (app.shards.counts().await?, app.engine.stats().await);
    let nodes = app.sessions.nodes().map_or(1, |nodes| nodes.count());
    let readings = [of_node(&counts, nodes), of_traffic(&counts), of_engine(&engine)].concat();
    Ok(([(header::CONTENT_TYPE, form.content_type())], app.metrics.render(form, readings)).into_response())
}

fn gauge(name: &'static str, help: &'static str, value: usize) -> Reading {
    Reading::one(name, help, Measured::Gauge(value as u64))
}

/// How much there is of everything now, on this node.
fn of_node(counts: &Counts, nodes: usize) -> Vec<Reading> {
    vec![
        gauge("encke_users_online", "Users who have a session.", counts.users),
        gauge("encke_sessions", "Sessions, those in their grace time among them.", counts.sessions),
        gauge("encke_connections_held", "Connections that wait for messages.", counts.held),
        gauge("encke_sockets", "Sockets in the connection table.", counts.sockets),
        gauge(
            "encke_channels_followed",
            "Channels that a session follows, users' own among them.",
            counts.channels,
        ),
        gauge("encke_slow_receivers", "Connections whose receivers do not keep up.", counts.slow),
        gauge("encke_unsent", "Bytes that are kept for them.", counts.unsent_bytes).in_unit(Unit::Bytes),
        Reading::one(
            "encke_lag_messages",
            "How many messages the slow receiver is behind that is the farthest.",
            Measured::Gauge(counts.lag),
        ),
        gauge("encke_nodes", "Nodes that live, as this one knows; 1 for a node that is alone.", nodes),
    ]
}

/// What went through the shards of this node.
fn of_traffic(counts: &Counts) -> Vec<Reading> {
    let traffic = &counts.traffic;
    let by_transport = |name, help, value: fn(&TransportTraffic) -> Measured| {
        let points = traffic.transports.iter().map(|transport| (transport.name.into(), value(transport)));
        Reading::by(name, help, "transport", points)
    };
    let closed = CloseCode::ALL.iter().map(|code| (code.as_str().into(), count_of(&traffic.closed, *code)));
    let gaps = GapReason::ALL.iter().map(|reason| (reason.as_str().into(), count_of(&traffic.gaps, *reason)));
    vec![
        by_transport("encke_connections", "Connections that serve a session.", |transport| {
            Measured::Gauge(transport.connections)
        }),
        by_transport("encke_connections_opened", "Connections that have begun to.", |transport| {
            Measured::Counter(transport.opened)
        }),
        Reading::by(
            "encke_connections_closed",
            "Connections that the server has ended, by the code that they were told.",
            "code",
            closed,
        ),
        by_transport("encke_deliveries", "Messages that connections were handed.", |transport| {
            Measured::Counter(transport.delivered)
        }),
        Reading::by("encke_gaps", "Gaps that receivers were told of, by their reason.", "reason", gaps),
        Reading::one(
            "encke_accepted_to_delivered",
            "How old messages were when a connection that had kept up was handed them.",
            Measured::Histogram(traffic.delivered_ms, 0.001),
        )
        .in_unit(Unit::Seconds),
        Reading::one(
            "encke_delivered_to_shown",
            "From when a push was delivered until its client said that it was shown.",
            Measured::Histogram(traffic.shown_ms, 0.001),
        )
        .in_unit(Unit::Seconds),
        Reading::one(
            "encke_sockets_read",
            "Bytes that were read from sockets of the connection table.",
            Measured::Counter(counts.read_bytes),
        )
        .in_unit(Unit::Bytes),
        Reading::one(
            "encke_sockets_written",
            "Bytes that were written for sockets of the connection table.",
            Measured::Counter(counts.written_bytes),
        )
        .in_unit(Unit::Bytes),
    ]
}

fn count_of<K: PartialEq>(counts: &[(K, u64)], key: K) -> Measured {
    Measured::Counter(counts.iter().find(|(known, _)| *known == key).map_or(0, |(_, count)| *count))
}

/// What the engine says of itself; what it does not say is left out.
fn of_engine(stats: &EngineStats) -> Vec<Reading> {
    let known =
        |name, help, value: Option<u64>| value.map(|value| Reading::one(name, help, Measured::Gauge(value)));
    let bytes = |reading: Reading| reading.in_unit(Unit::Bytes);
    let mut readings: Vec<Reading> = [
        known(
            "encke_engine_messages",
            "Messages that the engine keeps; one in several logs counts in each.",
            stats.messages,
        ),
        known("encke_engine_logs", "Logs of the engine, empty ones among them.", stats.logs),
        known("encke_engine_log", "Bytes of messages that some log has.", stats.log_bytes).map(bytes),
        known("encke_engine_store", "Bytes of the files of the log store.", stats.store_bytes).map(bytes),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(commits) = &stats.commits {
        readings.push(
            Reading::one(
                "encke_engine_commit",
                "How long a group of calls took to be written and synced.",
                Measured::Histogram(commits.took_us, 0.000_001),
            )
            .in_unit(Unit::Seconds),
        );
        readings.push(
            Reading::one(
                "encke_engine_sync",
                "How long the disk took to sync what was written for a group of calls.",
                Measured::Histogram(commits.sync_us, 0.000_001),
            )
            .in_unit(Unit::Seconds),
        );
        readings.push(Reading::one(
            "encke_engine_commit_calls",
            "How many calls were written and synced together.",
            Measured::Histogram(commits.calls, 1.0),
        ));
    }
    readings
}

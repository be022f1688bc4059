//! `GET /api/node` and `GET /api/nodes`: how this node is, and how all are.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::{ErrorCode, Time};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    cluster::SilentNode,
    extractors::{MayRead, OPERATOR},
    http::refusal::{Refused, codes},
    server_api::stats::{Latency, Rates},
    stats::{Levels, NodeReport, Totals},
};

/// How a node is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Node {
    /// What its operator calls it.
    node: String,
    /// Its incarnation: another one after each restart; null for a node that is alone.
    id: Option<String>,
    version: String,
    /// How safe an accepted message is: `memory`, `log`, `redis` or `nats`.
    engine: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started: Time,
    uptime_s: u64,
    /// Where it listens.
    addresses: Vec<String>,
    #[serde(flatten)]
    levels: Levels,
    totals: Totals,
    /// Over the last minute.
    rates: Rates,
    /// From when a message was accepted until it was delivered, of the last minute; null when nothing was.
    latency_ms: Option<Latency>,
    /// From when a push was delivered until it was shown, of the last minute; null when nothing was.
    shown_ms: Option<Latency>,
}

impl From<NodeReport> for Node {
    fn from(report: NodeReport) -> Self {
        let minute = &report.minute;
        let (latency_ms, shown_ms) = (Latency::of(&minute.delivered_ms), Latency::of(&minute.shown_ms));
        let rates = Rates::of(minute);
        let NodeReport { node, id, version, engine, started, uptime_s, addresses, levels, totals, .. } =
            report;
        Self {
            node,
            id,
            version,
            engine,
            started,
            uptime_s,
            addresses,
            levels,
            totals,
            rates,
            latency_ms,
            shown_ms,
        }
    }
}

/// All nodes that live.
#[derive(Serialize, ToSchema)]
pub(crate) struct Nodes {
    /// By name.
    nodes: Vec<Node>,
    /// Those that have not answered.
    silent: Vec<Silent>,
}

/// A node that lives and has not answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct Silent {
    node: String,
    id: String,
    /// Why there is no answer, as the code of an error.
    error: ErrorCode,
}

impl From<SilentNode> for Silent {
    fn from(silent: SilentNode) -> Self {
        let SilentNode { node, id, why } = silent;
        Self { node, id: id.to_string(), error: why }
    }
}

/// How the node is that answers.
#[utoipa::path(
    get, path = "/api/node", tag = "server API", security(("api_key" = [])),
    responses((
        status = 200, description = "It is at work.", body = Node,
        example = json!({
            "node": "push-1", "id": null, "version": "0.1.0", "engine": "log",
            "started": "2026-01-02T03:04:05.678Z", "uptime_s": 86_400, "addresses": ["http://127.0.0.1:8080"],
            "connections": 1_200, "sessions": 1_250, "users": 900, "lag": 0,
            "totals": {
                "pushes": 5_000, "publishes": 100, "deliveries": 120_000, "opened": 9_000, "gaps": 0,
                "rate_limited": 0, "refused_credentials": 3, "errors": 0,
            },
            "rates": {
                "pushes": 1.5, "publishes": 0.0, "deliveries": 20.5, "opened": 0.1, "errors": 0.0,
            },
            "latency_ms": {"p50": 1.0, "p90": 1.0, "p99": 2.0},
            "shown_ms": null,
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, &[ErrorCode::Overloaded]])))),
)]
pub(crate) async fn node(State(app): State<Arc<App>>, _: MayRead) -> Result<Answer<Node>, Refused> {
    Ok(Answer(app.reports.own().await?.into()))
}

/// How all nodes are.
#[utoipa::path(
    get, path = "/api/nodes", tag = "server API", security(("api_key" = [])),
    responses((
        status = 200, description = "Those that live.", body = Nodes,
        example = json!({
            "nodes": [{
                "node": "push-1", "id": "00f1e2d3c4b5a697", "version": "0.1.0", "engine": "redis",
                "started": "2026-01-02T03:04:05.678Z", "uptime_s": 86_400,
                "addresses": ["http://10.0.0.1:8080"],
                "connections": 1_200, "sessions": 1_250, "users": 900, "lag": 0,
                "totals": {
                    "pushes": 5_000, "publishes": 100, "deliveries": 120_000, "opened": 9_000, "gaps": 0,
                    "rate_limited": 0, "refused_credentials": 3, "errors": 0,
                },
                "rates": {
                    "pushes": 1.5, "publishes": 0.0, "deliveries": 20.5, "opened": 0.1, "errors": 0.0,
                },
                "latency_ms": null,
                "shown_ms": null,
            }],
            "silent": [{"node": "push-2", "id": "8897a6b5c4d3e2f1", "error": "engine_unavailable"}],
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, &[ErrorCode::Overloaded]])))),
)]
pub(crate) async fn nodes(State(app): State<Arc<App>>, _: MayRead) -> Result<Answer<Nodes>, Refused> {
    let (reports, silent) = app.reports.all().await?;
    let nodes = reports.into_iter().map(Node::from).collect();
    Ok(Answer(Nodes { nodes, silent: silent.into_iter().map(Silent::from).collect() }))
}

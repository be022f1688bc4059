//! Whether the server lives, and whether it would take a request; and what it has counted.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{FromRequestParts, Request, State},
    response::{IntoResponse, Response},
};
use encke_proto::ErrorCode;
use http::header;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    extractors::MayReadMetrics,
    http::{
        host::is_this_machine,
        refusal::{ENGINE, Refused, codes},
    },
    metrics::Gauge,
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

/// What is counted, as Prometheus reads it. Needs the API key, but in dev mode by a name of this machine.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", security(("api_key" = []), ()),
    responses((status = 200, description = "Text.", body = String, content_type = "text/plain")),
    extensions(("x-error-codes" = json!(codes(&[&[
        ErrorCode::Unauthorized, ErrorCode::Forbidden, ErrorCode::RateLimited
    ]])))),
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refused> {
    // A foreign site can make its own name lead here (DNS rebinding); its pages could read the answer.
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !(app.config.dev && host.is_none_or(is_this_machine)) {
        MayReadMetrics::from_request_parts(&mut request.into_parts().0, &app).await?;
    }
    let counts = app.shards.counts().await?;
    Ok((
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        app.metrics.render(&gauges(counts, app.sessions.nodes().map_or(1, |nodes| nodes.count()))),
    )
        .into_response())
}

/// How much there is of everything now, on this node.
fn gauges(counts: Counts, nodes: usize) -> [Gauge; 8] {
    [
        ("encke_users_online", "Users who have a session.", counts.users),
        ("encke_sessions", "Sessions, those in their grace time among them.", counts.sessions),
        ("encke_connections_held", "Connections that wait for messages.", counts.held),
        ("encke_sockets", "Sockets in the connection table.", counts.sockets),
        (
            "encke_channels_followed",
            "Channels that a session follows, users' own among them.",
            counts.channels,
        ),
        ("encke_slow_receivers", "Connections whose receivers do not keep up.", counts.slow),
        ("encke_unsent_bytes", "Bytes that are kept for them.", counts.unsent_bytes),
        ("encke_nodes", "Nodes that live, as this one knows; 1 for a node that is alone.", nodes),
    ]
    .map(|(name, help, value)| Gauge { name, help, value })
}

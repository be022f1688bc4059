//! `GET /api/hooks`: how the application's endpoint does.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json as Answer, extract::State};
use encke_proto::ErrorCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    extractors::{MayRead, OPERATOR},
    hooks::{DecisionsReport, DeliveryReport, WebhooksReport},
    http::refusal::{Refused, codes},
};

/// How the endpoint does.
#[derive(Serialize, ToSchema)]
pub(crate) struct HooksStatus {
    /// How it decides, as each node that answers sees it; empty when it decides nothing.
    decisions: Vec<NodeDecisions>,
    /// How events are delivered to it; null when there are none, or no node that answers delivers them now.
    #[schema(required = true)]
    events: Option<NodeDelivery>,
    /// How the webhooks of dialects' applications are delivered, by the nodes that do.
    webhooks: Vec<WebhooksDelivery>,
    /// How many nodes live and have not answered.
    silent: usize,
}

/// How the endpoint decides, as a node sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodeDecisions {
    node: String,
    #[serde(flatten)]
    decisions: DecisionsReport,
}

/// How a node delivers events.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodeDelivery {
    node: String,
    #[serde(flatten)]
    delivery: DeliveryReport,
}

/// How the webhooks of one application are delivered.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhooksDelivery {
    /// Whose they are: the dialect, a colon, and the id of the application.
    of: String,
    #[serde(flatten)]
    delivery: NodeDelivery,
}

/// How the application's endpoint does, as the nodes see it.
#[utoipa::path(
    get, path = "/api/hooks", tag = "server API", security(("api_key" = [])),
    responses((
        status = 200, description = "As the nodes see it now.", body = HooksStatus,
        example = json!({
            "decisions": [{
                "node": "push-1", "circuit_breaker": "closed", "failures": 0, "last_failure": null
            }],
            "events": {
                "node": "push-1", "cursor": 5_120, "lag": 3,
                "last_failure": {
                    "time": "2026-01-02T03:04:05.678Z", "error": "the answer has the status 502"
                },
                "next_try": "2026-01-02T03:04:37.678Z",
            },
            "webhooks": [{
                "of": "pusher:1", "node": "push-1", "cursor": 17, "lag": 0, "last_failure": null,
                "next_try": null,
            }],
            "silent": 0,
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, &[ErrorCode::Overloaded]])))),
)]
pub(crate) async fn hooks(State(app): State<Arc<App>>, _: MayRead) -> Result<Answer<HooksStatus>, Refused> {
    let (reports, silent) = app.reports.all().await?;
    let (mut decisions, mut events, mut webhooks) = (Vec::new(), None, BTreeMap::new());
    for report in reports {
        let node = report.node;
        decisions
            .extend(report.hooks.decisions.map(|decisions| NodeDecisions { node: node.clone(), decisions }));
        // While one takes over from another both may say that they deliver: the cursor does not go back.
        let delivery = report.hooks.delivery.map(|delivery| NodeDelivery { node: node.clone(), delivery });
        events = further(events, delivery);
        for WebhooksReport { of, delivery } in report.hooks.webhooks {
            let before = webhooks.remove(&of);
            webhooks.extend(
                further(before, Some(NodeDelivery { node: node.clone(), delivery })).map(|one| (of, one)),
            );
        }
    }
    let webhooks = webhooks.into_iter().map(|(of, delivery)| WebhooksDelivery { of, delivery }).collect();
    Ok(Answer(HooksStatus { decisions, events, webhooks, silent: silent.len() }))
}

/// The one of two that is further.
fn further(one: Option<NodeDelivery>, other: Option<NodeDelivery>) -> Option<NodeDelivery> {
    [one, other].into_iter().flatten().max_by_key(|one| one.delivery.cursor)
}

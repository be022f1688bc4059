//! `DELETE /api/push/{id}`: calls a push back where it is still queued, on all nodes.

use std::{sync::Arc, time::Duration};

use axum::{Json as Answer, extract::State};
use encke_engine::ReceiptState;
use encke_proto::{ErrorCode, MessageId};
use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::{
    app::App,
    extractors::{MayPush, OPERATOR},
    http::refusal::{ENGINE, Refused, codes},
    validation::{self, InPath},
};

/// For how many users it is looked up first what their connections were handed just now. What more users were
/// handed in the last moment, and is not written down yet, counts as queued.
const SETTLED_MAX: usize = 100;
/// How long that may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

/// A push that was called back.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cancelled {
    /// For how many users: those who had not been handed it.
    cancelled: usize,
}

/// Cancels a push: what is still queued of it is not delivered any more, and its receipts end as `cancelled`.
///
/// Users who were handed it keep it. Needs the scope `push` or `admin`.
#[utoipa::path(
    delete, path = "/api/push/{id}", tag = "server API", security(("api_key" = [])),
    params(("id" = String, Path, description = "The push.", example = "AZ6dZ2hUJq0b3m5k7n9pRQ")),
    responses((
        status = 200, description = "It is cancelled, as safely as `mode` says of messages.",
        body = Cancelled, example = json!({"cancelled": 1}),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        OPERATOR, validation::ERRORS, ENGINE, &[ErrorCode::PushUnknown]
    ])))),
)]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    _: MayPush,
    InPath(id): InPath,
) -> Result<Answer<Cancelled>, Refused> {
    let id: MessageId = id.parse().map_err(|_| Refused::from(ErrorCode::PushUnknown))?;
    settle(&app, &id).await?;
    let cancelled = app.engine.cancel(&id, app.now().wall).await?;
    app.push_totals.forget();
    Ok(Answer(Cancelled { cancelled: cancelled.ok_or(Refused::from(ErrorCode::PushUnknown))? }))
}

/// Waits until it is written down what its users were handed until now: a receipt says what is true then.
async fn settle(app: &App, push: &MessageId) -> Result<(), Refused> {
    let receipts = app.engine.receipts(push, None, SETTLED_MAX, app.now().wall).await?.unwrap_or_default();
    let queued = receipts.iter().filter(|receipt| receipt.state == ReceiptState::Queued);
    let settled = join_all(queued.map(|receipt| app.sessions.settle(&receipt.user)));
    // Calling it back matters more than what a node that does not answer has handed over.
    let is_known = timeout(SETTLE_TIMEOUT, settled).await.is_ok_and(|all| all.iter().all(Result::is_ok));
    if !is_known {
        tracing::debug!(%push, "what the users of a push were handed is not known to the last");
    }
    Ok(())
}

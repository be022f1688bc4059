//! `GET /api/push/{id}`: what became of a push, by user.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::{ErrorCode, MessageId, Time, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    extractors::{MayRead, OPERATOR},
    http::{
        query::{self, Query},
        refusal::{ENGINE, Refused, codes},
    },
    validation::{self, InPath},
};

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReceiptsQuery {
    /// At most this many; 100 by default, 1,000 at most.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// What became of a push.
#[derive(Serialize, ToSchema)]
pub(crate) struct Receipts {
    #[schema(value_type = String)]
    id: MessageId,
    /// By user.
    receipts: Vec<Receipt>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<UserId>,
}

/// What became of it with one user.
#[derive(Serialize, ToSchema)]
pub(crate) struct Receipt {
    #[schema(value_type = String)]
    user: UserId,
    /// `queued`, `delivered`, `shown`, `expired` or `cancelled`.
    state: &'static str,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    time: Time,
}

/// What became of a push, by user.
#[utoipa::path(
    get, path = "/api/push/{id}", tag = "server API", security(("api_key" = [])),
    params(
        ("id" = String, Path, description = "The push.", example = "AZ6dZ2hUJq0b3m5k7n9pRQ"),
        ReceiptsQuery
    ),
    responses((
        status = 200, description = "The receipts.", body = Receipts,
        example = json!({
            "id": "AZ6dZ2hUJq0b3m5k7n9pRQ",
            "receipts": [{"user": "alice", "state": "delivered", "time": "2026-01-02T03:04:05.678Z"}]
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        OPERATOR, query::ERRORS, validation::ERRORS, ENGINE, &[ErrorCode::PushUnknown]
    ])))),
)]
pub(crate) async fn receipts(
    State(app): State<Arc<App>>,
    _: MayRead,
    InPath(id): InPath,
    Query(asked): Query<ReceiptsQuery>,
) -> Result<Answer<Receipts>, Refused> {
    let limit = query::limit(asked.limit)?;
    let after = asked.after.as_deref().map(validation::user).transpose()?;
    let id: MessageId = id.parse().map_err(|_| Refused::from(ErrorCode::PushUnknown))?;
    let found = app.engine.receipts(&id, after.as_ref(), limit + 1, app.now().wall).await?;
    let mut found = found.ok_or(Refused::from(ErrorCode::PushUnknown))?;
    let next = query::cut(&mut found, limit, |receipt| receipt.user.clone());
    let receipts = found.into_iter().map(|receipt| Receipt {
        user: receipt.user,
        state: receipt.state.as_str(),
        time: receipt.at,
    });
    Ok(Answer(Receipts { id, receipts: receipts.collect(), next }))
}

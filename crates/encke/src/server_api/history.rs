//! `GET /api/channels/{channel}/history`: what was published to a channel, for backends.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use encke_proto::{ChannelName, ErrorCode};

use crate::{
    app::App,
    extractors::{MayRead, OPERATOR},
    history::{History, HistoryQuery},
    http::{
        query::{self, Query},
        refusal::{ENGINE, Refused, codes},
    },
    validation::{self, InPath},
};

/// A part of a channel's log, forwards or backwards from a cursor.
#[utoipa::path(
    get, path = "/api/channels/{channel}/history", tag = "server API", security(("api_key" = [])),
    params(
        (
            "channel" = String,
            Path,
            description = "The channel, percent-encoded; a user's own too.",
            example = "news"
        ),
        HistoryQuery
    ),
    responses((
        status = 200, description = "Messages, and where to go on.", body = History<'static>,
        example = json!({
            "messages": [{
                "id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "channel": "news", "offset": 7, "epoch": "k3x9",
                "time": "2026-01-02T03:04:05.678Z",
                "type": "message", "data": {"text": "hello"},
            }],
            "gaps": [], "cursor": "1~k3x9~news~7", "previous": "1~k3x9~news~6",
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        OPERATOR, query::ERRORS, validation::ERRORS, ENGINE, &[ErrorCode::BadCursor]
    ])))),
)]
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    _: MayRead,
    InPath(channel): InPath,
    Query(asked): Query<HistoryQuery>,
) -> Result<Response, Refused> {
    crate::history::history(&app, &ChannelName::any(&channel)?, &asked).await
}

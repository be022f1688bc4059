//! `GET /v1/channels/{channel}/history`: what was published to a channel, for clients that a rule lets read
//! it.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use encke_proto::{Action, ChannelName, ErrorCode};

use crate::{
    app::App,
    extractors::{CLIENT, Client},
    history::{History, HistoryQuery},
    http::{
        query::{self, Query},
        refusal::{ENGINE, Refused, codes},
    },
    validation::{self, InPath},
};

/// A part of a channel's log, forwards or backwards from a cursor, if a rule lets the user read it.
#[utoipa::path(
    get, path = "/v1/channels/{channel}/history", tag = "control connection",
    security(("token" = []), ("cookie" = [])),
    params(
        (
            "channel" = String,
            Path,
            description = "The public channel, percent-encoded.",
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
        CLIENT, query::ERRORS, validation::ERRORS, ENGINE,
        &[ErrorCode::BadCursor, ErrorCode::ChannelForbidden],
    ])))),
)]
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    Client(identity): Client,
    InPath(channel): InPath,
    Query(asked): Query<HistoryQuery>,
) -> Result<Response, Refused> {
    let channel = ChannelName::public(&channel)?;
    app.auth.access().check(&identity, Action::History, &channel)?;
    crate::history::history(&app, &channel, &asked).await
}

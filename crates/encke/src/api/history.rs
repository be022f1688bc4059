use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use encke_engine::{PageLimit, ReadFrom};
use encke_proto::{ChannelName, Cursor, ErrorCode, Gap, GapReason, Page, Position};
use http::header;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    app::App,
    names::InPath,
    openapi,
    query::{self, Query},
    refusal::Refused,
    who::Operator,
};

/// The most bytes of message bodies in an answer.
const PAGE_MAX_BYTES: usize = 1 << 20;

/// From where, and how much.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// Forwards from here; the oldest that is kept when absent, `earliest`, or silent about this channel.
    cursor: Option<String>,
    /// At most this many messages; 100 by default, 1,000 at most.
    limit: Option<u32>,
}

/// A part of a channel's log, forwards from a cursor.
#[utoipa::path(
    get, path = "/api/channels/{channel}/history", tag = "server API", security(("api_key" = [])),
    params(("channel" = String, Path, description = "The channel, percent-encoded; a user's own too."), HistoryQuery),
    responses((status = 200, description = "Messages, and where to go on.", body = openapi::History)),
)]
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    _: Operator,
    InPath(channel): InPath,
    Query(asked): Query<HistoryQuery>,
) -> Result<Response, Refused> {
    let limit = PageLimit { messages: query::limit(asked.limit)?, bytes: PAGE_MAX_BYTES };
    let channel = ChannelName::any(&channel)?;
    let at = match asked.cursor.as_deref() {
        None | Some("earliest") => None,
        Some(text) => {
            let cursor = Cursor::parse(text).map_err(|error| Refused::new(ErrorCode::BadCursor, error.to_string()))?;
            cursor.position(&channel)
        }
    };
    let after = at.map_or(0, |at| at.offset);
    let mut page = app.engine.read(&channel, ReadFrom::After(after), limit).await?;
    if at.is_some_and(|at| page.epoch != at.epoch || at.offset > page.head) {
        // The offset means nothing in this log, so what was read behind it is not what comes next.
        page = app.engine.read(&channel, ReadFrom::After(0), limit).await?;
    }
    let json = written(&app, &channel, at, &page);
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// The answer, put together from the form in which the messages are shared.
fn written(app: &App, channel: &ChannelName, at: Option<Position>, page: &Page) -> String {
    let (gap, mut position) = begin(channel, at, page);
    let now = app.now().wall;
    let mut out = String::from("{\"messages\":[");
    let mut comma = "";
    for entry in &page.entries {
        let message = entry.message();
        position = message.position;
        // A message past its time is passed over, here as everywhere.
        if message.expires.is_none_or(|expires| expires > now) {
            out.push_str(comma);
            out.push('{');
            out.push_str(entry.members_json());
            comma = ",";
        }
    }
    let mut cursor = Cursor::default();
    cursor.set(channel, position);
    out.push_str("],\"gaps\":[");
    if let Some(gap) = gap {
        // A name, two numbers and a word always encode.
        out.push_str(&serde_json::to_string(&gap).unwrap_or_default());
    }
    // A cursor's text holds nothing that JSON would escape.
    out.push_str(&format!("],\"cursor\":\"{cursor}\"}}"));
    out
}

/// What is missing before the first message, and where the receiver stands then.
fn begin(channel: &ChannelName, at: Option<Position>, page: &Page) -> (Option<Gap>, Position) {
    let first = Position { epoch: page.epoch, offset: page.tail.saturating_sub(1) };
    let Some(at) = at else { return (None, first) };
    let gap = |to, reason| Some(Gap { channel: channel.clone(), from: at.offset.saturating_add(1), to, reason });
    if at.epoch != page.epoch || at.offset > page.head {
        (gap(None, GapReason::Epoch), first)
    } else if at.offset < first.offset {
        (gap(Some(first.offset), GapReason::Trimmed), first)
    } else {
        (None, at)
    }
}

//! `GET /api/pushes`: which pushes were accepted, by all nodes, the newest first, and what became of each.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::{JsonText, MessageId, Time};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::receipts::Totals;
use crate::{
    app::App,
    extractors::{MayRead, OPERATOR},
    http::{
        query::{self, Query},
        refusal::{ENGINE, Refused, codes},
    },
    push_history::{Past, Place},
};

/// The most pushes of a page, and those of one that nothing was said of.
const LIMIT_MAX: usize = 100;
const LIMIT_DEFAULT: u32 = 20;
/// The most pushes that one request looks at, and parts of the history.
const LOOKED_MAX: usize = 2_000;
/// How many pushes are counted at a time.
const COUNTED_AT_ONCE: usize = 8;

/// Which part of the history.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PushesQuery {
    /// At most this many; 20 by default, 100 at most.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of pushes, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct PastPushes {
    pushes: Vec<PastPush>,
    /// Where the next page begins, if there is one. A page may be short although there is one.
    next: Option<String>,
}

/// A push that was accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct PastPush {
    #[schema(value_type = String)]
    id: MessageId,
    #[schema(value_type = String, format = DateTime)]
    time: Time,
    /// The page; its first 1,024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    url: Option<Arc<str>>,
    /// The message; if it is longer than 256 bytes, a string with the beginning of its JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<JsonText>,
    /// Whether it is the beginning only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    totals: Totals,
}

/// Pushes by whatever key and node, the newest first, with what became of each, for as long as there are
/// receipts of it.
///
/// The last 64 MiB of what is noted of them is kept: some hundred thousand. A push that another node has just
/// accepted is told a moment later. One that is for no user, or whose users were all deleted, is not told.
#[utoipa::path(
    get, path = "/api/pushes", tag = "server API", security(("api_key" = [])), params(PushesQuery),
    responses((
        status = 200, description = "Pushes, the newest first.", body = PastPushes,
        example = json!({
            "pushes": [{
                "id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "time": "2026-01-02T03:04:05.678Z",
                "url": "https://pages.example/shop",
                "totals": {"queued": 1, "delivered": 1, "shown": 0, "expired": 0, "cancelled": 0}
            }],
            "next": null
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[OPERATOR, query::ERRORS, ENGINE])))),
)]
pub(crate) async fn pushes(
    State(app): State<Arc<App>>,
    _: MayRead,
    Query(asked): Query<PushesQuery>,
) -> Result<Answer<PastPushes>, Refused> {
    let limit = query::limit(asked.limit.or(Some(LIMIT_DEFAULT)))?.min(LIMIT_MAX);
    let unknown = || Refused::bad("`after` is not the `next` of a page");
    let mut behind = asked.after.as_deref().map(|text| Place::parse(text).ok_or_else(unknown)).transpose()?;
    // An engine that takes nothing now may still tell what it has.
    app.push_history.settle().await;
    let (mut pushes, mut last, mut looked) = (Vec::new(), behind, 0);
    while looked < LOOKED_MAX {
        let Some((part, end)) = app.push_history.page(behind).await? else {
            return Ok(Answer(PastPushes { pushes, next: None }));
        };
        let mut counted = stream::iter(part).map(|past| counted(&app, past)).buffered(COUNTED_AT_ONCE);
        while let Some((push, place)) = counted.try_next().await? {
            if push.is_some() && pushes.len() == limit {
                return Ok(Answer(PastPushes { pushes, next: last.map(|place| place.to_string()) }));
            }
            pushes.extend(push);
            (last, looked) = (Some(place), looked + 1);
            if looked >= LOOKED_MAX {
                break;
            }
        }
        // What had ended before does not count.
        (behind, looked) = (Some(end), looked + 1);
        last = if looked < LOOKED_MAX { behind } else { last };
    }
    Ok(Answer(PastPushes { pushes, next: last.map(|place| place.to_string()) }))
}

/// A push with what became of it, and its place; none when there is no user of it any more.
async fn counted(app: &App, past: Past) -> Result<(Option<PastPush>, Place), Refused> {
    let Past { note, place } = past;
    let totals = app.push_totals.of(&*app.engine, &note.id, app.now().wall).await?;
    let push = totals.filter(|totals| totals.users() > 0).map(|totals| PastPush {
        id: note.id,
        time: note.time,
        url: note.url,
        data: note.data,
        cut: note.cut,
        totals: totals.into(),
    });
    Ok((push, place))
}

//! A page of a channel's log before or after a cursor, with the gap that retention or a new epoch left. It
//! reads the engine alone; no session is involved. Who may read is decided before.

use axum::response::{IntoResponse, Response};
use encke_engine::{PageLimit, ReadFrom};
use encke_proto::{
    ChannelName, Cursor, ErrorCode, Gap, GapReason, Message, MessageJson, Offset, Page, Position, Time, json,
};
use http::header;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    http::{query, refusal::Refused},
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
    /// Backwards from here instead: the last messages up to this cursor, oldest first; `latest` begins with
    /// the newest.
    before: Option<String>,
    /// At most this many messages; 100 by default, 1,000 at most.
    limit: Option<u32>,
}

/// A part of a channel's log.
#[derive(Serialize, ToSchema)]
pub(crate) struct History<'a> {
    messages: Vec<MessageJson<'a>>,
    /// Before the messages.
    gaps: Vec<Gap>,
    /// Where to go on.
    cursor: String,
    /// What `before` takes to get the messages in front of these; `null` when none are kept.
    #[schema(required = true)]
    previous: Option<String>,
}

/// What is asked for of a channel's log, as it is answered.
///
/// # Errors
/// [`ErrorCode::BadRequest`], [`ErrorCode::BadCursor`], or when the engine cannot read.
pub(crate) async fn history(
    app: &App,
    channel: &ChannelName,
    asked: &HistoryQuery,
) -> Result<Response, Refused> {
    let limit = PageLimit { messages: query::limit(asked.limit)?, bytes: PAGE_MAX_BYTES };
    let part = match (asked.cursor.as_deref(), asked.before.as_deref()) {
        (Some(_), Some(_)) => return Err(Refused::bad("send either `cursor` or `before`")),
        (from, None) => forwards(app, channel, place(channel, from, "earliest")?, limit).await?,
        (None, before) => backwards(app, channel, place(channel, before, "latest")?, limit).await?,
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], json::write(&part.answer(channel, app.now().wall)))
        .into_response())
}

/// The place in the channel that a cursor names; none when it is the `end` of the log, or silent about the
/// channel.
fn place(channel: &ChannelName, text: Option<&str>, end: &str) -> Result<Option<Position>, Refused> {
    let Some(text) = text.filter(|text| *text != end && !Cursor::is_none_yet(text)) else { return Ok(None) };
    let cursor =
        Cursor::parse(text).map_err(|error| Refused::new(ErrorCode::BadCursor, error.to_string()))?;
    Ok(cursor.position(channel))
}

/// A part of a log.
struct Part {
    page: Page,
    /// What is missing in front of it.
    gap: Option<Gap>,
    /// Where a reader of the page stands before its first message.
    begin: Position,
}

async fn forwards(
    app: &App,
    channel: &ChannelName,
    at: Option<Position>,
    limit: PageLimit,
) -> Result<Part, Refused> {
    let after = at.map_or(0, |at| at.offset);
    let mut page = app.engine.read(channel, ReadFrom::After(after), limit).await?;
    let first = |page: &Page| Position { epoch: page.epoch, offset: page.tail.saturating_sub(1) };
    let Some(at) = at else { return Ok(Part { begin: first(&page), gap: None, page }) };
    let gap =
        |to, reason| Some(Gap { channel: channel.clone(), from: at.offset.saturating_add(1), to, reason });
    let at = page.lineage.carry(at, page.epoch).unwrap_or(at);
    if is_elsewhere(at, &page) {
        // What the log kept of that epoch need not be told again.
        let kept = page.lineage.shared(at.epoch).unwrap_or(0);
        page = app.engine.read(channel, ReadFrom::After(kept), limit).await?;
        let begin = first(&page);
        return Ok(Part {
            gap: gap(None, GapReason::Epoch),
            begin: Position { offset: begin.offset.max(kept.min(page.head)), ..begin },
            page,
        });
    }
    let begin = first(&page);
    if at.offset < begin.offset {
        return Ok(Part { gap: gap(Some(begin.offset), GapReason::Trimmed), begin, page });
    }
    Ok(Part { gap: None, begin: at, page })
}

async fn backwards(
    app: &App,
    channel: &ChannelName,
    at: Option<Position>,
    limit: PageLimit,
) -> Result<Part, Refused> {
    let before = at.map_or(Offset::MAX, |at| at.offset.saturating_add(1));
    let mut page = app.engine.read(channel, ReadFrom::Before(before), limit).await?;
    let at = at.map(|at| page.lineage.carry(at, page.epoch).unwrap_or(at));
    let elsewhere = at.filter(|at| is_elsewhere(*at, &page));
    if elsewhere.is_some() {
        page = app.engine.read(channel, ReadFrom::Before(Offset::MAX), limit).await?;
    }
    let end = elsewhere.xor(at).map_or(page.head, |at| at.offset);
    let begin = page.entries.first().map_or(end, |first| first.message().position.offset - 1);
    let gap = |to, reason| Some(Gap { channel: channel.clone(), from: 1, to: Some(to), reason });
    let gap = match elsewhere {
        // Before the first message of another epoch there was nothing that could be missing.
        Some(at) if at.offset > 0 => gap(at.offset, GapReason::Epoch),
        // Here the walk ends, although the log once had more.
        _ if begin < page.tail && page.tail > 1 => gap(page.tail - 1, GapReason::Trimmed),
        _ => None,
    };
    Ok(Part { gap, begin: Position { epoch: page.epoch, offset: begin }, page })
}

/// Whether the place means nothing in this log, so that what was read there is not what was asked for.
fn is_elsewhere(at: Position, page: &Page) -> bool {
    page.epoch != at.epoch || at.offset > page.head
}

impl Part {
    /// The answer. A message past its time is passed over, here as everywhere.
    fn answer(&self, channel: &ChannelName, now: Time) -> History<'_> {
        let lives = |message: &&Message| message.expires.is_none_or(|expires| expires > now);
        let messages = self.page.entries.iter().map(|entry| entry.message());
        let end = self.page.entries.last().map_or(self.begin, |entry| entry.message().position);
        let cursor = |position| {
            let mut cursor = Cursor::default();
            cursor.set(channel, position);
            cursor.to_string()
        };
        History {
            messages: messages.filter(lives).map(MessageJson::from).collect(),
            gaps: self.gap.iter().cloned().collect(),
            cursor: cursor(end),
            previous: (self.begin.offset >= self.page.tail).then(|| cursor(self.begin)),
        }
    }
}

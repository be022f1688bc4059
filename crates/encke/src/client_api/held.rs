//! The data connections, for the description of the API. The connection table answers them before a request
//! gets to the router.

use encke_proto::{ErrorCode, codec::poll::PollAnswer};

use crate::{
    dialects::native::Query,
    extractors::CLIENT,
    http::refusal::{ENGINE, Refused, codes},
    validation,
};

/// What each of them may be refused with.
const HELD: &[ErrorCode] = &[
    ErrorCode::BadRequest,
    ErrorCode::RequestTimeout,
    ErrorCode::BadCursor,
    ErrorCode::ChannelForbidden,
    ErrorCode::TooManyChannels,
    ErrorCode::ChannelFull,
];
/// What a session may be refused with by its status. A WebSocket is told in its first close.
const SESSION: &[ErrorCode] = &[ErrorCode::SessionTakenOver, ErrorCode::SessionClosed];

/// A long poll: held until there is something to say, or until `hold_s` is over.
#[utoipa::path(
    get, path = "/v1/poll", tag = "data connection",
    security(("token" = []), ("cookie" = []), ("ticket" = [])),
    params(Query),
    responses((
        status = 200, description = "What there is to say; `messages` is empty when the time was over.",
        body = PollAnswer<'static>,
        example = json!({
            "session": "3q2-7wABCDEFGHIJKLMNOQ", "cursor": "1~k3x9~news~7",
            "messages": [{
                "id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "channel": "news", "offset": 7, "epoch": "k3x9",
                "time": "2026-01-02T03:04:05.678Z", "type": "message", "data": {"text": "hello"},
            }],
            "gaps": [], "close": null,
        }),
    )),
    extensions(("x-error-codes" = json!(codes(&[CLIENT, validation::ERRORS, HELD, SESSION, ENGINE])))),
)]
pub(crate) async fn poll() -> Refused {
    not_to_be_held()
}

/// Server-sent events: `open` first (by the name `opened`), then messages (without an event name), `gap` and
/// at last `close`; comments break a silence. The events are described in `/api/asyncapi.json`.
#[utoipa::path(
    get, path = "/v1/sse", tag = "data connection",
    security(("token" = []), ("cookie" = []), ("ticket" = [])),
    params(
        Query,
        ("Last-Event-ID" = Option<String>, Header, description = "Wins over `cursor`; browsers send it.")
    ),
    responses(
        (
            status = 200,
            description = "A stream of events, whose `data` is JSON.",
            body = String,
            content_type = "text/event-stream"
        ),
        (status = 204, description = "The session was closed on purpose; an EventSource stays away."),
    ),
    extensions(("x-error-codes" = json!(codes(&[CLIENT, validation::ERRORS, HELD, SESSION, ENGINE])))),
)]
pub(crate) async fn sse() -> Refused {
    not_to_be_held()
}

/// A WebSocket: a text message of JSON for each event, and control requests the other way. Both are described
/// in `/api/asyncapi.json`.
#[utoipa::path(
    get, path = "/v1/ws", tag = "data connection", security(("token" = []), ("cookie" = []), ("ticket" = [])),
    params(Query),
    responses((status = 101, description = "The connection speaks WebSocket (RFC 6455) from now on.")),
    extensions(("x-error-codes" = json!(codes(&[
        CLIENT, validation::ERRORS, HELD, &[ErrorCode::UpgradeRequired]
    ])))),
)]
pub(crate) async fn ws() -> Refused {
    // The table takes those that ask for it.
    ErrorCode::UpgradeRequired.into()
}

/// A stream of events: a line of JSON each (`ndjson`), or a script each in a page that hands them to the page
/// that embeds it (`iframe`). The events are described in `/api/asyncapi.json`.
#[utoipa::path(
    get, path = "/v1/stream", tag = "data connection",
    security(("token" = []), ("cookie" = []), ("ticket" = [])),
    params(
        (
            "as" = String, Query, description = "`ndjson` or `iframe`", pattern = "^(ndjson|iframe)$",
            example = "ndjson"
        ),
        Query,
    ),
    responses((
        status = 200, description = "A stream of events.",
        content((String = "application/x-ndjson"), (String = "text/html")),
    )),
    extensions(("x-error-codes" = json!(codes(&[CLIENT, validation::ERRORS, HELD, SESSION, ENGINE])))),
)]
pub(crate) async fn stream() -> Refused {
    // The table takes the forms that it knows.
    Refused::bad("`as` has to be `ndjson` or `iframe`")
}

/// Why a request for a data connection got here at all.
fn not_to_be_held() -> Refused {
    Refused::bad("a request that waits has no body, expects nothing, and says nothing twice")
}

//! The data connections, for the description of the API. The connection table answers them before a request
//! gets to the router.

use encke_proto::ErrorCode;

use crate::{http::refusal::Refused, schemas};

/// A long poll: held until there is something to say, or until `hold_s` is over.
#[utoipa::path(
    get, path = "/v1/poll", tag = "data connection", security(("token" = []), ("cookie" = []), ("ticket" = [])),
    params(schemas::DataQuery, schemas::PollQuery),
    responses((status = 200, description = "What there is to say; `messages` is empty when the time was over.", body = schemas::PollAnswer)),
)]
pub(crate) async fn poll() -> Refused {
    not_to_be_held()
}

/// Server-sent events: `open` first, then messages (without an event name), `gap` and at last `close`;
/// comments break a silence.
#[utoipa::path(
    get, path = "/v1/sse", tag = "data connection", security(("token" = []), ("cookie" = []), ("ticket" = [])),
    params(schemas::DataQuery),
    responses(
        (status = 200, description = "A stream of events, whose `data` is JSON.", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The session was closed on purpose; an EventSource stays away."),
    ),
)]
pub(crate) async fn sse() -> Refused {
    not_to_be_held()
}

/// A WebSocket: a text message of JSON for each event, and control requests the other way.
#[utoipa::path(
    get, path = "/v1/ws", tag = "data connection", security(("token" = []), ("cookie" = []), ("ticket" = [])),
    params(schemas::DataQuery),
    responses((status = 101, description = "The connection speaks WebSocket (RFC 6455) from now on.")),
)]
pub(crate) async fn ws() -> Refused {
    // The table takes those that ask for it.
    ErrorCode::UpgradeRequired.into()
}

/// A stream of events: a line of JSON each (`ndjson`), or a script each in a page that hands them to the page
/// that embeds it (`iframe`).
#[utoipa::path(
    get, path = "/v1/stream", tag = "data connection", security(("token" = []), ("cookie" = []), ("ticket" = [])),
    params(schemas::DataQuery, schemas::StreamQuery),
    responses((
        status = 200, description = "A stream of events.",
        content((String = "application/x-ndjson"), (String = "text/html")),
    )),
)]
pub(crate) async fn stream() -> Refused {
    // The table takes the forms that it knows.
    Refused::bad("`as` has to be `ndjson` or `iframe`")
}

/// Why a request for a data connection got here at all.
fn not_to_be_held() -> Refused {
    Refused::bad("a request that waits has no body, expects nothing, and says nothing twice")
}

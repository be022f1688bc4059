//! `GET /api/users/{user}/messages`, for the description of the API. The connection table answers it before a
//! request gets to the router.

use encke_proto::ErrorCode;

use crate::{
    dialects::native::LookQuery,
    extractors::{MayRead, OPERATOR},
    http::{
        query,
        refusal::{ENGINE, Refused, codes},
    },
    validation,
};

/// Looks on at what a user is given: what waits, and then each message at once, until the caller ends it.
///
/// Nothing is taken from the user: no receipt changes, the user is not online by it, and it is no session of
/// the user's. Events are those of `/v1/sse` and `/v1/stream?as=ndjson`, described in `/api/asyncapi.json`.
/// It ends when the user is deleted (`deleted`) and when the key is not in use any more (`revoked`,
/// `token_expired`).
#[utoipa::path(
    get, path = "/api/users/{user}/messages", tag = "server API", security(("api_key" = [])),
    params(
        ("user" = String, Path, description = "The user, percent-encoded.", example = "alice"),
        LookQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Wins over `cursor`; browsers send it.")
    ),
    responses(
        (
            status = 200, description = "A stream of events.",
            content((String = "text/event-stream"), (String = "application/x-ndjson"))
        ),
        (status = 204, description = "It was ended on purpose; an EventSource stays away."),
    ),
    extensions(("x-error-codes" = json!(codes(&[
        OPERATOR, query::ERRORS, validation::ERRORS, ENGINE,
        &[ErrorCode::BadCursor, ErrorCode::RequestTimeout]
    ])))),
)]
pub(crate) async fn messages(_: MayRead) -> Refused {
    Refused::bad("a request that waits has no body, expects nothing, and says nothing twice")
}

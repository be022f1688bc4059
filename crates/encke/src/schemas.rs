//! The shapes of what codecs write and of what the request heads of held requests are read for, as the API's
//! description has them. What a handler reads or writes by serde describes itself.

use utoipa::{
    IntoParams, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, Type, schema::SchemaFormat},
};

fn time() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

/// A message.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Entry` writes")]
pub(crate) struct Message {
    id: String,
    channel: String,
    offset: u64,
    epoch: String,
    #[schema(schema_with = time)]
    time: String,
    /// `page` (show this `url`) or `message` (any JSON `data`).
    r#type: String,
    url: Option<String>,
    data: Option<serde_json::Value>,
    /// The user who published it, when a client did.
    from: Option<String>,
}

/// Messages that the receiver will not get: the first and the last offset, both included.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `encke_proto::Gap` writes")]
pub(crate) struct Gap {
    channel: String,
    from: u64,
    /// Null when nobody knows.
    to: Option<u64>,
    /// `trimmed`, `epoch` or `slow`.
    reason: String,
}

/// How a session ended.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `encke_proto::Close` writes")]
pub(crate) struct CloseEvent {
    code: String,
    reason: String,
    reconnect: bool,
    /// After how many milliseconds to come back, when the server stops.
    #[schema(required = false)]
    retry_ms: Option<u64>,
}

/// The answer to a poll.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the codec of polls writes")]
pub(crate) struct PollAnswer {
    session: String,
    cursor: String,
    messages: Vec<Message>,
    gaps: Vec<Gap>,
    close: Option<CloseEvent>,
}

/// A part of a channel's log.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the handler writes")]
pub(crate) struct History {
    messages: Vec<Message>,
    /// Before the messages.
    gaps: Vec<Gap>,
    /// Where to go on.
    cursor: String,
    /// What `before` takes to get the messages in front of these; `null` when none are kept.
    previous: Option<String>,
}

/// What both data connections take.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what the connection table reads")]
pub(crate) struct DataQuery {
    /// Where to go on; `earliest` for the oldest that is kept.
    cursor: Option<String>,
    /// Continue this session.
    session: Option<String>,
    /// Subscribe to these too, separated by commas.
    channels: Option<String>,
    /// From `POST /v1/ticket`.
    ticket: Option<String>,
}

/// What a poll takes besides.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what the connection table reads")]
pub(crate) struct PollQuery {
    /// Wait at most this long.
    hold_s: Option<u64>,
}

/// What a stream takes besides.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what the connection table reads")]
pub(crate) struct StreamQuery {
    /// `ndjson` or `iframe`.
    r#as: String,
    /// For `iframe`: the origin of the page that embeds it; the server's own when absent.
    origin: Option<String>,
}

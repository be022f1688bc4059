//! `POST /api/publish`: one message to one or several public channels, and the append that the clients'
//! publish shares. A list of messages is in `publish_many.rs`.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use encke_proto::{ChannelName, Epoch, ErrorCode, MessageId, Offset, json, limits::BODY_MAX_BYTES, objects};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    batch::{Part, in_order},
    publish_many::{OneOfMany, PublishedTogether, publish_many},
    request_stream::{self, LineResult, NDJSON},
    what,
};
use crate::{
    app::App,
    audited::What,
    config::Scope,
    extractors::{MayPublish, OPERATOR},
    http::{
        body,
        refusal::{ENGINE, KEYED, Refused, codes},
    },
    inline::WITHIN_TURN_MAX,
    publishing::{Published, check_not_forged, publish_to},
    validation,
};

/// A message for one channel, or for several at once; or several messages.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publish {
    /// Either this…
    channel: Option<String>,
    /// …or these; at most 128.
    channels: Option<Vec<String>>,
    /// Any JSON, at most 32 deep.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = serde_json::Value, required = false)]
    data: Option<Box<RawValue>>,
    /// The idempotency key: the same key gives one message, however often it is sent. With other channels or
    /// other data it is refused (`key_reused`).
    id: Option<String>,
    /// Instead of all of these: several messages, each for a channel; at most 128.
    #[serde(default, deserialize_with = "objects")]
    messages: Option<Vec<OneOfMany>>,
}

impl Publish {
    /// Whether there is so much in it that a shard must not do it within a turn.
    pub(crate) fn is_large(&self) -> bool {
        let channels = self.channels.as_ref().map_or(0, Vec::len);
        let messages = self.messages.as_ref().map_or(0, Vec::len);
        channels.max(messages) > WITHIN_TURN_MAX
    }
}

/// A message in the logs of several channels.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublishedToMany {
    #[schema(value_type = String)]
    id: MessageId,
    /// How safe it is: `memory`, `log`, `redis` or `nats`.
    mode: &'static str,
    /// Its place in each log.
    positions: Vec<Place>,
}

/// A place in the log of a channel.
#[derive(Serialize, ToSchema)]
pub(crate) struct Place {
    #[schema(value_type = String)]
    channel: ChannelName,
    offset: Offset,
    #[schema(value_type = String)]
    epoch: Epoch,
}

/// The answer to each form.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PublishAnswer {
    One(Published),
    Many(PublishedToMany),
    Together(PublishedTogether),
}

/// Publishes to channels; as `application/x-ndjson`, one request a line, each answered by a line as soon as
/// it is accepted.
#[utoipa::path(
    post, path = "/api/publish", tag = "server API", security(("api_key" = [])),
    request_body(content(
        (Publish = "application/json", examples(
            ("channel" = (
                summary = "To one channel",
                value = json!({"channel": "news", "data": {"text": "hello"}, "id": "article-7"})
            )),
            ("channels" = (
                summary = "To several",
                value = json!({"channels": ["news", "sports"], "data": {"text": "hello"}})
            )),
            ("messages" = (
                summary = "Several messages",
                value = json!({"messages": [
                    {"channel": "news", "data": 1},
                    {"channel": "sports", "data": 2}
                ]})
            )),
        )),
        (
            Publish = "application/x-ndjson",
            example = json!({"channel": "news", "data": {"text": "hello"}, "id": "article-8"})
        ),
    )),
    responses((
        status = 202, description = "In the logs of all of them, as safely as the mode says.",
        content((PublishAnswer = "application/json", examples(
            ("channel" = (
                summary = "In one channel",
                value = json!({
                    "id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "offset": 7, "epoch": "k3x9", "mode": "log"
                })
            )),
            ("channels" = (
                summary = "In several",
                value = json!({
                    "id": "AZ6dZ2hUJq0b3m5k7n9pRQ",
                    "mode": "log",
                    "positions": [{"channel": "news", "offset": 7, "epoch": "k3x9"}]
                })
            )),
            ("messages" = (summary = "Several messages", value = json!({
                "mode": "log",
                "results": [
                    {"id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "offset": 7, "epoch": "k3x9"},
                    {"error": {
                        "code": "engine_unavailable",
                        "message": "the log cannot be written or read now"
                    }},
                ],
            }))),
        )),
        (LineResult<PublishAnswer> = "application/x-ndjson", example = json!({
            "id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "offset": 8, "epoch": "k3x9", "mode": "log"
        }))),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        OPERATOR, body::ERRORS, validation::ERRORS, ENGINE, KEYED, &[ErrorCode::TooManyChannels]
    ])))),
)]
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    _: MayPublish,
    request: Request,
) -> Result<Response, Refused> {
    if body::is_type(request.headers(), NDJSON) {
        return Ok(request_stream::answer(app, request, Scope::Publish, publish_lines).await);
    }
    let body = body::read_json(request, BODY_MAX_BYTES).await?;
    let answer = accept(&app, body::parse(&body)?).await?;
    let is_audited = app.auth.audit().has_messages();
    let what =
        is_audited.then(|| body::written(&answer).map(|json| What(what::of_answer(&json)))).transpose()?;
    let mut response = (StatusCode::ACCEPTED, Answer(answer)).into_response();
    if let Some(what) = what {
        response.extensions_mut().insert(what);
    }
    Ok(response)
}

/// Carries out lines of a stream. What each needs is appended in their order.
fn publish_lines(app: Arc<App>, lines: Vec<Result<Bytes, Refused>>) -> Part<'static, Vec<String>> {
    Box::pin(async move {
        let publish = |line: Result<Bytes, Refused>| -> Part<'_, String> {
            let app = &app;
            Box::pin(async move {
                let accepted = async { accept(app, body::parse(&line?)?).await };
                LineResult::json(accepted.await)
            })
        };
        in_order(lines.into_iter().map(publish).collect()).await
    })
}

/// Does it, whatever has read the request.
pub(crate) async fn accept(app: &App, request: Publish) -> Result<PublishAnswer, Refused> {
    if let Some(messages) = request.messages {
        if request.channel.is_some()
            || request.channels.is_some()
            || request.data.is_some()
            || request.id.is_some()
        {
            return Err(Refused::bad("send `messages` alone: each names its own channel, data and id"));
        }
        return Ok(PublishAnswer::Together(publish_many(app, messages).await?));
    }
    let (channels, one) = match (request.channel, request.channels) {
        (Some(channel), None) => (vec![ChannelName::public(&channel)?], true),
        (None, Some(channels)) => (validation::public_channels(&channels)?, false),
        _ => return Err(Refused::bad("send either `channel` or `channels`, or `messages`")),
    };
    let data = request.data.ok_or_else(|| Refused::bad("missing field `data`"))?;
    let key = validation::key("api:publish", request.id.as_deref())?;
    let data = json::compact(&data)?;
    check_not_forged(app, &channels, &data)?;
    let appended = publish_to(app, channels, data, key, None).await?;
    let mode = app.engine.mode();
    if one {
        return Ok(PublishAnswer::One(Published::of_one(&appended, mode)?));
    }
    let place = |(channel, position): (ChannelName, encke_proto::Position)| Place {
        channel,
        offset: position.offset,
        epoch: position.epoch,
    };
    let positions = appended.positions.into_iter().map(place).collect();
    Ok(PublishAnswer::Many(PublishedToMany { id: appended.id, mode: mode.as_str(), positions }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_publish_is_large_by_its_channels_or_its_messages() {
        let is_large = |body: Value| body::parse::<Publish>(body.to_string().as_bytes()).unwrap().is_large();
        let channels = |count: usize| json!({"channels": vec!["c"; count], "data": 1});
        let messages = |count: usize| json!({"messages": vec![json!({"channel": "c", "data": 1}); count]});
        assert!(!is_large(json!({"channel": "c", "data": "x".repeat(10_000)})));
        for form in [channels, messages] {
            assert_eq!(
                [0, WITHIN_TURN_MAX, WITHIN_TURN_MAX + 1].map(|count| is_large(form(count))),
                [false, false, true]
            );
        }
    }
}

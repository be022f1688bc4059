//! `POST /v1/publish`: publishing by a client, if its token grants that. What it does is in `commands.rs`.

use std::sync::Arc;

use axum::{Extension, Json as Answer, extract::State};
use encke_proto::ErrorCode;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::{publish_from, publishes_from},
    extractors::{CLIENT, Client},
    http::{
        body::{self, Json},
        client_address::ClientAddress,
        refusal::{ENGINE, KEYED, Refused, codes},
    },
    publishing::Published,
    validation,
};

/// A message for a channel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientPublish {
    channel: String,
    /// Any JSON, at most 32 deep.
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = serde_json::Value, required = true)]
    data: Option<Box<RawValue>>,
    /// The idempotency key: the same key gives one message, however often it is sent. With another channel or
    /// other data it is refused (`key_reused`).
    id: Option<String>,
}

/// Publishes to a channel, if the token grants that. The message says who it is from.
#[utoipa::path(
    post, path = "/v1/publish", tag = "control connection", security(("token" = []), ("cookie" = [])),
    request_body(content = ClientPublish, examples(
        ("message" = (
            summary = "A message",
            value = json!({"channel": "room:7", "data": {"text": "hello"}, "id": "line-12"})
        )),
    )),
    responses((
        status = 202, description = "In the log, as safely as the mode says.", body = Published,
        example = json!({"id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "offset": 7, "epoch": "k3x9", "mode": "log"}),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        CLIENT, body::ERRORS, validation::ERRORS, ENGINE, KEYED,
        &[ErrorCode::ChannelForbidden, ErrorCode::RateLimited],
    ])))),
)]
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    Client(identity): Client,
    from: Option<Extension<ClientAddress>>,
    Json(request): Json<ClientPublish>,
) -> Result<(StatusCode, Answer<Published>), Refused> {
    publishes_from(&app, from.map(|Extension(ClientAddress(address))| address), request.data.as_deref())?;
    publish_from(&app, &identity, &request.channel, request.data.as_deref(), request.id.as_deref())
        .await
        .map(|published| (StatusCode::ACCEPTED, Answer(published)))
}

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::{ChannelName, ErrorCode};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    api::publish::{Published, publish_to},
    app::App,
    body::{self, Json},
    names,
    refusal::Refused,
    who::Client,
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
    /// The idempotency key: the same key gives one message, however often it is sent.
    id: Option<String>,
}

/// Publishes to a channel, if the token grants that. The message says who it is from.
#[utoipa::path(
    post, path = "/v1/publish", tag = "control connection", security(("token" = []), ("cookie" = [])), request_body = ClientPublish,
    responses((status = 202, description = "In the log, as safely as the mode says.", body = Published)),
)]
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    Client(identity): Client,
    Json(request): Json<ClientPublish>,
) -> Result<(StatusCode, Answer<Published>), Refused> {
    let channel = ChannelName::public(&request.channel)?;
    if !identity.may_publish(&channel) {
        return Err(Refused::new(ErrorCode::ChannelForbidden, format!("the token does not grant publishing to {channel}")));
    }
    let key = names::key(&format!("user:{}", identity.user), request.id.as_deref())?;
    let data = request.data.ok_or_else(|| Refused::bad("missing field `data`"))?;
    let appended = publish_to(&app, vec![channel], &data, key, Some(identity.user)).await?;
    Ok((StatusCode::ACCEPTED, Answer(Published::of_one(&appended, app.engine.mode())?)))
}

//! Subscribing and unsubscribing for a session that exists, by POST or over a WebSocket, if the token grants
//! that.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_hub::Following;
use encke_proto::{ChannelName, ErrorCode, SessionId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::Identity,
    extractors::{CLIENT, Client},
    http::{
        body::{self, Json},
        refusal::{ENGINE, Refused, SESSION, codes},
    },
    validation,
};

/// Channels of a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionChannels {
    session: String,
    /// Public channels; at most 128.
    channels: Vec<String>,
}

/// All channels that a session follows.
#[derive(Serialize, ToSchema)]
pub(crate) struct Followed {
    /// The user's own is not among them.
    #[schema(value_type = Vec<String>)]
    channels: Vec<ChannelName>,
    /// Where it began in those channels that no cursor of the client has named yet: to be kept, so that
    /// nothing is missed should the session be lost before the first message.
    #[schema(value_type = String)]
    cursor: String,
}

impl From<Following> for Followed {
    fn from(following: Following) -> Self {
        Self { channels: following.channels, cursor: following.began.to_string() }
    }
}

/// Lets a session follow more channels, from now on; takes effect on the held connection.
#[utoipa::path(
    post, path = "/v1/subscribe", tag = "control connection", security(("token" = []), ("cookie" = [])),
    request_body(content = SessionChannels, examples(
        ("channels" = (
            summary = "Two channels",
            value = json!({"session": "3q2-7wABCDEFGHIJKLMNOQ", "channels": ["news", "room:7"]})
        )),
    )),
    responses((
        status = 200, description = "All that the session follows now.", body = Followed,
        example = json!({"channels": ["news", "room:7"], "cursor": "1~k3x9~news~7~room:7~0"}),
    )),
    extensions(("x-error-codes" = json!(codes(&[CLIENT, body::ERRORS, validation::ERRORS, SESSION, ENGINE, &[
        ErrorCode::ChannelForbidden, ErrorCode::TooManyChannels,
    ]])))),
)]
pub(crate) async fn subscribe(
    State(app): State<Arc<App>>,
    Client(identity): Client,
    Json(request): Json<SessionChannels>,
) -> Result<Answer<Followed>, Refused> {
    let channels = validation::public_channels(&request.channels)?;
    follow(&app, &identity, validation::session(&request.session)?, channels).await.map(Answer)
}

/// Lets a session follow more channels, if its user may.
pub(crate) async fn follow(
    app: &App,
    identity: &Identity,
    session: SessionId,
    channels: Vec<ChannelName>,
) -> Result<Followed, Refused> {
    if let Some(channel) = channels.iter().find(|channel| !identity.may_subscribe(channel)) {
        return Err(Refused::new(
            ErrorCode::ChannelForbidden,
            format!("the token does not grant subscribing to {channel}"),
        ));
    }
    Ok(app.sessions.subscribe(session, &identity.user, channels).await?.into())
}

/// Lets a session follow fewer channels. It always keeps the user's own.
#[utoipa::path(
    post, path = "/v1/unsubscribe", tag = "control connection", security(("token" = []), ("cookie" = [])),
    request_body(content = SessionChannels, examples(
        ("channels" = (
            summary = "One channel",
            value = json!({"session": "3q2-7wABCDEFGHIJKLMNOQ", "channels": ["news"]})
        )),
    )),
    responses((
        status = 200, description = "All that the session follows now.", body = Followed,
        example = json!({"channels": ["room:7"], "cursor": "1~k3x9~room:7~0"}),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        CLIENT, body::ERRORS, validation::ERRORS, SESSION, ENGINE, &[ErrorCode::TooManyChannels]
    ])))),
)]
pub(crate) async fn unsubscribe(
    State(app): State<Arc<App>>,
    Client(identity): Client,
    Json(request): Json<SessionChannels>,
) -> Result<Answer<Followed>, Refused> {
    let channels = validation::public_channels(&request.channels)?;
    unfollow(&app, &identity, validation::session(&request.session)?, channels).await.map(Answer)
}

/// Lets a session follow fewer channels.
pub(crate) async fn unfollow(
    app: &App,
    identity: &Identity,
    session: SessionId,
    channels: Vec<ChannelName>,
) -> Result<Followed, Refused> {
    Ok(app.sessions.unsubscribe(session, &identity.user, channels).await?.into())
}

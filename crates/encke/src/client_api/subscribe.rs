//! Subscribing and unsubscribing by POST for a session that exists, if the token grants that. What it does is
//! in `commands.rs`.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_proto::{Cursor, ErrorCode};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::{Followed, follow, unfollow},
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
        ErrorCode::ChannelForbidden, ErrorCode::TooManyChannels, ErrorCode::ChannelFull,
    ]])))),
)]
pub(crate) async fn subscribe(
    State(app): State<Arc<App>>,
    Client(identity): Client,
    Json(request): Json<SessionChannels>,
) -> Result<Answer<Followed>, Refused> {
    let channels = validation::public_channels(&request.channels)?;
    let following =
        follow(&app, &identity, validation::session(&request.session)?, channels, &Cursor::default()).await?;
    Ok(Answer(following.into()))
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
    let following = unfollow(&app, &identity, validation::session(&request.session)?, channels).await?;
    Ok(Answer(following.into()))
}

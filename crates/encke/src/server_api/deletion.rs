//! `DELETE /api/channels/{channel}` and `DELETE /api/users/{user}`: what was kept of a channel or a user
//! goes, on all nodes.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode, ErrorCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    devices,
    extractors::{MayAdminister, OPERATOR},
    http::refusal::{ENGINE, Refused, codes},
    validation::{self, InPath},
};

/// It is gone.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deleted {
    deleted: bool,
}

/// Deletes a channel: its messages, and that it was there.
///
/// Sessions that follow it go on following: each is told of a gap, and of what is published later.
#[utoipa::path(
    delete, path = "/api/channels/{channel}", tag = "server API", security(("api_key" = [])),
    params((
        "channel" = String, Path, description = "The public channel, percent-encoded.", example = "news"
    )),
    responses((
        status = 200, description = "It is deleted, as safely as `mode` says of messages.", body = Deleted,
        example = json!({"deleted": true}),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        OPERATOR, validation::ERRORS, ENGINE, &[ErrorCode::ChannelUnknown]
    ])))),
)]
pub(crate) async fn channel(
    State(app): State<Arc<App>>,
    _: MayAdminister,
    InPath(channel): InPath,
) -> Result<Answer<Deleted>, Refused> {
    let channel = encke_proto::ChannelName::public(&channel)?;
    match app.engine.delete(&channel).await? {
        true => Ok(Answer(Deleted { deleted: true })),
        false => Err(ErrorCode::ChannelUnknown.into()),
    }
}

/// Deletes a user: sessions, what was pushed, receipts, and that the user was ever here.
///
/// The sessions end first (`code` `deleted`, `reconnect` false). A user whose client comes back with a token
/// that is still valid is a new user.
#[utoipa::path(
    delete, path = "/api/users/{user}", tag = "server API", security(("api_key" = [])),
    params(("user" = String, Path, description = "The user, percent-encoded.", example = "alice")),
    responses((
        status = 200, description = "The user is deleted, as safely as `mode` says of messages.",
        body = Deleted, example = json!({"deleted": true}),
    )),
    extensions(("x-error-codes" = json!(codes(&[
        OPERATOR, validation::ERRORS, ENGINE, &[ErrorCode::UserUnknown]
    ])))),
)]
pub(crate) async fn user(
    State(app): State<Arc<App>>,
    _: MayAdminister,
    InPath(user): InPath,
) -> Result<Answer<Deleted>, Refused> {
    let user = validation::user(&user)?;
    let reason = String::new();
    let close = Close { code: CloseCode::Deleted, reason, reconnect: false, retry_ms: None };
    let closed = app.sessions.close(&CloseTarget::User(user.clone()), &close).await?;
    // The end of a session is written down, which makes a user known: that comes first.
    app.sessions.settle(&user).await?;
    app.engine.delete(&devices::log_of(&user)).await?;
    let was_known = app.engine.delete(&user.channel()).await?;
    app.push_totals.forget();
    if !was_known && closed == 0 {
        return Err(ErrorCode::UserUnknown.into());
    }
    Ok(Answer(Deleted { deleted: true }))
}

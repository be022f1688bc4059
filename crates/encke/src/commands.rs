//! What a client may do with its session, however it asks: by POST, over a WebSocket, in any dialect. Each is
//! allowed by the client's [`Identity`] and the rules for channels.

use encke_engine::{Appended, Mark, PageLimit, ReadFrom, ReceiptState};
use encke_hub::Following;
use encke_proto::{Action, ChannelName, Cursor, ErrorCode, Position, SessionId, json};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::Identity,
    http::refusal::Refused,
    publishing::{Published, publish_to},
    validation,
};

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

/// It was done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {
    /// Always true.
    pub(crate) ok: bool,
}

/// Whether a session was ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionClosed {
    /// False when there was no such session any more.
    pub(crate) closed: bool,
}

/// Lets a session follow more channels, if its user may: those that `from` names from there, and all others
/// from now on. A channel that it follows already moves only where `from` says so.
///
/// # Errors
/// [`ErrorCode::ChannelForbidden`], [`ErrorCode::RateLimited`], as the hub refuses it, or
/// [`ErrorCode::Overloaded`].
pub async fn follow(
    app: &App,
    identity: &Identity,
    session: SessionId,
    mut channels: Vec<ChannelName>,
    from: &Cursor,
) -> Result<Following, Refused> {
    app.rate_limits.user_request(&identity.user, app.now().wall)?;
    let named = from.entries.iter().map(|(channel, _)| channel);
    let access = app.auth.access();
    for channel in channels.iter().chain(named) {
        access.check(identity, Action::Subscribe, channel)?;
    }
    let mut from = from.clone();
    // Without the right to read the history a channel begins now.
    let is_readable = |channel: &ChannelName| channel.is_own() || access.may_read(identity, channel);
    let (readable, others) = from.entries.into_iter().partition(|(channel, _)| is_readable(channel));
    from.entries = readable;
    let others: Vec<(ChannelName, Position)> = others;
    channels.extend(others.into_iter().map(|(channel, _)| channel));
    Ok(app.sessions.subscribe(session, &identity.user, channels, from).await?)
}

/// Lets a session follow fewer channels. It always keeps the user's own.
///
/// # Errors
/// [`ErrorCode::RateLimited`], as the hub refuses it, or [`ErrorCode::Overloaded`].
pub async fn unfollow(
    app: &App,
    identity: &Identity,
    session: SessionId,
    channels: Vec<ChannelName>,
) -> Result<Following, Refused> {
    app.rate_limits.user_request(&identity.user, app.now().wall)?;
    Ok(app.sessions.unsubscribe(session, &identity.user, channels).await?)
}

/// Takes note of how far the person has seen. It is answered when it is written down: after that not even a
/// crash takes it back.
///
/// # Errors
/// [`ErrorCode::BadCursor`], [`ErrorCode::RateLimited`], as the hub refuses it, or when the engine cannot
/// write.
pub async fn shown(app: &App, identity: &Identity, session: SessionId, cursor: &str) -> Result<(), Refused> {
    app.rate_limits.user_request(&identity.user, app.now().wall)?;
    let cursor =
        Cursor::parse(cursor).map_err(|error| Refused::new(ErrorCode::BadCursor, error.to_string()))?;
    if let Some(position) = app.sessions.ack(session, &identity.user, cursor).await? {
        let mark =
            Mark { user: identity.user.clone(), position, state: ReceiptState::Shown, at: app.now().wall };
        app.engine.mark(vec![mark]).await?;
    }
    Ok(())
}

/// Publishes to a channel what a user sends, if the user may. `key` is the idempotency key, which is the
/// user's own.
///
/// # Errors
/// [`ErrorCode::ChannelForbidden`], [`ErrorCode::TooLarge`], [`ErrorCode::RateLimited`], what is wrong with
/// the names and the data, or when the engine cannot append.
pub async fn publish(
    app: &App,
    identity: &Identity,
    channel: &str,
    data: Option<&RawValue>,
    key: Option<&str>,
) -> Result<Appended, Refused> {
    let channel = ChannelName::public(channel)?;
    let access = app.auth.access();
    access.check(identity, Action::Publish, &channel)?;
    let key = validation::key(&format!("user:{}", identity.user), key)?;
    let data = data.ok_or_else(|| Refused::bad("missing field `data`"))?;
    let data = json::compact(data)?;
    access.check_size(&channel, data.get().len())?;
    app.rate_limits.user_publish(&identity.user, data.get().len(), app.now().wall)?;
    let (user, now_ms) = (&identity.user, app.now().mono_ms);
    if app.new_channels.is_spent(user, now_ms) && !exists(app, &channel).await? {
        return Err(Refused::new(
            ErrorCode::RateLimited,
            "the user has made as many channels as max_new_channels_per_hour lets",
        ));
    }
    let appended = publish_to(app, vec![channel], data, key, Some(user.clone())).await?;
    if !appended.repeated && appended.positions.iter().any(|(_, position)| position.offset == 1) {
        app.new_channels.count(user, now_ms);
    }
    Ok(appended)
}

/// Whether anything was ever published to a channel.
async fn exists(app: &App, channel: &ChannelName) -> Result<bool, Refused> {
    let page = app.engine.read(channel, ReadFrom::Head, PageLimit { messages: 1, bytes: 1 }).await?;
    Ok(page.head > 0)
}

/// Publishes as [`publish`] does, with the answer of the native protocol.
pub(crate) async fn publish_from(
    app: &App,
    identity: &Identity,
    channel: &str,
    data: Option<&RawValue>,
    key: Option<&str>,
) -> Result<Published, Refused> {
    Published::of_one(&publish(app, identity, channel, data, key).await?, app.engine.mode())
}

//! What a client may do with its session, however it asks: by POST, over a WebSocket, in any dialect. Each is
//! allowed by the client's [`Identity`] and the rules for channels.

use std::net::IpAddr;

use encke_engine::{Appended, Mark, PageLimit, ReadFrom, ReceiptState};
use encke_hub::{Following, FreshToken};
use encke_proto::{
    Action, ChannelName, Cursor, ErrorCode, JsonText, Position, Refusal, SessionId, Time, json,
};
use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{Audit, Authenticated, Identity},
    hooks::{Decisions, takes_part_in},
    http::refusal::Refused,
    publishing::{Published, check_not_forged, publish_to},
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

/// A session has a fresh token.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refreshed {
    /// When that ends.
    #[schema(value_type = String, format = DateTime)]
    expires: Time,
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
    channels: Vec<ChannelName>,
    from: &Cursor,
) -> Result<Following, Refused> {
    app.rate_limits.user_request(&identity.user, app.now().wall)?;
    follow_counted(app, identity, session, channels, from).await
}

/// The same for a request that was counted already.
///
/// # Errors
/// As [`follow`], but for the rate.
pub(crate) async fn follow_counted(
    app: &App,
    identity: &Identity,
    session: SessionId,
    mut channels: Vec<ChannelName>,
    from: &Cursor,
) -> Result<Following, Refused> {
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
    if let Some(decisions) = &app.decisions {
        let named = channels.iter().chain(from.entries.iter().map(|(channel, _)| channel));
        let asked = named.filter(|channel| takes_part_in(Some(&identity.user), channel));
        try_join_all(asked.map(|channel| decisions.subscribe(&identity.user, channel))).await?;
    }
    let named: Option<Vec<ChannelName>> = app.events.as_ref().map(|_| channels.clone());
    let following = app.sessions.subscribe(session, &identity.user, channels, from).await?;
    if let Some((events, named)) = app.events.as_ref().zip(named) {
        events.subscribed(&identity.user, &named);
    }
    Ok(following)
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
        if let Some(events) = &app.events {
            events.showing(&mark).await?;
        }
        app.engine.mark(vec![mark]).await?;
    }
    Ok(())
}

/// Puts a fresh token in the place of the one that a session of its user has. What it does not grant is
/// dropped and told, and the session ends with it.
///
/// # Errors
/// [`ErrorCode::RateLimited`], [`ErrorCode::Revoked`], [`ErrorCode::Banned`], as the hub refuses it, or
/// [`ErrorCode::Overloaded`].
pub(crate) async fn refresh(
    app: &App,
    session: SessionId,
    fresh: Authenticated,
) -> Result<Refreshed, Refused> {
    let Authenticated { identity: Identity { user, grants, expires, .. }, token } = fresh;
    app.rate_limits.user_request(&user, app.now().wall)?;
    let (channels, publish) = (grants.channels.clone(), grants.publish.clone());
    let token = FreshToken { ends: expires, info: token, channels, publish };
    app.sessions.refresh(session, &user, token).await?;
    Ok(Refreshed { expires })
}

/// Takes note of a token that was refused in the midst of a connection: it may be a guess. What its client is
/// told; `what` is what was asked.
pub(crate) fn token_refused(app: &App, from: Option<IpAddr>, what: &str, refusal: Refusal) -> Refusal {
    if Audit::is_about(refusal.code) {
        app.auth.audit().refuse("-".into(), what, refusal.code.as_str(), from);
    }
    match from.filter(|_| refusal.code == ErrorCode::Unauthorized) {
        Some(address) => app.rate_limits.failure(address, app.now().wall).err().unwrap_or(refusal),
        None => refusal,
    }
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
    may_come(app, &channel)?;
    let (user, now_ms) = (&identity.user, app.now().mono_ms);
    if app.new_channels.is_spent(user, now_ms) && !exists(app, &channel).await? {
        return Err(Refused::new(
            ErrorCode::RateLimited,
            "the user has made as many channels as max_new_channels_per_hour lets",
        ));
    }
    let data = match &app.decisions {
        Some(decisions) => decided(app, decisions, identity, &channel, data).await?,
        None => data,
    };
    let channels = vec![channel];
    check_not_forged(app, &channels, &data)?;
    let appended = publish_to(app, channels, data, key, Some(user.clone())).await?;
    if !appended.repeated && appended.positions.iter().any(|(_, position)| position.offset == 1) {
        app.new_channels.count(user, now_ms);
    }
    Ok(appended)
}

/// Counts a message that a client publishes from an address, where that is known.
///
/// # Errors
/// [`ErrorCode::RateLimited`].
pub(crate) fn publishes_from(
    app: &App,
    from: Option<IpAddr>,
    data: Option<&RawValue>,
) -> Result<(), Refused> {
    let Some(address) = from else { return Ok(()) };
    let bytes = data.map_or(0, |data| data.get().len());
    Ok(app.rate_limits.publish(address, bytes, app.now().wall)?)
}

/// Counts a message that a client publishes to a channel.
///
/// # Errors
/// [`ErrorCode::RateLimited`], when its rule lets no more come now.
pub(crate) fn may_come(app: &App, channel: &ChannelName) -> Result<(), Refused> {
    let Some(per_s) = app.auth.access().messages_per_s(channel) else { return Ok(()) };
    Ok(app.rate_limits.channel_message(channel, per_s, app.now().wall)?)
}

/// What is published by the application's word.
async fn decided(
    app: &App,
    decisions: &Decisions,
    identity: &Identity,
    channel: &ChannelName,
    data: JsonText,
) -> Result<JsonText, Refused> {
    let Some(changed) = decisions.publish(&identity.user, channel, &data).await? else { return Ok(data) };
    let data = json::compact(&changed)?;
    app.auth.access().check_size(channel, data.get().len())?;
    Ok(data)
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

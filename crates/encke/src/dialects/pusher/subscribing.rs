//! Subscribing to channels: whether a client may, what it follows then, and what it and the others are told.

use encke_proto::{
    ChannelName, Cursor, ErrorCode, Position,
    codec::pusher::{self, Channel, ChannelData, ChannelKind, Member, MemberEvent, Subscribe, member_data},
};

use super::{
    cache,
    connection::{Asker, Connection},
    departure,
    followed::Follows,
    members_elsewhere,
    missed::{Missed, Recognition},
    publish::announce,
    said::Said,
};
use crate::{
    commands::{follow, unfollow},
    http::refusal::Refused,
};

/// Why a client is not subscribed.
struct Fault {
    kind: &'static str,
    message: String,
    status: u16,
}

impl Fault {
    fn new(kind: &'static str, message: impl Into<String>, status: u16) -> Self {
        Self { kind, message: message.into(), status }
    }

    fn unauthorized() -> Self {
        Self::new("AuthError", "The connection is unauthorized.", 401)
    }
}

impl From<Refused> for Fault {
    fn from(Refused(refusal): Refused) -> Self {
        let kind = match refusal.code {
            ErrorCode::ChannelForbidden => "AuthError",
            ErrorCode::TooManyChannels | ErrorCode::ChannelFull | ErrorCode::RateLimited => "LimitReached",
            _ => "SubscriptionError",
        };
        Self::new(kind, refusal.message, refusal.code.status())
    }
}

/// Subscribes a client to a channel.
pub(super) async fn subscribe(asker: &Asker<'_>, asked: &Subscribe) -> Said {
    if asker.connection.is_subscribed(&asked.channel) {
        return Said::error(None, &format!("the client is subscribed to {} already", asked.channel));
    }
    match try_subscribe(asker, asked).await {
        Ok(said) => said,
        Err(Fault { kind, message, status }) => {
            // What came of it so far is taken back.
            unsubscribe(asker, &asked.channel).await;
            Said::one(pusher::subscription_error(&asked.channel, kind, &message, status))
        }
    }
}

async fn try_subscribe(asker: &Asker<'_>, asked: &Subscribe) -> Result<Said, Fault> {
    let connection = asker.connection;
    let channel = Channel::parse(&asked.channel)
        .map_err(|fault| Fault::new("SubscriptionError", fault.to_string(), 400))?;
    let member = authorize(connection, &channel, asked)?;
    let log = connection.application.log(channel.name)?;
    let present = member.as_ref().filter(|_| channel.kind == ChannelKind::Presence);
    let is_new = match present {
        Some(member) => finds_room(connection, &log, member).await?,
        None => false,
    };
    let is_first = present.map_or(Ok(false), |member| join(connection, &log, member))?;
    connection.state().subscriptions.insert(channel.name.to_owned(), member.clone());
    let recognition = Recognition::of(connection, &channel, member.as_ref());
    let missed = match follow_from(asker, &recognition, &channel, &log).await {
        Ok(missed) => missed,
        Err(refused) => {
            release(connection, channel.name).await;
            return Err(refused.into());
        }
    };
    if let Some(member) = member.as_ref().filter(|_| is_first) {
        let (data, from) = (member_data(MemberEvent::Added, member), Some(connection.identity.user.clone()));
        announce(&connection.app, log.clone(), MemberEvent::Added.name(), &data, from).await;
    }
    if counts(connection, &channel) {
        connection.server.counts.changed(log.clone());
    }
    let data = match channel.kind {
        ChannelKind::Presence => {
            let (data, count) =
                members_elsewhere::data(&connection.app, &connection.server.members, &log).await?;
            // Others may have come to other nodes at the same moment.
            if is_new && count as u64 > connection.application.settings.presence_max_members {
                return Err(full(connection));
            }
            data
        }
        _ => "{}".to_owned(),
    };
    let mut frames = vec![pusher::subscription_succeeded(channel.name, &data)];
    if channel.is_cache {
        let kept_s = connection.application.settings.cache_ttl_s;
        match cache::last(&connection.app, &log, kept_s).await? {
            // It comes with what was missed, or has come before that.
            Some(_) if missed.as_ref().is_some_and(|missed| missed.was_here) => {}
            Some(cached) => frames.push(cached.frame),
            None => {
                connection.server.webhooks.cache_miss(&log);
                frames.push(pusher::cache_miss(channel.name));
            }
        }
    }
    Ok(Said { frames, ..Said::default() })
}

/// Follows a channel: from where the client stood in it, if it is known again, or from now on.
async fn follow_from(
    asker: &Asker<'_>,
    recognition: &Recognition,
    channel: &Channel<'_>,
    log: &ChannelName,
) -> Result<Option<Missed>, Refused> {
    let connection = asker.connection;
    let missed = recognition.missed(connection, log).await?;
    // To who was not here the last event of a cache channel is told, and so is what came meanwhile; a user's
    // own is followed already.
    let begins_now = channel.is_cache || channel.kind == ChannelKind::User;
    let missed = missed.filter(|missed| missed.was_here || !begins_now);
    let mut from = Cursor::default();
    if let Some(missed) = &missed {
        from.entries.push((log.clone(), missed.from));
        // Before anything comes of it.
        connection.follow(follows(recognition, Some(missed), log, missed.from));
    }
    let following =
        follow(&connection.app, &connection.identity, asker.session, vec![log.clone()], &from).await;
    // Whose connection is over by now has written what it leaves without this.
    let is_over = connection.tracked().is_some_and(|tracked| tracked.is_leaving());
    if let Some(missed) = missed.as_ref().filter(|_| following.is_err() || is_over) {
        recognition.give_back(connection, missed, log).await;
    }
    let following = following?;
    // Without the right to read the history it begins now all the same.
    if let Some(began) = following.began.position(log)
        && !recognition.kept_in.is_empty()
    {
        connection.follow(follows(recognition, missed.as_ref(), log, began));
    }
    Ok(missed)
}

/// What is known from now on of a channel that a client follows.
fn follows(recognition: &Recognition, missed: Option<&Missed>, log: &ChannelName, at: Position) -> Follows {
    let (until, former) = missed.map_or((0, None), |missed| (missed.until, missed.former.clone()));
    Follows { log: log.clone(), kept_in: recognition.kept_in.clone(), at, until, former }
}

/// Whether the subscribers of a channel are told how many they are.
fn counts(connection: &Connection, channel: &Channel<'_>) -> bool {
    connection.application.settings.subscription_count
        && !matches!(channel.kind, ChannelKind::Presence | ChannelKind::User)
}

/// Whether a client may subscribe, and as whom if that is known.
fn authorize(
    connection: &Connection,
    channel: &Channel<'_>,
    asked: &Subscribe,
) -> Result<Option<Member>, Fault> {
    if let Some(user) = channel.user() {
        return if connection.is_user(user) { Ok(None) } else { Err(Fault::unauthorized()) };
    }
    if !channel.is_signed() {
        return Ok(None);
    }
    let (socket_id, name) = (&connection.socket_id, channel.name);
    let text = match &asked.channel_data {
        Some(data) => format!("{socket_id}:{name}:{data}"),
        None => format!("{socket_id}:{name}"),
    };
    let auth = asked.auth.as_deref().unwrap_or_default();
    if !connection.application.has_signed(auth, &text) {
        return Err(Fault::unauthorized());
    }
    let member = match &asked.channel_data {
        Some(data) => {
            let read = ChannelData::read(data).map(|ChannelData(member)| member);
            Some(read.ok_or_else(|| Fault::new("AuthError", "channel_data is not as it should be", 401))?)
        }
        None => connection.state().signed_in.as_ref().map(|user| user.member.clone()),
    };
    if channel.kind == ChannelKind::Presence && member.is_none() {
        return Err(Fault::new("AuthError", "a presence channel needs channel_data, or a sign-in", 401));
    }
    Ok(member)
}

/// Whether a user has room in a channel, among the members at all nodes. True when it is not there yet, as
/// far as others may be that this node does not know.
async fn finds_room(connection: &Connection, log: &ChannelName, member: &Member) -> Result<bool, Fault> {
    let Connection { app, server, application, .. } = connection;
    if app.sessions.nodes().is_none() || server.members.has(log, &member.user_id) {
        return Ok(false);
    }
    let ids = members_elsewhere::ids(app, &server.members, log).await?;
    if ids.contains(&member.user_id) {
        return Ok(false);
    }
    if ids.len() as u64 >= application.settings.presence_max_members {
        return Err(full(connection));
    }
    Ok(true)
}

fn join(connection: &Connection, log: &ChannelName, member: &Member) -> Result<bool, Fault> {
    let members_max = connection.application.settings.presence_max_members;
    let from = &connection.identity.user;
    connection.server.members.join(log, member, from, members_max).map_err(|_| full(connection))
}

fn full(connection: &Connection) -> Fault {
    let members_max = connection.application.settings.presence_max_members;
    Fault::new("LimitReached", format!("a presence channel has at most {members_max} members"), 4004)
}

/// Takes back what a subscription has done that came to nothing, or is over.
async fn release(connection: &Connection, channel: &str) -> bool {
    let Some(member) = connection.state().subscriptions.remove(channel) else { return false };
    connection.application.log(channel).iter().for_each(|log| connection.unfollow(log));
    let (app, server, application) = (&connection.app, &connection.server, &connection.application);
    let user = &connection.identity.user;
    departure::leave(app, server, application, user, (channel, member.as_ref())).await;
    true
}

/// Ends a subscription. That is not answered, also where there is none.
pub(super) async fn unsubscribe(asker: &Asker<'_>, channel: &str) -> Said {
    let connection = asker.connection;
    if !connection.is_subscribed(channel) {
        return Said::default();
    }
    if let Ok(log) = connection.application.log(channel) {
        // Where the user signed in the log is followed whether or not its client subscribed.
        let is_users = Channel::parse(channel).is_ok_and(|channel| channel.kind == ChannelKind::User);
        if !is_users
            && let Err(Refused(refusal)) =
                unfollow(&connection.app, &connection.identity, asker.session, vec![log]).await
        {
            return Said::error(None, &refusal.message);
        }
    }
    release(connection, channel).await;
    Said::default()
}

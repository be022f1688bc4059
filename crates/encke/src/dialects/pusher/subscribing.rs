//! Subscribing to channels: whether a client may, what it follows then, and what it and the others are told.

use encke_proto::{
    ChannelName, Cursor, ErrorCode,
    codec::pusher::{self, Channel, ChannelData, ChannelKind, Member, MemberEvent, Subscribe, member_data},
};

use super::{
    cache,
    connection::{Asker, Connection},
    departure, members_elsewhere,
    missed::{Missed, Recognition},
    presence_members::Joined,
    publish::announce,
    said::Said,
};
use crate::{commands::follow, http::refusal::Refused};

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
    let joined = match present {
        Some(member) => {
            check_room(connection, &log, member).await?;
            Some(join(connection, &log, member)?)
        }
        None => None,
    };
    connection.state().subscriptions.insert(channel.name.to_owned(), member.clone());
    let recognition = Recognition::of(connection, &channel, member.as_ref());
    // A place that is taken meanwhile is its client's, or is given back: the server does not stop before.
    let unfinished = connection.app.unfinished.begin();
    let missed = missed(connection, &recognition, &channel, &log).await?;
    let told = async {
        follow_from(asker, &recognition, &log, missed.as_ref()).await?;
        tell(connection, &channel, &log, present.zip(joined), missed.as_ref()).await
    };
    let told = told.await;
    if let Some(missed) = missed.filter(|missed| told.is_err() || !missed.is_left) {
        recognition.give_back(connection, &missed, &log).await;
    }
    drop(unfinished);
    told
}

/// Tells the others that a client is there that follows a channel by now; what it is told itself.
async fn tell(
    connection: &Connection,
    channel: &Channel<'_>,
    log: &ChannelName,
    joined: Option<(&Member, Joined)>,
    missed: Option<&Missed>,
) -> Result<Said, Fault> {
    let (app, server, settings) = (&connection.app, &connection.server, &connection.application.settings);
    if let Some((member, _)) = joined.filter(|(_, joined)| joined.is_told) {
        let (data, from) = (member_data(MemberEvent::Added, member), Some(connection.identity.user.clone()));
        announce(app, log.clone(), MemberEvent::Added.name(), &data, from).await;
    }
    if counts(connection, channel) {
        server.counts.changed(log.clone());
    }
    let data = match joined {
        Some((member, joined)) => {
            let all = members_elsewhere::everywhere(app, &server.members, log, &member.user_id).await?;
            if joined.is_first && all.is_too_many(settings.presence_max_members) {
                return Err(full(connection));
            }
            all.data
        }
        None => "{}".to_owned(),
    };
    let mut frames = vec![pusher::subscription_succeeded(channel.name, &data)];
    if channel.is_cache {
        match cache::last(app, log, settings.cache_ttl_s).await? {
            // It comes with what was missed, or has come before that.
            Some(_) if missed.is_some_and(|missed| missed.was_here) => {}
            Some(cached) => frames.push(cached.frame),
            None => {
                server.webhooks.cache_miss(log);
                frames.push(pusher::cache_miss(channel.name));
            }
        }
    }
    Ok(Said { frames, ..Said::default() })
}

/// What a client missed in a channel, if it is to be sent that.
async fn missed(
    connection: &Connection,
    recognition: &Recognition,
    channel: &Channel<'_>,
    log: &ChannelName,
) -> Result<Option<Missed>, Refused> {
    let missed = recognition.missed(connection, log).await?;
    // To who was not here the last event of a cache channel is told, and so is what came meanwhile; a user's
    // own is followed already.
    let begins_now = channel.is_cache || channel.kind == ChannelKind::User;
    Ok(missed.filter(|missed| missed.was_here || !begins_now))
}

/// Follows a channel: from where the client stood in it, if it is known again, or from now on.
async fn follow_from(
    asker: &Asker<'_>,
    recognition: &Recognition,
    log: &ChannelName,
    missed: Option<&Missed>,
) -> Result<(), Refused> {
    let connection = asker.connection;
    let mut from = Cursor::default();
    if let Some(missed) = missed {
        from.entries.push((log.clone(), missed.from));
        // Before anything comes of it.
        connection.follow(recognition.follows(Some(missed), log, missed.from));
    }
    let following =
        follow(&connection.app, &connection.identity, asker.session, vec![log.clone()], &from).await?;
    // Without the right to read the history it begins now all the same.
    if let Some(began) = following.began.position(log)
        && !recognition.kept_in.is_empty()
    {
        connection.follow(recognition.follows(missed, log, began));
    }
    Ok(())
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

/// Whether a user has room in a channel, among the members at all nodes, as far as that is known before it
/// joins.
async fn check_room(connection: &Connection, log: &ChannelName, member: &Member) -> Result<(), Fault> {
    let Connection { app, server, application, .. } = connection;
    if app.sessions.nodes().is_none() || server.members.has(log, &member.user_id) {
        return Ok(());
    }
    let ids = members_elsewhere::ids(app, &server.members, log).await?;
    let is_full = ids.len() as u64 >= application.settings.presence_max_members;
    if is_full && !ids.contains(&member.user_id) { Err(full(connection)) } else { Ok(()) }
}

fn join(connection: &Connection, log: &ChannelName, member: &Member) -> Result<Joined, Fault> {
    let members_max = connection.application.settings.presence_max_members;
    let from = &connection.identity.user;
    connection.server.members.join(log, member, from, members_max).map_err(|_| full(connection))
}

fn full(connection: &Connection) -> Fault {
    let members_max = connection.application.settings.presence_max_members;
    Fault::new("LimitReached", format!("a presence channel has at most {members_max} members"), 4004)
}

/// Takes back what a subscription has done that came to nothing, or is over.
async fn release(connection: &Connection, channel: &str) {
    let Some(member) = connection.state().subscriptions.remove(channel) else { return };
    connection.application.log(channel).iter().for_each(|log| connection.unfollow(log));
    let (app, server, application) = (&connection.app, &connection.server, &connection.application);
    let user = &connection.identity.user;
    departure::leave(app, server, application, user, (channel, member.as_ref())).await;
}

/// Ends a subscription. That is not answered, also where there is none, so it is not refused either: no rate
/// holds for it, as each undoes a subscription that was counted.
pub(super) async fn unsubscribe(asker: &Asker<'_>, channel: &str) -> Said {
    let Asker { connection, session, .. } = asker;
    if !connection.is_subscribed(channel) {
        return Said::default();
    }
    // Where the user signed in the log is followed whether or not its client subscribed.
    let is_users = Channel::parse(channel).is_ok_and(|channel| channel.kind == ChannelKind::User);
    if let Ok(log) = connection.application.log(channel)
        && !is_users
    {
        let user = &connection.identity.user;
        if let Err(code) = connection.app.sessions.unsubscribe(*session, user, vec![log]).await {
            // Its client passes over what still comes.
            tracing::debug!(code = code.as_str(), channel, "a channel is followed by a session all the same");
        }
    }
    release(connection, channel).await;
    Said::default()
}

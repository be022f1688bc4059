//! What the hub shows to the API: counts, sessions, and the followers of a channel. Everything here only
//! reads.

use std::borrow::Cow;

use encke_proto::{ChannelName, SessionId, Time, UserId};
use serde::{Deserialize, Serialize};

use crate::{ConnKey, Hub, Key, Traffic, session::Kind};

/// A session, as lists of sessions show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its id.
    pub session: SessionId,
    /// Its user.
    pub user: UserId,
    /// The transport of its connection, or of the last one.
    pub transport: Cow<'static, str>,
    /// When it began.
    pub since: Time,
    /// How many messages it has not been given.
    pub lag: u64,
    /// What it follows besides the user's own channel.
    pub channels: Vec<ChannelName>,
    /// Whether a connection serves it now, so that it would be handed what comes; otherwise it is about to
    /// begin, or its grace time runs.
    pub connected: bool,
}

impl Hub {
    /// The users who are online, in no order, each with the number of sessions.
    pub fn online(&self) -> impl Iterator<Item = (&UserId, usize)> {
        let users = self.users.iter().map(|(_, user)| (&user.id, user.sessions.len()));
        // An operator who looks on at a user has an entry without a session.
        users.filter(|(_, count)| *count > 0)
    }

    /// How many sessions a user has; 0 who is offline.
    #[must_use]
    pub fn sessions_of(&self, user: &UserId) -> usize {
        self.user_key(user).and_then(|key| self.users.get(key)).map_or(0, |user| user.sessions.len())
    }

    /// Whether a user has a session that outlives its connections: whether
    /// [`Output::Online`](crate::Output::Online) was said of the user, and `Offline` was not since.
    #[must_use]
    pub fn is_known(&self, user: &UserId) -> bool {
        self.user_key(user).is_some_and(|key| self.stays(key))
    }

    /// Whether this connection's session stands in each of its channels, so that its service has begun.
    #[must_use]
    pub fn has_begun(&self, conn: ConnKey) -> bool {
        self.session_by_conn(conn).is_some_and(|session| session.begun)
    }

    /// How many sessions there are.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.session_index.len()
    }

    /// How many of them a connection serves.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.conn_index.len()
    }

    /// What went through since the hub began.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// How many channels are followed here, users' own among them.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.channel_index.len()
    }

    /// The sessions of one user, or of all.
    #[must_use]
    pub fn sessions(&self, user: Option<&UserId>) -> Vec<SessionView> {
        self.sessions_by_id(user).filter_map(|(_, key)| self.session_view(key)).collect()
    }

    /// The same, in no order, by what finds them.
    pub(crate) fn sessions_by_id(&self, user: Option<&UserId>) -> impl Iterator<Item = (SessionId, Key)> {
        let keys: Vec<Key> = match user {
            Some(user) => self
                .user_key(user)
                .and_then(|key| self.users.get(key))
                .map(|user| user.sessions.to_vec())
                .unwrap_or_default(),
            None => {
                let all = self.sessions.iter().filter(|(_, session)| session.kind != Kind::Looking);
                all.map(|(key, _)| key).collect()
            }
        };
        keys.into_iter().filter_map(|key| self.sessions.get(key).map(|session| (session.id, key)))
    }

    /// The users who follow a channel, in no order, each with the number of sessions that do.
    pub fn users_following(&self, name: &ChannelName) -> impl Iterator<Item = (&UserId, usize)> {
        let channel = self.channel_key(name).and_then(|key| self.channels.get(key));
        let members = channel.into_iter().flat_map(|channel| channel.members.iter());
        let mut users: Vec<Key> = members
            .filter_map(|member| self.sessions.at(member.session))
            .filter(|session| session.kind != Kind::Looking)
            .map(|session| session.user)
            .collect();
        users.sort_unstable();
        let mut counts: Vec<(Key, usize)> = Vec::new();
        for same in users.chunk_by(|a, b| a == b) {
            counts.push((same[0], same.len()));
        }
        counts.into_iter().filter_map(|(key, count)| self.users.get(key).map(|user| (&user.id, count)))
    }

    /// The public channels that are followed and whose names begin with `prefix`, in no order, each with the
    /// number of sessions that do.
    pub(crate) fn followed(&self, prefix: &str) -> impl Iterator<Item = (&ChannelName, usize)> {
        let channels = self.channels.iter().map(|(_, channel)| (&channel.name, channel.members.len()));
        channels
            .filter(move |(name, count)| *count > 0 && !name.is_own() && name.as_str().starts_with(prefix))
    }

    /// How many sessions follow a channel.
    #[must_use]
    pub fn followers(&self, name: &ChannelName) -> usize {
        self.channel_key(name)
            .and_then(|key| self.channels.get(key))
            .map_or(0, |channel| channel.members.len())
    }

    /// Whether this session is here, and this user's.
    #[must_use]
    pub fn has_session(&self, session: SessionId, user: &UserId) -> bool {
        self.key_by_id(session).is_some_and(|key| self.user_of(key) == Some(user))
    }

    /// The connection that serves this session, if it is here, and this user's.
    #[must_use]
    pub fn conn_of(&self, session: SessionId, user: &UserId) -> Option<ConnKey> {
        let key = self.key_by_id(session).filter(|key| self.user_of(*key) == Some(user))?;
        self.sessions.get(key)?.conn()
    }

    pub(crate) fn session_view(&self, key: Key) -> Option<SessionView> {
        let session = self.sessions.get(key)?;
        let (mut lag, mut channels) = (0, Vec::new());
        for sub in &session.subs {
            let channel = self.channels.at(sub.channel)?;
            lag += channel.window().map_or(0, |window| sub.lag(window.head()));
            if !channel.name.is_own() {
                channels.push(channel.name.clone());
            }
        }
        let user = self.users.get(session.user)?.id.clone();
        let connected = session.begun;
        let transport = self.traffic.transports.get(usize::from(session.transport));
        Some(SessionView {
            session: session.id,
            user,
            transport: transport.map_or("", |transport| transport.name).into(),
            since: session.since,
            lag,
            channels,
            connected,
        })
    }
}

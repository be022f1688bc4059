//! How the hub answers control requests: each by an output with the caller's ticket. The caller's right to
//! make them was checked before.

use encke_proto::{
    ChannelName, Close, CloseCode, Cursor, ErrorCode, Grant, Offset, Position, Revocation, SessionId, UserId,
};
use serde::{Deserialize, Serialize};

use crate::{
    ControlReply, ControlRequest, Following, Hub, Key, Now, Output,
    channel::Channel,
    presence::Why,
    session::{Beginning, Session, Sub},
};

/// Whom a close ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseTarget {
    /// One session, whichever client asks: knowing its id is the right to end it.
    Session(SessionId),
    /// One session, if it is this user's.
    SessionOf(SessionId, UserId),
    /// All sessions of a user; those of operators who look on too, if the user is deleted.
    User(UserId),
    /// What an operator who looks on at this user has for a session. It is known to its node alone.
    #[serde(skip)]
    Look(SessionId, UserId),
    /// The sessions that a revocation concerns.
    Revoked {
        /// What is taken back.
        revocation: Revocation,
        /// Where it stands in the log of revocations, which a node follows up to there first.
        at: Offset,
    },
    /// All sessions there are on a node. No node asks that of another.
    #[serde(skip)]
    Everybody,
}

impl CloseTarget {
    /// The user whose sessions alone it ends; none when it may end any user's.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::SessionOf(_, user) | Self::User(user) | Self::Look(_, user) => Some(user),
            Self::Revoked { revocation, .. } => revocation.user(),
            Self::Session(_) | Self::Everybody => None,
        }
    }
}

impl Hub {
    /// Answers a control request: [`Output::Replied`] comes with the same ticket, after all that it caused.
    pub fn control(&mut self, ticket: u64, request: ControlRequest, now: Now) {
        match request {
            ControlRequest::Close { target, close } => self.close(ticket, &target, &close, now),
            ControlRequest::Subscribe { session, user, channels, from } => {
                self.subscribe(ticket, session, &user, &channels, &from)
            }
            ControlRequest::Unsubscribe { session, user, channels } => {
                self.unsubscribe(ticket, session, &user, &channels)
            }
            ControlRequest::Ack { session, user, cursor } => self.ack(ticket, session, &user, &cursor, now),
            ControlRequest::Refresh { session, user, token } => {
                self.refresh(ticket, session, &user, &token, now)
            }
            ControlRequest::Release { session: Some(session), user } => {
                self.release(ticket, session, &user, now)
            }
            ControlRequest::Release { session: None, .. } => {
                self.replied(ticket, ControlReply::Released(None))
            }
            ControlRequest::CountSessions { users } => {
                let counted = users
                    .into_iter()
                    .map(|user| (self.sessions_of(&user), user))
                    .filter(|(count, _)| *count > 0);
                let users = counted.map(|(count, user)| (user, count)).collect();
                self.replied(ticket, ControlReply::Users(users));
            }
            ControlRequest::ListUsers { lasting, filter, after, limit } => {
                let asked = self
                    .online()
                    .filter(|(user, _)| filter.matches(user.as_str()) && (!lasting || self.is_known(user)));
                let users = owned(page(asked, after.as_ref(), limit));
                self.replied(ticket, ControlReply::Users(users));
            }
            ControlRequest::ListFollowers { channel, after, limit } => {
                let users = owned(page(self.users_following(&channel), after.as_ref(), limit));
                self.replied(ticket, ControlReply::Users(users));
            }
            ControlRequest::ListSessions { user, after, limit } => {
                let page = page(self.sessions_by_id(user.as_ref()), after, limit);
                let views = page.into_iter().filter_map(|(_, key)| self.session_view(key)).collect();
                self.replied(ticket, ControlReply::Sessions(views));
            }
            ControlRequest::ListFollowed { prefix, after, limit } => {
                let page = page(self.followed(&prefix), after.as_ref(), limit);
                let channels = page.into_iter().map(|(name, count)| (name.clone(), count)).collect();
                self.replied(ticket, ControlReply::Channels(channels));
            }
            ControlRequest::CountFollowers { channels } => {
                let counts = channels.iter().map(|channel| self.followers(channel)).collect();
                self.replied(ticket, ControlReply::Counts(counts));
            }
        }
    }

    pub(crate) fn replied(&mut self, ticket: u64, reply: ControlReply) {
        self.say(Output::Replied { ticket, reply });
    }

    /// Ends sessions on purpose. [`Output::Replied`] comes after all that it caused.
    pub(crate) fn close(&mut self, ticket: u64, target: &CloseTarget, close: &Close, now: Now) {
        let keys: Vec<Key> = match target {
            CloseTarget::Session(id) => self.key_by_id(*id).into_iter().collect(),
            CloseTarget::SessionOf(id, user) => {
                let key = self.key_by_id(*id);
                key.filter(|key| self.user_of(*key) == Some(user)).into_iter().collect()
            }
            CloseTarget::User(user) => {
                let user = self.user_key(user).and_then(|key| self.users.get(key));
                user.map(|user| user.sessions.to_vec()).unwrap_or_default()
            }
            CloseTarget::Look(id, _) => self.looks.get(id).copied().into_iter().collect(),
            CloseTarget::Revoked { revocation, .. } => self.revoked(revocation),
            CloseTarget::Everybody => self.sessions.iter().map(|(key, _)| key).collect(),
        };
        for key in &keys {
            self.end_session(*key, Some(Why::Closed(close.clone())), now);
        }
        if let (CloseTarget::User(user), CloseCode::Deleted) = (target, close.code) {
            self.end_looks_at(user, close, now);
        }
        self.replied(ticket, ControlReply::Closed(keys.len()));
    }

    /// Lets a session follow more channels: those that `from` names from there, also where it follows them
    /// already, and all others from now on.
    pub(crate) fn subscribe(
        &mut self,
        ticket: u64,
        session: SessionId,
        user: &UserId,
        channels: &[ChannelName],
        from: &Cursor,
    ) {
        let key = match self.session_for(session, user) {
            Ok(key) => key,
            Err(code) => return self.replied(ticket, ControlReply::Refused(code)),
        };
        let named = from.entries.iter().map(|(channel, _)| channel);
        // Rules may have changed since the caller was asked for its right.
        let is_forbidden = |channel: &ChannelName| {
            !channel.is_own()
                && !self.config.rules.is_empty()
                && !self.is_permitted(user, &Grant::all(), channel)
        };
        if channels.iter().chain(named.clone()).any(is_forbidden) {
            return self.replied(ticket, ControlReply::Refused(ErrorCode::ChannelForbidden));
        }
        let mut followed = self.may_follow(Some(key), user, channels.iter().chain(named));
        for (channel, at) in &from.entries {
            followed = followed.and_then(|()| self.follow(key, channel, Beginning::Here, Some(*at)));
        }
        let others = || channels.iter().filter(|channel| from.position(channel).is_none());
        for channel in others() {
            followed = followed.and_then(|()| self.follow(key, channel, Beginning::Now, None));
        }
        if let Err(code) = followed {
            return self.replied(ticket, ControlReply::Refused(code));
        }
        for channel in others() {
            self.doubt(key, channel);
        }
        // Answered only when the session stands in each channel: whatever is published after the answer must
        // reach it.
        self.subscribing.entry(key).or_default().push(ticket);
        self.settle(key);
        // A channel whose window reaches back to the position is not asked for, so nothing else says that
        // there is more.
        if !from.entries.is_empty() && self.has_more(key) {
            self.make_ready(key, false);
        }
    }

    /// Who subscribes to what its session follows already may not know that, say because it once left and was
    /// not heard. What it is sent from here on must reach it all the same.
    fn doubt(&mut self, key: Key, channel: &ChannelName) {
        let index = self.channel_key(channel).and_then(|channel| self.sub_of(key, channel));
        if let Some(sub) = index.and_then(|index| self.sub_mut(key, index))
            && sub.placed()
            && !channel.is_own()
            && sub.began().is_none()
        {
            sub.begin_here();
        }
    }

    /// Answers the callers that subscribed, once their session stands in each channel or is gone.
    pub(crate) fn answer_subscribers(&mut self, key: Key) {
        // A subscription that catches up stands somewhere already; only one whose place is not settled yet
        // could miss what comes next.
        let settled = |session: &Session| session.subs.iter().all(Sub::placed);
        if self.subscribing.is_empty() || !self.sessions.get(key).is_none_or(settled) {
            return;
        }
        for ticket in self.subscribing.remove(&key).unwrap_or_default() {
            let known = self.sessions.get(key).is_some();
            let reply = if known {
                ControlReply::Following(Box::new(self.following(key)))
            } else {
                ControlReply::Refused(ErrorCode::SessionUnknown)
            };
            self.replied(ticket, reply);
        }
    }

    /// Lets a session follow fewer channels. The user's own stays.
    pub(crate) fn unsubscribe(
        &mut self,
        ticket: u64,
        session: SessionId,
        user: &UserId,
        channels: &[ChannelName],
    ) {
        let reply = match self.session_for(session, user) {
            Err(code) => ControlReply::Refused(code),
            Ok(key) => {
                for channel in channels.iter().filter(|channel| !channel.is_own()) {
                    let wanted = self.channel_key(channel);
                    if let Some(index) = wanted.and_then(|channel| self.sub_of(key, channel)) {
                        self.drop_sub(key, index);
                    }
                }
                // A connection that only waited for the place in a channel that it does not follow any more
                // need not wait.
                self.settle(key);
                ControlReply::Following(Box::new(self.following(key)))
            }
        };
        self.say(Output::Replied { ticket, reply });
    }

    /// The client says that everything up to `cursor` was shown to the person.
    pub(crate) fn ack(&mut self, ticket: u64, session: SessionId, user: &UserId, cursor: &Cursor, now: Now) {
        let reply = match self.session_for(session, user) {
            Err(code) => ControlReply::Refused(code),
            Ok(key) => {
                let position = cursor.position(&user.channel()).map(|position| self.at_most(key, position));
                if let Some(position) = position {
                    self.count_shown(user, position, now);
                    self.say(Output::Shown { user: user.clone(), position });
                }
                ControlReply::Shown(position)
            }
        };
        self.say(Output::Replied { ticket, reply });
    }

    /// Counts how long the newest push that was delivered was not shown; once, and only if it is shown now.
    /// Of those before it, it is not known any more when they were delivered.
    fn count_shown(&mut self, user: &UserId, up_to: Position, now: Now) {
        let key = self.channel_key(&user.channel());
        let Some(own) = key.and_then(|key| self.channels.get_mut(key)) else { return };
        let Some(handed) = &mut own.handed else { return };
        let at = handed.position;
        if at.epoch == up_to.epoch
            && at.offset <= up_to.offset
            && let Some(shown_ms) = handed.take_shown_ms(now)
        {
            self.traffic.shown_ms.record(shown_ms);
        }
    }

    /// No user was shown what is not there yet.
    fn at_most(&self, key: Key, position: Position) -> Position {
        let own = self.sessions.get(key).and_then(|session| session.subs.first());
        let window = own.and_then(|own| self.channels.at(own.channel)).and_then(Channel::window);
        let position = window.and_then(|window| window.carry(position)).unwrap_or(position);
        match (own, window) {
            (Some(own), Some(window)) if position.epoch == window.epoch => {
                let read = if own.at.epoch == window.epoch && !own.waits() { own.at.offset } else { 0 };
                Position { offset: position.offset.min(window.head.max(read)), ..position }
            }
            _ => position,
        }
    }

    pub(crate) fn session_for(&self, session: SessionId, user: &UserId) -> Result<Key, ErrorCode> {
        match self.key_by_id(session) {
            Some(key) if self.user_of(key) == Some(user) => Ok(key),
            _ if self.tombstones.contains(session, user) => Err(ErrorCode::SessionClosed),
            _ => Err(ErrorCode::SessionUnknown),
        }
    }

    fn following(&self, key: Key) -> Following {
        let mut following = Following::default();
        for sub in self.sessions.get(key).map(|session| session.subs.as_slice()).unwrap_or_default() {
            let Some(channel) = self.channels.at(sub.channel) else { continue };
            if let Some(began) = sub.began() {
                following.began.set(&channel.name, began);
            }
            if !channel.name.is_own() {
                following.channels.push(channel.name.clone());
            }
        }
        following
    }
}

/// The first `limit` behind `after`, in no order.
fn page<K: Ord + Copy, V>(all: impl Iterator<Item = (K, V)>, after: Option<K>, limit: usize) -> Vec<(K, V)> {
    let mut page: Vec<(K, V)> = all.filter(|(key, _)| after.is_none_or(|after| *key > after)).collect();
    if page.len() > limit {
        page.select_nth_unstable_by(limit, |a, b| a.0.cmp(&b.0));
        page.truncate(limit);
    }
    page
}

fn owned(users: Vec<(&UserId, usize)>) -> Vec<(UserId, usize)> {
    users.into_iter().map(|(user, count)| (user.clone(), count)).collect()
}

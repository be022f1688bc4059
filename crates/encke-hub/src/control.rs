//! The hub's control requests: close, subscribe, unsubscribe and ack, each answered by an output with the
//! caller's ticket. Who may make them was checked before.

use encke_proto::{ChannelName, Close, Cursor, ErrorCode, Position, SessionId, UserId};

use crate::{
    Following, Hub, Key, Now, Output, Reply,
    channel::Channel,
    presence::Why,
    session::{Beginning, Session, Sub},
};

/// Whom a close ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseTarget {
    /// One session, whichever client asks: knowing its id is the right to end it.
    Session(SessionId),
    /// One session, if it is this user's.
    SessionOf(SessionId, UserId),
    /// All sessions of a user.
    User(UserId),
    /// All sessions there are.
    Everybody,
}

impl Hub {
    /// Ends sessions on purpose. [`Output::Replied`] comes after all that it caused.
    pub fn close(&mut self, ticket: u64, target: &CloseTarget, close: &Close, now: Now) {
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
            CloseTarget::Everybody => self.sessions.iter().map(|(key, _)| key).collect(),
        };
        for key in &keys {
            self.end_session(*key, Some(Why::Closed(close.clone())), now);
        }
        self.say(Output::Replied { ticket, reply: Reply::Closed(keys.len()) });
    }

    /// Lets a session follow more channels, from now on.
    pub fn subscribe(&mut self, ticket: u64, session: SessionId, user: &UserId, channels: &[ChannelName]) {
        let key = match self.session_for(session, user) {
            Ok(key) => key,
            Err(code) => return self.say(Output::Replied { ticket, reply: Reply::Refused(code) }),
        };
        let followed = self.may_follow(Some(key), user, channels.iter());
        let followed = followed.and_then(|()| {
            channels.iter().try_for_each(|channel| self.follow(key, channel, Beginning::Now, None))
        });
        if let Err(code) = followed {
            return self.say(Output::Replied { ticket, reply: Reply::Refused(code) });
        }
        for channel in channels {
            self.doubt(key, channel);
        }
        // Answered only when the session stands in each channel: whatever is published after the answer must
        // reach it.
        self.subscribing.entry(key).or_default().push(ticket);
        self.settle(key);
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
                Reply::Channels(Box::new(self.following(key)))
            } else {
                Reply::Refused(ErrorCode::SessionUnknown)
            };
            self.say(Output::Replied { ticket, reply });
        }
    }

    /// Lets a session follow fewer channels. The user's own stays.
    pub fn unsubscribe(&mut self, ticket: u64, session: SessionId, user: &UserId, channels: &[ChannelName]) {
        let reply = match self.session_for(session, user) {
            Err(code) => Reply::Refused(code),
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
                Reply::Channels(Box::new(self.following(key)))
            }
        };
        self.say(Output::Replied { ticket, reply });
    }

    /// The client says that everything up to `cursor` was shown to the person.
    pub fn ack(&mut self, ticket: u64, session: SessionId, user: &UserId, cursor: &Cursor) {
        let reply = match self.session_for(session, user) {
            Err(code) => Reply::Refused(code),
            Ok(key) => {
                Reply::Shown(cursor.position(&user.channel()).map(|position| self.at_most(key, position)))
            }
        };
        self.say(Output::Replied { ticket, reply });
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

    fn session_for(&self, session: SessionId, user: &UserId) -> Result<Key, ErrorCode> {
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

//! How a connection gets its session and the session its subscriptions: the channel limits, the place where
//! each subscription begins, and the questions to the engine that this needs. How sessions begin and end is
//! in `presence.rs`.

use std::{collections::HashSet, sync::Arc};

use encke_proto::{
    ChannelName, CloseCode, Cursor, Entry, ErrorCode, Grant, Offset, Position, SessionId, Time, TokenInfo,
    UserId,
    limits::{CURSOR_MAX_BYTES, NAME_MAX_BYTES, SESSION_MAX_CHANNELS},
};

use crate::{
    ConnKey, Device, Ending, Following, Hub, Key, Now, Output, ReadKey,
    channel::{Channel, Member},
    session::{Beginning, Reading, Served, Session, Sub, SubState},
};

/// The most that a cursor says of a channel besides its name: two separators, an offset, a colon and an
/// epoch.
const POSITION_MAX_BYTES: usize = 36;
/// Up to how many subscriptions of a session comparing names costs less than hashing one.
const FEW_SUBS: usize = 8;
/// The most that it says with the name, each byte of which may take three.
const CURSOR_ENTRY_MAX_BYTES: usize = 3 * NAME_MAX_BYTES + POSITION_MAX_BYTES;

/// Where a connection asks to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Public channels from now, the user's own from what no session was handed.
    Absent,
    /// Everything from the oldest that is kept.
    Earliest,
    /// Where it was before.
    Cursor(Cursor),
}

/// A connection that wants to be served. Who the user is, and that the channels are granted, was checked
/// before.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The connection.
    pub conn: ConnKey,
    /// The session that it wants to continue.
    pub session: Option<SessionId>,
    /// The id of a new session, should one be needed; random, or derived from something that is.
    pub fresh: SessionId,
    /// The user.
    pub user: UserId,
    /// What the transport is called.
    pub transport: &'static str,
    /// Whether a new session outlives its connection by the grace time. One that does not is of a client that
    /// keeps the cursor and has no session id to come back with: it ends with its connection, is not
    /// remembered once it was closed, and makes no user known.
    pub lasting: bool,
    /// Where to go on.
    pub start: Start,
    /// The device that the session is of, if it is to have a place of its own in the user's channel.
    pub device: Option<Device>,
    /// Channels to follow besides those of the session and the cursor.
    pub channels: Vec<ChannelName>,
    /// What the session followed on another node, which has given it up; it goes on under its id as `fresh`.
    /// Empty for all others.
    pub carried: Following,
    /// When the token ends.
    pub token_ends: Time,
    /// What revocations need to know of the token; none without one.
    pub token: Option<TokenInfo>,
    /// The public channels that the token grants, as far as rules leave it to the token. What the session
    /// follows and may not is dropped.
    pub granted: Grant,
}

impl Hub {
    /// Serves a connection: continues its session, or makes one. [`Output::Begun`] or [`Output::Ended`]
    /// follows, soon or after the engine was asked.
    pub fn attach(&mut self, attach: Attach, now: Now) {
        let conn = attach.conn;
        // A connection that comes again under the same key has left whatever it was served before.
        self.detach(conn, now);
        let refused = |code| Output::Ended { conn, ending: Ending::Refused(code) };
        if attach.session.is_some_and(|id| self.tombstones.contains(id, &attach.user)) {
            return self.say(refused(ErrorCode::SessionClosed));
        }
        let known = attach.session.and_then(|id| self.key_by_id(id));
        // Another user's session counts as unknown: knowing its id opens nothing.
        let known = known.filter(|key| self.user_of(*key) == Some(&attach.user));
        let named = match &attach.start {
            Start::Cursor(cursor) => cursor.entries.as_slice(),
            Start::Absent | Start::Earliest => &[],
        };
        let wanted = named.iter().map(|(channel, _)| channel).chain(&attach.channels);
        // Found out before anything is changed: a request that cannot be served disturbs no session.
        if let Err(code) = self.may_follow(known, &attach.user, wanted) {
            return self.say(refused(code));
        }
        let key = match known {
            Some(key) => key,
            // Two sessions of one id would be one in the index. Only a client that knows another user's
            // session meets with it.
            None if self.key_by_id(attach.fresh).is_some() => {
                return self.say(refused(ErrorCode::SessionUnknown));
            }
            None => self.begin_session(&attach, now),
        };
        if let Some(older) = self.sessions.get(key).and_then(Session::conn) {
            self.let_go(older, now);
            self.traffic.ended(CloseCode::TakenOver);
            self.say(Output::Ended { conn: older, ending: Ending::TakenOver });
        }
        let transport = self.traffic.number(attach.transport);
        if let Some(session) = self.sessions.get_mut(key) {
            session.served = Served::By(conn);
            session.transport = transport;
            session.ready = false;
            session.begun = false;
        }
        self.note_token(key, attach.token.as_ref());
        self.note_device(key, attach.device.as_ref());
        self.conn_index.insert(&self.sessions, &conn, key);
        self.found.set(Some(key));
        self.traffic.connected(transport);
        self.note_token_end(key, attach.token_ends, now);
        self.drop_ungranted(key, &attach.user, &attach.granted);
        if let Err(code) = self.follow_all(key, &attach) {
            self.refuse(key, code, now);
            return;
        }
        self.settle(key);
    }

    /// Whether a session, or a new one, may follow these channels too.
    pub(crate) fn may_follow<'a>(
        &self,
        session: Option<Key>,
        user: &UserId,
        wanted: impl Iterator<Item = &'a ChannelName> + Clone,
    ) -> Result<(), ErrorCode> {
        // Grants are checked where tokens are; that a user's own channel is no other user's is checked here
        // as well, since it would be the worst to get wrong.
        if wanted.clone().any(|name| name.is_own() && !name.is_own_of(user)) {
            return Err(ErrorCode::ChannelForbidden);
        }
        self.have_room(session, user, wanted.clone())?;
        let subs = session.and_then(|key| self.sessions.get(key)).map_or(&[][..], |session| &session.subs);
        let has_own = usize::from(!subs.is_empty());
        if (subs.len() + wanted.clone().count() + 1) * CURSOR_ENTRY_MAX_BYTES <= CURSOR_MAX_BYTES {
            return Ok(());
        }
        let followed: HashSet<u32> = subs.iter().map(|sub| sub.channel).collect();
        let known = |name: &ChannelName| {
            self.channel_key(name).is_some_and(|channel| followed.contains(&channel.index))
        };
        let own = user.channel();
        let new: HashSet<&ChannelName> = wanted.filter(|name| **name != own && !known(name)).collect();
        // A cursor that is too long to be brought back would lose the session its place in everything.
        let old =
            subs.iter().filter_map(|sub| self.channels.at(sub.channel)).map(|channel| channel.wire().len());
        let names =
            old.chain(new.iter().map(|name| Channel::wire_len(name))).chain([Channel::wire_len(&own)]);
        let cursor: usize = names.map(|name| name + POSITION_MAX_BYTES).sum();
        let one_or_many = subs.len() - has_own + new.len() <= SESSION_MAX_CHANNELS;
        if one_or_many && cursor + POSITION_MAX_BYTES <= CURSOR_MAX_BYTES {
            Ok(())
        } else {
            Err(ErrorCode::TooManyChannels)
        }
    }

    /// Brings a session's subscriptions to what its connection asks for.
    fn follow_all(&mut self, key: Key, attach: &Attach) -> Result<(), ErrorCode> {
        if attach.carried != Following::default() {
            self.carry_on(key, &attach.user, &attach.carried, &attach.granted)?;
        }
        let own = attach.user.channel();
        let elsewhere = match &attach.start {
            Start::Absent | Start::Cursor(_) => Beginning::Now,
            Start::Earliest => Beginning::Earliest,
        };
        let cursor = match &attach.start {
            Start::Cursor(cursor) => Some(cursor),
            Start::Absent | Start::Earliest => None,
        };
        // Its own channel comes first, so that every session has it as its first subscription.
        let (beginning, at) = match cursor.and_then(|cursor| cursor.position(&own)) {
            Some(at) => (Beginning::Here, Some(at)),
            None => self.own_beginning(key, attach),
        };
        self.follow(key, &own, beginning, at)?;
        if let Some(cursor) = cursor {
            for (channel, position) in cursor.entries.iter().filter(|(channel, _)| *channel != own) {
                if !self.is_permitted(&attach.user, &attach.granted, channel) {
                    self.tell_unsubscribed(key, channel);
                    continue;
                }
                let beginning = self.beginning_at(key, &attach.user, &attach.granted, (channel, *position));
                self.follow(key, channel, beginning, Some(*position))?;
            }
        }
        for channel in &attach.channels {
            if !channel.is_own() && !self.is_permitted(&attach.user, &attach.granted, channel) {
                self.tell_unsubscribed(key, channel);
                continue;
            }
            let is_readable = elsewhere == Beginning::Now
                || channel.is_own()
                || self.is_readable(&attach.user, &attach.granted, channel);
            self.follow(key, channel, if is_readable { elsewhere } else { Beginning::Now }, None)?;
        }
        self.place_others(key, cursor.is_some());
        Ok(())
    }

    /// Places the subscriptions that a connection did not name: `by_cursor` if its client has a cursor.
    fn place_others(&mut self, key: Key, by_cursor: bool) {
        let is_open =
            |sub: &Sub| matches!(sub.state, SubState::Beginning(_)) || (by_cursor && sub.began().is_some());
        if !self.sessions.get(key).is_some_and(|session| session.subs.iter().any(is_open)) {
            // Nearly always the cursor knows them all.
            return;
        }
        for index in 0..self.sub_count(key) {
            // The client's cursor does not know the channel, so whatever of it was on its way was lost.
            if by_cursor
                && let Some(sub) = self.sub_mut(key, index)
                && let Some(began) = sub.began()
                && sub.placed()
            {
                sub.go(began);
                self.begin_at(key, index, Beginning::Here);
            }
            // Where the engine failed a former connection, it is asked again.
            if let Some(Sub { state: SubState::Beginning(beginning), .. }) = self.sub_mut(key, index) {
                let beginning = *beginning;
                self.begin_at(key, index, beginning);
            }
        }
    }

    /// Follows a channel from where it is told; a channel that is followed already only moves when a position
    /// is given or everything is asked for.
    pub(crate) fn follow(
        &mut self,
        key: Key,
        name: &ChannelName,
        beginning: Beginning,
        at: Option<Position>,
    ) -> Result<(), ErrorCode> {
        let found = self.sub_named(key, name);
        let index = match found {
            Some(_) if at.is_none() && beginning != Beginning::Earliest => return Ok(()),
            Some(index) => index,
            None => {
                self.forget_unsubscribed(key, name);
                self.add_sub(key, name)?
            }
        };
        if let (Some(at), Some(sub)) = (at, self.sub_mut(key, index)) {
            sub.be_sure();
            sub.go(at);
        }
        self.begin_at(key, index, beginning);
        Ok(())
    }

    /// Makes a session a member of a channel.
    fn add_sub(&mut self, key: Key, name: &ChannelName) -> Result<u16, ErrorCode> {
        let channel_key = match self.channel_key(name) {
            Some(channel) => {
                self.doubt_handed(channel);
                channel
            }
            None => {
                let channel = self.channels.insert(Channel::new(name.clone()));
                self.channel_index.insert(&self.channels, name, channel);
                self.say(Output::Watch(name.clone()));
                self.ask_to_open(channel);
                channel
            }
        };
        if let Err(code) = self.make_room(key, channel_key, name.is_own()) {
            if self.channels.get(channel_key).is_some_and(|channel| channel.members.is_empty()) {
                self.drop_channel(channel_key);
            }
            return Err(code);
        }
        let (Some(session), Some(channel)) = (self.sessions.get_mut(key), self.channels.get_mut(channel_key))
        else {
            return Err(ErrorCode::Internal);
        };
        let index = u16::try_from(session.subs.len()).map_err(|_| ErrorCode::TooManyChannels)?;
        let member = u32::try_from(channel.members.len()).map_err(|_| ErrorCode::Overloaded)?;
        channel.members.push(Member { session: key.index, sub: index });
        session.add_sub(Sub::new(channel_key.index, member));
        Ok(index)
    }

    /// Ends a session's membership in a channel. The last subscription takes the freed place, so the first is
    /// only dropped when a session ends.
    pub(crate) fn drop_sub(&mut self, key: Key, index: u16) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let gone = session.subs.swap_remove(usize::from(index));
        let moved = session.subs.get(usize::from(index)).map(|sub| (sub.channel, sub.member));
        if let Some((channel, member)) = moved
            && let Some(member) =
                self.channels.at_mut(channel).and_then(|channel| channel.members.get_mut(member as usize))
        {
            member.sub = index;
        }
        let Some(channel) = self.channels.at_mut(gone.channel) else { return };
        if channel.counted {
            self.config.follower_counts.leave(&channel.name);
        }
        channel.members.swap_remove(gone.member as usize);
        let moved = channel.members.get(gone.member as usize).copied();
        if channel.members.is_empty() {
            if let Some(channel) = self.channels.key_at(gone.channel) {
                self.drop_channel(channel);
            }
        } else if let Some(moved) = moved
            && let Some(sub) = self
                .sessions
                .at_mut(moved.session)
                .and_then(|session| session.subs.get_mut(usize::from(moved.sub)))
        {
            sub.member = gone.member;
        }
    }

    fn drop_channel(&mut self, key: Key) {
        if let Some(channel) = self.channels.remove(key) {
            self.channel_index.remove(&channel.name, key);
            self.say(Output::Unwatch(channel.name));
        }
    }

    /// Settles where a subscription begins, as far as that can be known without the engine; otherwise it
    /// waits.
    pub(crate) fn begin_at(&mut self, key: Key, index: u16, beginning: Beginning) {
        let Some(sub) = self.sub_mut(key, index) else { return };
        sub.state = SubState::Beginning(beginning);
        let (at, channel) = (sub.at, sub.channel);
        let Some(channel) = self.channels.at(channel) else { return };
        let Some(window) = channel.window() else { return };
        let at = match beginning {
            Beginning::Now => window.head(),
            Beginning::Handed => {
                channel.handed.map_or(Position { epoch: window.epoch, offset: 0 }, |handed| handed.position)
            }
            Beginning::Here | Beginning::Recent => at,
            Beginning::Earliest => {
                // Where the log begins now is known to the engine alone.
                return self.ask_for_page(key, index, 0, true);
            }
        };
        let at = window.carry(at).unwrap_or(at);
        let reached = at.epoch == window.epoch && window.reaches(at.offset);
        // A window that was just opened holds what was read for it, however old.
        let is_old = |entry: &Arc<Entry>| entry.message().time < self.recent_since;
        let reached =
            reached && !(beginning == Beginning::Recent && window.after(at.offset).is_some_and(is_old));
        if let Some(sub) = self.sub_mut(key, index) {
            sub.go(at);
            if beginning == Beginning::Now {
                sub.begin_here();
            }
            sub.state = SubState::Live;
        }
        match (reached, beginning) {
            (true, _) => {}
            (false, Beginning::Recent) => self.skip_history(key, index),
            (false, _) => self.ask_to_read(key, index),
        }
    }

    /// Asks for the page behind where a subscription stands.
    pub(crate) fn ask_to_read(&mut self, key: Key, index: u16) {
        let Some(sub) = self.sub_mut(key, index) else { return };
        let (at, channel) = (sub.at, sub.channel);
        let window = self.channels.at(channel).and_then(Channel::window);
        self.ask_for_page(key, index, window.map_or(at.offset, |window| window.goes_on(at)), false);
    }

    pub(crate) fn ask_for_page(&mut self, key: Key, index: u16, after: Offset, earliest: bool) {
        self.reads = self.reads.wrapping_add(1);
        let number = self.reads;
        let Some(sub) = self.sub_mut(key, index) else { return };
        sub.state = SubState::Reading(Reading { number, earliest });
        let place = sub.channel;
        let (Some(channel_key), Some(channel)) = (self.channels.key_at(place), self.channels.at(place))
        else {
            return;
        };
        let (key, channel) = (ReadKey { session: key, channel: channel_key, number }, channel.name.clone());
        self.say(Output::Read { key, channel, after });
    }

    /// Once no subscription waits for the engine, the connection's service begins.
    pub(crate) fn settle(&mut self, key: Key) {
        self.answer_subscribers(key);
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(conn) = session.conn() else { return };
        if session.begun || session.subs.iter().any(Sub::waits) {
            return;
        }
        session.begun = true;
        session.known = true;
        let id = session.id;
        if let Some(transport) = self.traffic.of(session.transport) {
            transport.opened += 1;
        }
        self.say(Output::Begun { conn, session: id });
        if self.has_more(key) {
            self.make_ready(key, false);
        }
    }

    pub(crate) fn user_of(&self, key: Key) -> Option<&UserId> {
        let session = self.sessions.get(key)?;
        self.users.get(session.user).map(|user| &user.id)
    }

    pub(crate) fn sub_mut(&mut self, key: Key, index: u16) -> Option<&mut Sub> {
        self.sessions.get_mut(key)?.subs.get_mut(usize::from(index))
    }

    pub(crate) fn sub(&self, key: Key, index: u16) -> Option<&Sub> {
        self.sessions.get(key)?.subs.get(usize::from(index))
    }

    pub(crate) fn sub_count(&self, key: Key) -> u16 {
        self.sessions.get(key).map_or(0, |session| u16::try_from(session.subs.len()).unwrap_or(u16::MAX))
    }

    /// The subscription of a session to a channel.
    pub(crate) fn sub_named(&self, key: Key, name: &ChannelName) -> Option<u16> {
        let session = self.sessions.get(key)?;
        if session.subs.len() > FEW_SUBS {
            return self.channel_key(name).and_then(|channel| self.sub_of(key, channel));
        }
        let named = |sub: &Sub| self.channels.at(sub.channel).is_some_and(|channel| channel.name == *name);
        u16::try_from(session.subs.iter().position(named)?).ok()
    }

    pub(crate) fn sub_of(&self, key: Key, channel: Key) -> Option<u16> {
        let index = self.sessions.get(key)?.subs.iter().position(|sub| sub.channel == channel.index)?;
        u16::try_from(index).ok()
    }
}

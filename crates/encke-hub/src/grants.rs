//! What becomes of a session whose token grants less than the one before, or whose channels new rules forbid:
//! channels that it may not follow any more are dropped, and its client is told of each.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use encke_proto::{
    Action, Caller, ChannelName, ChannelRules, ErrorCode, Gap, GapReason, Grant, Position, Unsubscribed,
    UnsubscribedReason, UserId, limits::SESSION_MAX_CHANNELS,
};

use crate::{
    Hub, Key,
    channel::Window,
    session::{Beginning, Behind, Sub, SubState},
};

impl Hub {
    /// From now on these rules say who may follow which channel. What sessions follow and may not is dropped,
    /// and their clients are told; see [`ChannelRules::keep`].
    pub fn set_rules(&mut self, rules: Arc<ChannelRules>) {
        let former = std::mem::replace(&mut self.config.rules, rules);
        let keys: Vec<Key> = self.sessions.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(user) = self.user_of(key).cloned() else { continue };
            self.drop_subs(key, |hub, name| hub.config.rules.keep(&former, &user, name.as_str()));
            if self.unsubscribed.contains_key(&key) {
                // A connection may have waited for its place in such a channel alone.
                self.settle(key);
                self.make_ready(key, false);
            }
        }
    }

    /// Lets other bounds hold for what users ask from now on. Sessions and channels that are over them stay.
    pub fn set_user_bounds(&mut self, max_sessions: usize, max_channels: usize) {
        self.config.max_sessions_per_user = max_sessions;
        self.config.max_channels_per_user = max_channels;
    }

    /// Whether a user with this token may follow a public channel.
    pub(crate) fn is_permitted(&self, user: &UserId, granted: &Grant, channel: &ChannelName) -> bool {
        // A client that proves no identity was asked for its right where it came in.
        let caller = Caller { user: Some(user), granted };
        self.config.rules.allow(Action::Subscribe, caller, channel.as_str())
    }

    /// Whether a user with this token may read the history of a public channel.
    pub(crate) fn is_readable(&self, user: &UserId, granted: &Grant, channel: &ChannelName) -> bool {
        let caller = Caller { user: Some(user), granted };
        self.config.rules.is_empty() || self.config.rules.allow(Action::History, caller, channel.as_str())
    }

    /// How a session goes on in a public channel from where its client says that it stood. Without the right
    /// to read the history that is believed as far as the server knows it by itself.
    pub(crate) fn beginning_at(
        &self,
        key: Key,
        user: &UserId,
        granted: &Grant,
        (channel, at): (&ChannelName, Position),
    ) -> Beginning {
        let is_known = || {
            let sub = self.sub_named(key, channel).and_then(|index| self.sub(key, index));
            let began = sub.and_then(Sub::began);
            began.is_some_and(|began| began.epoch == at.epoch && began.offset <= at.offset)
        };
        if self.is_readable(user, granted, channel) || is_known() {
            Beginning::Here
        } else {
            Beginning::Recent
        }
    }

    /// A subscription goes on at the head of its channel: its client is told of a gap in the place of the
    /// history that it may not read.
    pub(crate) fn skip_history(&mut self, key: Key, index: u16) {
        let Some(sub) = self.sub(key, index) else { return };
        let at = sub.at;
        let Some(channel) = self.channels.at(sub.channel) else { return };
        let Some(head) = channel.window().map(Window::head) else { return };
        let is_here = at.epoch == head.epoch && at.offset < head.offset;
        let (to, reason) =
            if is_here { (Some(head.offset), GapReason::Trimmed) } else { (None, GapReason::Epoch) };
        let gap = Gap { channel: channel.name.clone(), from: at.offset.saturating_add(1), to, reason };
        let behind = Behind { gap: Some(gap), goes_on: head, entries: VecDeque::new() };
        if let Some(sub) = self.sub_mut(key, index) {
            sub.state = SubState::Behind(Box::new(behind));
        }
        if self.sessions.get(key).is_some_and(|session| session.begun) {
            self.make_ready(key, false);
        }
    }

    /// Drops what a session follows that is not granted. The user's own channel always is.
    pub(crate) fn drop_ungranted(&mut self, key: Key, user: &UserId, granted: &Grant) {
        if granted.is_all() && self.config.rules.is_empty() {
            return;
        }
        self.drop_subs(key, |hub, name| hub.is_permitted(user, granted, name));
    }

    /// Drops the public channels that a session follows and is not to keep.
    fn drop_subs(&mut self, key: Key, keeps: impl Fn(&Self, &ChannelName) -> bool) {
        let subs = self.sessions.get(key).map(|session| session.subs.as_slice()).unwrap_or_default();
        let names = subs.iter().filter_map(|sub| self.channels.at(sub.channel)).map(|channel| &channel.name);
        let is_lost = |name: &&ChannelName| !name.is_own() && !keeps(self, name);
        let lost: Vec<ChannelName> = names.filter(is_lost).cloned().collect();
        for channel in lost {
            if let Some(index) = self.sub_named(key, &channel) {
                self.drop_sub(key, index);
            }
            self.tell_unsubscribed(key, &channel);
        }
    }

    /// Whether a user, and channels that have a bound, have room for what is new of this to a session.
    pub(crate) fn have_room<'a>(
        &self,
        session: Option<Key>,
        user: &UserId,
        wanted: impl Iterator<Item = &'a ChannelName> + Clone,
    ) -> Result<(), ErrorCode> {
        let public = wanted.filter(|name| !name.is_own());
        let count = public.clone().count();
        if count == 0 {
            return Ok(());
        }
        let user = match session {
            Some(key) => self.sessions.get(key).map(|session| session.user),
            None => self.user_key(user),
        };
        let (followed, max) = (self.followed_by(user), self.config.max_channels_per_user);
        if self.config.rules.is_empty() && followed + count <= max {
            return Ok(());
        }
        let is_new = |name: &&ChannelName| session.is_none_or(|key| self.sub_named(key, name).is_none());
        let new: HashSet<&ChannelName> = public.filter(is_new).collect();
        if followed + new.len() > max {
            Err(ErrorCode::TooManyChannels)
        } else if new.iter().any(|name| self.is_full(name)) {
            Err(ErrorCode::ChannelFull)
        } else {
            Ok(())
        }
    }

    /// Whether a public channel has as many followers on this node as its rule lets it have.
    fn is_full(&self, name: &ChannelName) -> bool {
        let max = self.config.rules.rule_for(name.as_str()).and_then(|rule| rule.followers_max);
        max.is_some_and(|max| {
            let uncounted = self.channel_key(name).and_then(|key| self.channels.get(key));
            let uncounted = uncounted.filter(|channel| !channel.counted);
            let uncounted = uncounted.map_or(0, |channel| channel.members.len());
            self.config.follower_counts.get(name) + uncounted as u64 >= max
        })
    }

    /// Whether a session may follow one more channel, by the bounds of the session, its user and the channel.
    /// A follower of a channel that has a bound is counted then.
    pub(crate) fn make_room(&mut self, key: Key, channel: Key, is_own: bool) -> Result<(), ErrorCode> {
        let session = self.sessions.get(key);
        let followed = session.map_or(0, |session| session.subs.len());
        let by_user = self.followed_by(session.map(|session| session.user));
        // One more than the limit, for the user's own.
        if followed > SESSION_MAX_CHANNELS || !(is_own || by_user < self.config.max_channels_per_user) {
            Err(ErrorCode::TooManyChannels)
        } else if is_own || self.let_in(channel) {
            Ok(())
        } else {
            Err(ErrorCode::ChannelFull)
        }
    }

    /// How many public channels all sessions of a user follow here.
    fn followed_by(&self, user: Option<Key>) -> usize {
        let user = user.and_then(|key| self.users.get(key));
        let sessions = user.map_or(&[][..], |user| &user.sessions);
        // Each session follows the user's own channel besides. Users have a few sessions.
        let subs = sessions.iter().filter_map(|key| self.sessions.get(*key)).map(|session| &session.subs);
        subs.map(|subs| subs.len().saturating_sub(1)).sum()
    }

    /// Whether a public channel may have one more follower, who is counted then.
    fn let_in(&mut self, key: Key) -> bool {
        if self.config.rules.is_empty() && self.channels.get(key).is_none_or(|channel| !channel.counted) {
            return true;
        }
        let Some(channel) = self.channels.get_mut(key) else { return false };
        let rule = self.config.rules.rule_for(channel.name.as_str());
        let max = rule.and_then(|rule| rule.followers_max);
        if max.is_none() && !channel.counted {
            return true;
        }
        if !channel.counted {
            channel.counted = true;
            self.config.follower_counts.add(&channel.name, channel.members.len() as u64);
        }
        self.config.follower_counts.enter(&channel.name, max.unwrap_or(u64::MAX))
    }

    /// Lets the client of a session be told that a channel is not followed any more.
    pub(crate) fn tell_unsubscribed(&mut self, key: Key, channel: &ChannelName) {
        let told = self.unsubscribed.entry(key).or_default();
        // A client that never listens in between may lose as many as it likes.
        if told.len() < SESSION_MAX_CHANNELS && !told.contains(channel) {
            told.push(channel.clone());
        }
    }

    /// A channel is followed again before its client was told that it was not.
    pub(crate) fn forget_unsubscribed(&mut self, key: Key, channel: &ChannelName) {
        let Some(told) = self.unsubscribed.get_mut(&key) else { return };
        told.retain(|name| name != channel);
        if told.is_empty() {
            self.unsubscribed.remove(&key);
        }
    }

    /// The next channel that the client of a session is to be told of.
    pub(crate) fn next_unsubscribed(&mut self, key: Key) -> Option<Unsubscribed> {
        if self.unsubscribed.is_empty() {
            return None;
        }
        let told = self.unsubscribed.get_mut(&key)?;
        let channel = told.pop();
        if told.is_empty() {
            self.unsubscribed.remove(&key);
        }
        channel.map(|channel| Unsubscribed { channel, reason: UnsubscribedReason::NotGranted })
    }
}

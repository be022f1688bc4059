//! What becomes of a session whose token grants less than the one before: channels that it may not follow any
//! more are dropped, and its client is told of each.

use encke_proto::{ChannelName, Grant, Unsubscribed, UnsubscribedReason, limits::SESSION_MAX_CHANNELS};

use crate::{Hub, Key};

impl Hub {
    /// Drops what a session follows that is not granted. The user's own channel always is.
    pub(crate) fn drop_ungranted(&mut self, key: Key, granted: &Grant) {
        if granted.is_all() {
            return;
        }
        let subs = self.sessions.get(key).map(|session| session.subs.as_slice()).unwrap_or_default();
        let names = subs.iter().filter_map(|sub| self.channels.at(sub.channel)).map(|channel| &channel.name);
        let is_lost = |name: &&ChannelName| !name.is_own() && !granted.allows(name.as_str());
        let lost: Vec<ChannelName> = names.filter(is_lost).cloned().collect();
        for channel in lost {
            if let Some(index) = self.sub_named(key, &channel) {
                self.drop_sub(key, index);
            }
            self.tell_unsubscribed(key, &channel);
        }
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

//! Messages that must not be delivered any more though a hub has them in memory: their push was cancelled, or
//! their log deleted. Nothing of the channel in memory is trusted then; who is behind reads from the engine,
//! which knows.

use encke_proto::{ChannelName, Page};

use crate::{Hub, Key, session::SubState};

impl Hub {
    /// Messages of a channel were cancelled or deleted. From here on no session is given one of them.
    pub fn retracted(&mut self, channel: &ChannelName) {
        if let Some(key) = self.channel_key(channel) {
            self.retracted_in(key);
        }
    }

    /// The same for a channel that may be one of them.
    pub(crate) fn retracted_in(&mut self, key: Key) {
        self.forget_messages(key);
        if let Some(channel) = self.channels.get_mut(key) {
            // What the engine is saying of the log may be of before.
            channel.void = channel.asked;
        }
        self.ask_to_open(key);
    }

    /// Lets go of all messages of a channel: those of its window, those that were read for sessions which are
    /// behind, and those that are being read.
    fn forget_messages(&mut self, key: Key) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.log.forget_messages();
        }
        let is_ahead = |state: &SubState| matches!(state, SubState::Behind(_) | SubState::Reading(_));
        for (session, index) in self.members(key, |sub| is_ahead(&sub.state)) {
            let Some(sub) = self.sub_mut(session, index) else { continue };
            match &mut sub.state {
                SubState::Reading(reading) if reading.earliest => {
                    self.ask_for_page(session, index, 0, true);
                }
                SubState::Reading(_) => self.ask_to_read(session, index),
                SubState::Behind(behind) => {
                    behind.entries.clear();
                    if behind.gap.is_none() {
                        sub.state = SubState::Live;
                    }
                    self.make_ready(session, false);
                }
                SubState::Beginning(_) | SubState::Live => {}
            }
        }
    }

    /// Compares what is in memory of a channel with what the engine says now: it may not have been told that
    /// messages were cancelled or deleted.
    pub(crate) fn forget_retracted(&mut self, key: Key, page: &Page) {
        let Some(channel) = self.channels.get(key) else { return };
        let Some(window) = channel.window().filter(|window| window.epoch == page.epoch) else { return };
        let differs = |entry: &std::sync::Arc<encke_proto::Entry>| {
            let (position, expires) = (entry.message().position, entry.message().expires);
            let known = position.offset.checked_sub(1).and_then(|before| window.after(before));
            known.is_some_and(|known| known.message().expires != expires)
        };
        // A deletion takes an offset behind the head, so a log that was deleted begins behind that. A tail
        // that has come less far was trimmed: what was read before may still be delivered.
        let is_deleted = page.tail > window.head.saturating_add(1);
        if is_deleted || page.entries.iter().any(differs) {
            self.forget_messages(key);
        }
    }
}

//! How far a session is behind, and what becomes of one that is too far.

use encke_proto::{Close, Gap, GapReason, Position};

use crate::{
    ConnKey, Hub, Key, Now,
    channel::Window,
    presence::Why,
    session::{Behind, Sub, SubState},
};

/// How much there is of a channel that a session has not been given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages.
    pub messages: u64,
    /// Roughly their bytes: of those that the channel's window does not hold, as many as if they were like
    /// those that it holds.
    pub bytes: u64,
}

impl Lag {
    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { messages: self.messages.max(other.messages), bytes: self.bytes.max(other.bytes) }
    }

    /// The smaller of each.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { messages: self.messages.min(other.messages), bytes: self.bytes.min(other.bytes) }
    }
}

impl Hub {
    /// How far a connection's session is behind, in the channel where that is the most.
    #[must_use]
    pub fn lag(&self, conn: ConnKey) -> Lag {
        let session = self.session_by_conn(conn).filter(|session| session.begun);
        let subs = session.map(|session| session.subs.as_slice()).unwrap_or_default();
        subs.iter().map(|sub| self.lag_of(sub)).fold(Lag::default(), Lag::max)
    }

    fn lag_of(&self, sub: &Sub) -> Lag {
        match self.channels.at(sub.channel).and_then(|channel| channel.window()) {
            Some(window) if sub.placed() => {
                let messages = sub.lag(window.head());
                Lag { messages, bytes: window.weight_of_newest(messages) }
            }
            _ => Lag::default(),
        }
    }

    /// Lets a connection's session go on at most `keep` behind the head of each of its channels, with a gap
    /// that says what it will not get; how many messages that is. The user's own channel is left as it is:
    /// what was pushed to a user is not thrown away because one of the receivers is slow.
    pub fn skip(&mut self, conn: ConnKey, keep: Lag) -> u64 {
        let Some(key) = self.key_by_conn(conn) else { return 0 };
        let count =
            self.sessions.get(key).filter(|session| session.begun).map_or(0, |session| session.subs.len());
        (0..u16::try_from(count).unwrap_or(u16::MAX)).map(|index| self.skip_in(key, index, keep)).sum()
    }

    fn skip_in(&mut self, key: Key, index: u16, keep: Lag) -> u64 {
        let Some(sub) = self.sub_mut(key, index) else { return 0 };
        let (at, channel) = (sub.at, sub.channel);
        let before = match &sub.state {
            SubState::Behind(behind) if behind.gap.as_ref().is_some_and(|gap| gap.to.is_none()) => return 0,
            SubState::Behind(behind) if behind.gap.is_some() => behind.goes_on.offset,
            _ if sub.placed() => at.offset,
            _ => return 0,
        };
        let Some(channel) = self.channels.at(channel) else { return 0 };
        let Some(window) =
            channel.window().filter(|window| window.epoch == at.epoch && !channel.name.is_own())
        else {
            return 0;
        };
        let goes_on =
            Position { epoch: at.epoch, offset: window.head.saturating_sub(window.newest_within(keep)) };
        if goes_on.offset <= before {
            return 0;
        }
        let gap = Gap {
            channel: channel.name.clone(),
            from: at.offset + 1,
            to: Some(goes_on.offset),
            reason: GapReason::Slow,
        };
        if let Some(sub) = self.sub_mut(key, index) {
            // A page that is under way finds that no subscription waits for it any more.
            sub.state = SubState::Behind(Box::new(Behind {
                gap: Some(gap),
                goes_on,
                entries: std::collections::VecDeque::new(),
            }));
        }
        self.make_ready(key, false);
        goes_on.offset - before
    }

    /// Ends the session that a connection serves. [`crate::Output::Ended`] follows.
    pub fn end(&mut self, conn: ConnKey, close: &Close, now: Now) {
        if let Some(key) = self.key_by_conn(conn) {
            self.end_session(key, Some(Why::Closed(close.clone())), now);
        }
    }
}

impl Window {
    /// Roughly the bytes of the newest so many messages of the log.
    fn weight_of_newest(&self, count: u64) -> u64 {
        let held = self.len();
        if count >= held {
            self.weight() + (count - held) * self.mean_weight()
        } else {
            self.weights().take(count as usize).sum()
        }
    }

    /// How many of the newest messages of the log are within these bounds; one at least, so that a session
    /// that skips the others is given something.
    fn newest_within(&self, keep: Lag) -> u64 {
        let (mut count, mut bytes) = (0, 0);
        for weight in self.weights() {
            bytes += weight;
            if count >= keep.messages.max(1) || (bytes > keep.bytes && count > 0) {
                return count;
            }
            count += 1;
        }
        // What the window does not hold is taken to be like what it holds.
        let more = keep.bytes.saturating_sub(bytes).checked_div(self.mean_weight()).unwrap_or(0);
        (count + more).min(keep.messages).max(1)
    }

    fn mean_weight(&self) -> u64 {
        self.weight().checked_div(self.len()).unwrap_or(0)
    }
}

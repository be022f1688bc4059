//! The channels of a connection whose client is known again, and how far it has each: what the kernel of its
//! machine has acknowledged. Of each message that was written it is known up to which byte it reaches, until
//! that is acknowledged.

use std::collections::VecDeque;

use encke_proto::{ChannelName, Message, Offset, Position, UserId, codec::pusher};

/// The most messages that are written and not looked after yet. It is asked then which are acknowledged.
const LOOK_AT: usize = 64;
/// The most messages that are known not to be acknowledged. What is written behind them is sent again.
const SENT_MAX: usize = 4_096;

/// What a client has subscribed to.
#[derive(Debug)]
pub(super) struct Follows {
    /// The log of the channel.
    pub(super) log: ChannelName,
    /// Where its place is kept when its client goes: under each of these.
    pub(super) kept_in: Vec<ChannelName>,
    /// From where on it is sent what comes.
    pub(super) at: Position,
    /// The last of what it has missed.
    pub(super) until: Offset,
    /// What its client was called before.
    pub(super) former: Option<UserId>,
}

/// A message that was written.
#[derive(Debug)]
struct Sent {
    log: ChannelName,
    at: Position,
    /// Up to which byte it reaches of all that were written, modulo 2^32.
    end: u32,
}

/// All channels of a connection.
#[derive(Debug, Default)]
pub(super) struct Followed {
    channels: Vec<Follows>,
    sent: VecDeque<Sent>,
    /// How many more are written before it is asked again.
    unasked: usize,
    /// Up to which byte a message reaches that was written and of which that is not kept.
    unkept: Option<u32>,
    /// Whether a place is another than when that was asked last.
    is_moved: bool,
}

impl Followed {
    pub(super) fn follow(&mut self, follows: Follows) {
        self.unfollow(&follows.log);
        self.channels.push(follows);
    }

    /// The logs in which its places are kept, each once.
    pub(super) fn kept_in(&self) -> Vec<ChannelName> {
        let mut logs: Vec<ChannelName> = Vec::new();
        for log in self.channels.iter().flat_map(|channel| &channel.kept_in) {
            if !logs.contains(log) {
                logs.push(log.clone());
            }
        }
        logs
    }

    pub(super) fn unfollow(&mut self, log: &ChannelName) {
        self.channels.retain(|channel| channel.log != *log);
        self.sent.retain(|sent| sent.log != *log);
    }

    fn of(&self, log: &ChannelName) -> Option<&Follows> {
        self.channels.iter().find(|channel| channel.log == *log)
    }

    /// Whether a message is one for the client: of what it missed, what was said to those who were there is
    /// not, and neither is what it has sent itself before.
    pub(super) fn lets(&self, message: &Message) -> bool {
        let Some(channel) = self.of(&message.channel) else { return true };
        let is_own = message.from.is_some() && message.from == channel.former;
        let was_missed = message.position.offset <= channel.until;
        !is_own && (!was_missed || pusher::cached(message).is_some())
    }

    /// A message was passed over, behind which the output is as it was before.
    pub(super) fn passed_over(&mut self, log: &ChannelName, at: Position, end: u32) {
        if !self.sent.is_empty() || self.unkept.is_some() {
            self.sent(log, at, end);
        } else if let Some(channel) = self.channels.iter_mut().find(|channel| channel.log == *log) {
            channel.at = at;
            self.is_moved = true;
        }
    }

    /// A message was written, behind which the output reaches up to `end`. True when it is to be asked how
    /// much is acknowledged.
    pub(super) fn sent(&mut self, log: &ChannelName, at: Position, end: u32) -> bool {
        if self.of(log).is_none() {
            return false;
        }
        if self.sent.len() < SENT_MAX {
            self.sent.push_back(Sent { log: log.clone(), at, end });
        } else {
            self.unkept = Some(end);
        }
        self.unasked += 1;
        let is_due = self.unasked >= LOOK_AT;
        self.unasked %= LOOK_AT;
        is_due
    }

    /// So much of what was written is acknowledged.
    pub(super) fn acknowledged(&mut self, up_to: u32) {
        // Less than half of all numbers is on its way at a time.
        let reaches = |end: u32| up_to.wrapping_sub(end) < 1 << 31;
        self.unkept = self.unkept.filter(|end| !reaches(*end));
        while self.sent.front().is_some_and(|sent| reaches(sent.end)) {
            let Some(sent) = self.sent.pop_front() else { break };
            if let Some(channel) = self.channels.iter_mut().find(|channel| channel.log == sent.log) {
                channel.at = sent.at;
                self.is_moved = true;
            }
        }
    }

    /// Whether a place is another than when this was asked last.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.is_moved)
    }

    /// Whether anything was written that is not known to be acknowledged.
    pub(super) fn is_behind(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Where the client stands in a channel, if it follows it.
    pub(super) fn stands_at(&self, log: &ChannelName) -> Option<Position> {
        self.of(log).map(|channel| channel.at)
    }

    /// Where the client stands, as far as that is kept in this log.
    pub(super) fn standing_in(&self, kept_in: &ChannelName) -> Vec<(ChannelName, Position)> {
        let kept = self.channels.iter().filter(|channel| channel.kept_in.contains(kept_in));
        kept.map(|channel| (channel.log.clone(), channel.at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use encke_proto::{Epoch, UserId};

    use super::*;

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch(1), offset }
    }

    fn follows(name: &str) -> Follows {
        let log = ChannelName::public(name).unwrap();
        Follows { kept_in: vec![log.clone()], log, at: at(0), until: 0, former: None::<UserId> }
    }

    fn offsets(followed: &Followed) -> Vec<u64> {
        followed.channels.iter().map(|channel| channel.at.offset).collect()
    }

    #[test]
    fn a_place_is_behind_the_last_message_of_which_every_byte_is_acknowledged() {
        for (up_to, places) in [(9, [0, 0]), (10, [1, 0]), (29, [1, 7]), (30, [2, 7]), (u32::MAX, [0, 0])] {
            let mut followed = Followed::default();
            let logs = ["a", "b"].map(follows);
            let [a, b] = [logs[0].log.clone(), logs[1].log.clone()];
            logs.into_iter().for_each(|follows| followed.follow(follows));
            for (log, offset, end) in [(&a, 1, 10), (&b, 7, 20), (&a, 2, 30)] {
                assert!(!followed.sent(log, at(offset), end));
            }
            followed.acknowledged(up_to);
            assert_eq!(offsets(&followed), places, "{up_to}");
        }
    }

    #[test]
    fn the_count_of_bytes_begins_anew_and_what_is_kept_has_a_bound() {
        let mut followed = Followed::default();
        let log = follows("a").log;
        followed.follow(follows("a"));
        let asks: usize = (0..2 * SENT_MAX as u64)
            .filter(|number| followed.sent(&log, at(number + 1), (u32::MAX - 5).wrapping_add(*number as u32)))
            .count();
        assert_eq!((followed.sent.len(), asks), (SENT_MAX, 2 * SENT_MAX / LOOK_AT));
        followed.acknowledged(4);
        assert_eq!(followed.sent.len(), SENT_MAX - 11);
        assert_eq!(offsets(&followed), [11]);
        // What was written behind that is under way.
        followed.acknowledged(SENT_MAX as u32);
        followed.passed_over(&log, at(9_000), 2 * SENT_MAX as u32);
        assert_eq!(offsets(&followed), [SENT_MAX as u64]);
        followed.acknowledged(2 * SENT_MAX as u32);
        assert_eq!(offsets(&followed), [9_000]);
    }

    #[test]
    fn what_is_passed_over_waits_for_what_was_written_before_it() {
        let mut followed = Followed::default();
        let log = follows("a").log;
        followed.follow(follows("a"));
        followed.passed_over(&log, at(1), 0);
        assert_eq!((offsets(&followed), followed.take_moved()), (vec![1], true));
        followed.sent(&log, at(2), 10);
        followed.passed_over(&log, at(3), 10);
        assert_eq!((offsets(&followed), followed.take_moved()), (vec![1], false));
        followed.acknowledged(10);
        assert_eq!((offsets(&followed), followed.take_moved()), (vec![3], true));
    }

    #[test]
    fn of_a_channel_that_is_followed_no_more_nothing_is_kept() {
        let mut followed = Followed::default();
        let log = follows("a").log;
        followed.follow(follows("a"));
        followed.sent(&log, at(1), 10);
        followed.unfollow(&log);
        assert!(followed.channels.is_empty() && followed.sent.is_empty());
        assert!(!followed.sent(&log, at(2), 20) && followed.sent.is_empty());
    }
}

//! An index of logs by the time when their oldest message expires, from what this node appended. It is in
//! memory and bounded; the sweep's walk over the stream finds what is missing here.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use encke_proto::{ChannelName, Time};

/// The most channels whose time is known. Those above it are found by the walk.
const CHANNELS_MAX: usize = 200_000;

/// When the oldest message of which log is due to be trimmed by age or expiry, as far as this node knows from
/// what it appended.
#[derive(Debug, Default)]
pub(super) struct ExpiryIndex(Mutex<Dates>);

#[derive(Debug, Default)]
struct Dates {
    by_time: BTreeSet<(Time, ChannelName)>,
    by_channel: HashMap<ChannelName, Time>,
    /// The latest time that a sweep was told.
    now: Time,
}

impl ExpiryIndex {
    /// The log is due at `due`, or earlier if that is known already: a time that is too early only makes the
    /// sweep look in vain.
    pub(super) fn note(&self, channel: &ChannelName, due: Time) {
        let mut dates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match dates.by_channel.get(channel).copied() {
            Some(known) if known <= due => return,
            Some(known) => _ = dates.by_time.remove(&(known, channel.clone())),
            None if dates.by_channel.len() >= CHANNELS_MAX => return,
            None => {}
        }
        dates.by_channel.insert(channel.clone(), due);
        dates.by_time.insert((due, channel.clone()));
    }

    /// Takes at most `most` logs that are due.
    pub(super) fn take_due(&self, now: Time, most: usize) -> Vec<ChannelName> {
        let mut dates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        dates.now = now;
        let mut taken = Vec::new();
        while taken.len() < most && dates.by_time.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, channel)) = dates.by_time.pop_first() else { break };
            dates.by_channel.remove(&channel);
            taken.push(channel);
        }
        taken
    }

    /// Whether a sweep of this node will look at the log when it is due.
    pub(super) fn knows(&self, channel: &ChannelName) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_channel.contains_key(channel)
    }

    /// The latest time that a sweep was told.
    pub(super) fn now(&self) -> Time {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_time_counts_and_each_is_taken_once() {
        let expiry_index = ExpiryIndex::default();
        let name = |text: &str| ChannelName::public(text).unwrap();
        for (text, due) in [("a", 30), ("b", 20), ("a", 10), ("b", 25)] {
            expiry_index.note(&name(text), Time(due));
        }
        assert_eq!(expiry_index.take_due(Time(9), 10), []);
        assert_eq!(expiry_index.take_due(Time(20), 1), [name("a")]);
        assert_eq!(expiry_index.take_due(Time(20), 10), [name("b")]);
        assert_eq!((expiry_index.take_due(Time(99), 10), expiry_index.now()), (Vec::new(), Time(99)));
    }
}

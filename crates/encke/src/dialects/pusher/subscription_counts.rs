//! How many subscribers channels have: told to them when it has changed, and not more often than is of use.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use encke_proto::ChannelName;

/// How long subscribers are told nothing after they were told, in milliseconds: in a channel with few of
/// them, and in one with many, where each subscriber more is told to all.
const PAUSE_MS: u64 = 1_000;
const PAUSE_OF_MANY_MS: u64 = 5_000;
/// From how many on they are many.
const MANY: usize = 100;
/// The most channels that are told in one look.
const TOLD_MAX: usize = 1_000;

/// The counts that have changed.
#[derive(Debug, Default)]
pub(super) struct SubscriptionCounts(Mutex<HashMap<ChannelName, Changed>>);

#[derive(Debug)]
struct Changed {
    /// Whether it has changed since it was told.
    is_due: bool,
    /// Not before this it is told again, in milliseconds of the clock that never goes back.
    not_before_ms: u64,
}

impl SubscriptionCounts {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelName, Changed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A channel has a subscriber more, or one less.
    pub(super) fn changed(&self, log: ChannelName) {
        self.lock().entry(log).or_insert(Changed { is_due: true, not_before_ms: 0 }).is_due = true;
    }

    /// Those that are to be told now. What was told and has not changed since is forgotten.
    pub(super) fn take_due(&self, now_ms: u64) -> Vec<ChannelName> {
        let mut all = self.lock();
        all.retain(|_, changed| changed.is_due || changed.not_before_ms > now_ms);
        let due = all.iter_mut().filter(|(_, changed)| changed.is_due && changed.not_before_ms <= now_ms);
        let due = due.take(TOLD_MAX).map(|(log, changed)| {
            changed.is_due = false;
            log.clone()
        });
        due.collect()
    }

    /// It was told how many they are.
    pub(super) fn told(&self, log: &ChannelName, count: usize, now_ms: u64) {
        let pause_ms = if count > MANY { PAUSE_OF_MANY_MS } else { PAUSE_MS };
        if let Some(changed) = self.lock().get_mut(log) {
            changed.not_before_ms = now_ms + pause_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_told_when_it_has_changed_and_not_too_often() {
        let counts = SubscriptionCounts::default();
        let log = || ChannelName::public("pusher:1:a").unwrap();
        counts.changed(log());
        assert_eq!(counts.take_due(0), [log()]);
        counts.told(&log(), 1, 0);
        assert!(counts.take_due(0).is_empty());
        counts.changed(log());
        assert!(counts.take_due(PAUSE_MS - 1).is_empty());
        assert_eq!(counts.take_due(PAUSE_MS), [log()]);
        counts.told(&log(), MANY + 1, PAUSE_MS);
        counts.changed(log());
        assert!(counts.take_due(PAUSE_MS + PAUSE_OF_MANY_MS - 1).is_empty());
        assert_eq!(counts.take_due(PAUSE_MS + PAUSE_OF_MANY_MS), [log()]);
        assert!(counts.take_due(u64::MAX).is_empty() && counts.lock().is_empty());
    }
}

//! How many sessions follow the channels whose rule bounds that: one count for all hubs of a node, so that
//! the bound does not grow with the number of shards.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use encke_proto::ChannelName;

/// The counts. A channel is among them as long as a hub with followers of it has counted them.
#[derive(Debug, Default)]
pub struct FollowerCounts(Mutex<HashMap<ChannelName, u64>>);

impl FollowerCounts {
    /// Counts followers that a hub has had before their number was bounded.
    pub(crate) fn add(&self, channel: &ChannelName, count: u64) {
        if count > 0 {
            *self.lock().entry(channel.clone()).or_default() += count;
        }
    }

    /// Counts one more, if there are less than `max`.
    pub(crate) fn enter(&self, channel: &ChannelName, max: u64) -> bool {
        let mut counts = self.lock();
        let count = counts.get(channel).copied().unwrap_or_default();
        if count < max {
            counts.insert(channel.clone(), count + 1);
        }
        count < max
    }

    /// Counts one less.
    pub(crate) fn leave(&self, channel: &ChannelName) {
        let mut counts = self.lock();
        match counts.get_mut(channel) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(channel)),
        }
    }

    /// How many there are of a channel.
    #[must_use]
    pub fn get(&self, channel: &ChannelName) -> u64 {
        self.lock().get(channel).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelName, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

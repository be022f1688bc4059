//! Which shards have receivers for each public channel, for every thread to read: what is published wakes
//! only those. Which session follows what is known by the hubs.
//!
//! A shard enters itself before it asks for the log of a channel, so what is appended behind what it reads is
//! told to it.

use encke_proto::ChannelName;

use super::parted_map::PartedMap;
use crate::config::WORKERS_MAX;

/// A set of shards, by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet([u64; WORKERS_MAX.div_ceil(64)]);

impl ShardSet {
    /// One alone.
    #[must_use]
    pub fn of(shard: usize) -> Self {
        let mut set = Self::default();
        set.insert(shard);
        set
    }

    /// Enters one. Its number is below [`WORKERS_MAX`].
    pub fn insert(&mut self, shard: usize) {
        self.0[shard / 64] |= 1 << (shard % 64);
    }

    fn remove(&mut self, shard: usize) {
        self.0[shard / 64] &= !(1 << (shard % 64));
    }

    fn is_empty(self) -> bool {
        self.0.iter().all(|bits| *bits == 0)
    }

    /// Their numbers.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, bits)| {
            let lowest = |bits: &u64| (*bits != 0).then_some(*bits);
            std::iter::successors(lowest(&bits), move |bits| lowest(&(bits & (bits - 1))))
                .map(move |bits| word * 64 + bits.trailing_zeros() as usize)
        })
    }
}

/// The public channels that are followed on this node. Bounded by what the sessions of its hubs follow.
#[derive(Debug, Default)]
pub struct FollowedChannels(PartedMap<ChannelName, ShardSet>);

impl FollowedChannels {
    /// The shards that have receivers for a channel.
    #[must_use]
    pub fn shards(&self, channel: &ChannelName) -> ShardSet {
        self.0.get(channel).unwrap_or_default()
    }

    /// A shard has receivers for a channel. `first` is called when no other has, before any other shard can
    /// say that it has some or none.
    pub fn insert(&self, channel: &ChannelName, shard: usize, first: impl FnOnce()) {
        self.0.change(channel, |part| {
            let shards = part.entry(channel.clone()).or_default();
            let is_first = shards.is_empty();
            shards.insert(shard);
            if is_first {
                first();
            }
        });
    }

    /// A shard has none any more. `last` is called when no other has, before any other shard can say that it
    /// has some.
    pub fn remove(&self, channel: &ChannelName, shard: usize, last: impl FnOnce()) {
        self.0.change(channel, |part| {
            let Some(shards) = part.get_mut(channel) else { return };
            shards.remove(shard);
            if shards.is_empty() {
                part.remove(channel);
                last();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn the_first_and_the_last_shard_of_a_channel_are_told() {
        let followed = FollowedChannels::default();
        let channel = ChannelName::public("news").unwrap();
        let told = RefCell::new(String::new());
        let insert = |shard| followed.insert(&channel, shard, || told.borrow_mut().push('+'));
        let remove = |shard| followed.remove(&channel, shard, || told.borrow_mut().push('-'));
        let shards = || followed.shards(&channel).iter().collect::<Vec<_>>();
        assert!(shards().is_empty());
        [255, 0, 63, 64, 63].into_iter().for_each(insert);
        assert_eq!((shards(), told.borrow().as_str()), (vec![0, 63, 64, 255], "+"));
        [0, 255, 64, 64].into_iter().for_each(remove);
        assert_eq!((shards(), told.borrow().as_str()), (vec![63], "+"));
        remove(63);
        remove(63);
        assert_eq!((shards(), told.borrow().as_str()), (vec![], "+-"));
        insert(7);
        assert_eq!((shards(), told.borrow().as_str()), (vec![7], "+-+"));
    }
}

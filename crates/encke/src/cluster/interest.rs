//! Counts which public channels this node's shards follow, so that the engine is told of the first and the
//! last only. Which session follows what is known by the hubs.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use encke_engine::Engine;
use encke_proto::ChannelName;

/// Which channels this node's shards have receivers for. Several shards may follow one public channel; the
/// engine is told of the first and of the last.
pub struct Interest {
    engine: Arc<dyn Engine>,
    /// By how many shards each public channel is watched; bounded by what their sessions follow.
    shared: Mutex<HashMap<ChannelName, usize>>,
}

impl Interest {
    /// Nothing is watched yet.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, shared: Mutex::default() }
    }

    /// A shard has receivers for a channel.
    pub fn watch(&self, channel: &ChannelName) {
        if channel.is_own() {
            // All sessions of a user are in one shard.
            return self.engine.watch(channel);
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let count = shared.entry(channel.clone()).or_default();
        *count += 1;
        if *count == 1 {
            // Told while the map is locked, so that the engine hears of first and last in their order.
            self.engine.watch(channel);
        }
    }

    /// A shard has none any more.
    pub fn unwatch(&self, channel: &ChannelName) {
        if channel.is_own() {
            return self.engine.unwatch(channel);
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = shared.get_mut(channel) else { return };
        *count -= 1;
        if *count == 0 {
            shared.remove(channel);
            self.engine.unwatch(channel);
        }
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interest").finish_non_exhaustive()
    }
}

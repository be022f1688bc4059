//! The bounds and times of a hub, with defaults. The server's configuration checks their ranges; nothing is
//! checked here.

use std::sync::Arc;

use encke_proto::ChannelRules;

use crate::FollowerCounts;

/// Bounds and times of a hub.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// How long a session lives on without a connection, in milliseconds; also how long a closed one is
    /// remembered.
    pub grace_ms: u64,
    /// The most sessions of one user; when one more comes, the oldest is closed.
    pub max_sessions_per_user: usize,
    /// The most public channels that the sessions of one user follow, all together.
    pub max_channels_per_user: usize,
    /// Who may follow which public channel, until [`crate::Hub::set_rules`] says otherwise.
    pub rules: Arc<ChannelRules>,
    /// How many sessions of all hubs of a node follow a channel that has a bound.
    pub follower_counts: Arc<FollowerCounts>,
    /// The most messages of a channel that are held in memory for receivers that are near its head.
    pub window_messages: usize,
    /// The most bytes of them.
    pub window_bytes: usize,
    /// How long a message stays in the window at most, in milliseconds: afterwards the engine has it still.
    pub window_ms: u64,
    /// From how many followers on a message of a public channel counts as a broadcast, behind which a
    /// connection that becomes ready alone should not wait.
    pub broadcast_members: usize,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            grace_ms: 15_000,
            max_sessions_per_user: 64,
            max_channels_per_user: 10_000,
            rules: Arc::default(),
            follower_counts: Arc::default(),
            window_messages: 256,
            window_bytes: 1 << 20,
            window_ms: 30_000,
            broadcast_members: 64,
        }
    }
}

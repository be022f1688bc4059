//! Receivers that take too little.

use serde::Deserialize;

/// What becomes of a receiver that is too far behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowPolicy {
    /// It is closed with the code `slow`, and comes back with its cursor: nothing is lost.
    #[default]
    Close,
    /// It goes on near the head of public channels, with a `gap` that says what it will not get. What was
    /// pushed to its user is not skipped: who is too far behind in that is closed.
    Gap,
}

/// How far a receiver may be behind whose socket does not take what it is sent. A receiver that catches up is
/// not behind because of that: it counts by how much the lag has grown meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slow {
    /// What becomes of one that is behind by more: `close` or `gap`. Default `close`.
    pub policy: SlowPolicy,
    /// Messages of a channel, 1 to 1,000,000,000. Default 1,000.
    pub max_messages: u64,
    /// Bytes of messages of a channel, 65,536 to 1 TiB. Default 1,048,576 (1 MiB).
    pub max_bytes: u64,
    /// How long a receiver may take for what it was sent, a part of at most some 100 KB, in seconds, 1 to
    /// 300; then its connection ends. Default 10.
    pub deadline_s: u64,
}

impl Default for Slow {
    fn default() -> Self {
        Self { policy: SlowPolicy::default(), max_messages: 1_000, max_bytes: 1 << 20, deadline_s: 10 }
    }
}

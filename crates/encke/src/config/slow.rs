//! Receivers that take too little.

use serde::Deserialize;

use super::setting::{self, number, settings, word};

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

settings! {
    /// How far a receiver may be behind whose socket does not take what it is sent. A receiver that catches
    /// up is not behind because of that: it counts by how much the lag has grown meanwhile.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Slow {
        /// What becomes of one that is too far behind: "close" (with the code slow; it comes back with its
        /// cursor, nothing is lost) or "gap" (public channels go on near the head, and it is told what it
        /// missed).
        policy: SlowPolicy = "close" => word(&["close", "gap"]);
        /// By how many messages it may fall behind in a channel while its socket is stuck.
        max_messages: u64 = 1_000 => number(1, 1_000_000_000);
        /// By how many bytes of messages.
        max_bytes: u64 = 1_048_576 => number(65_536, 1 << 40);
        /// How long it may take for what it was sent, a part of at most some 100 KB. Then its connection
        /// ends.
        deadline_s: u64 = 10 => number(1, 300);
    }
}

impl Default for Slow {
    fn default() -> Self {
        setting::at_defaults(Self::SETTINGS)
    }
}

//! What an engine counts of itself, for those who watch it.

use encke_proto::Histogram;

/// How much an engine holds, and how its writing went since it was opened. What it cannot tell without
/// looking for long is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Messages that are kept; one that is in several logs counts in each.
    pub messages: Option<u64>,
    /// Logs, empty ones among them.
    pub logs: Option<u64>,
    /// Bytes of messages that some log has.
    pub log_bytes: Option<u64>,
    /// Bytes of the files that they lie in, with all that is not freed yet.
    pub store_bytes: Option<u64>,
    /// Of an engine that writes to a disk by itself.
    pub commits: Option<Commits>,
}

/// How groups of calls came to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    /// How long each group took to be written and synced, in microseconds.
    pub took_us: Histogram,
    /// How long the disk took to sync each, which is a part of that, in microseconds.
    pub sync_us: Histogram,
    /// How many calls each group had.
    pub calls: Histogram,
}
